"""Sets that the exchange declares exclusive: at most one market resolves YES, and never more is claimed.

Precondition: the event's ``mutually_exclusive`` flag, and markets that are custom or structured, one subject each, so
that no strikes say anything about them. Texts that nest ("before May" and "before June", "2 or more" and "3 or more")
contradict the flag: nothing is claimed then.

EXCLUSIVE   any number of markets. That nobody is paid is a certain state: a list of candidates need not be complete.
GAME        two or three markets, all of them still tradable. One winner is what such events are for, but the flag does
            not promise it, so "nobody" stays, as a state of basis POSSIBLE. Buying all of a game is therefore never
            better than conditional.

Selling all of either is proved unless the rules text brings a settlement at a price (``rules``), in which every market
may pay YES: then it is conditional too.
"""

from collections.abc import Sequence

from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Family, State
from kalshi_arb.relations.assembly import (
    LARGEST_GROUP,
    SMALLEST_GROUP,
    Formed,
    Reason,
    Refusal,
    common_grounds,
    edge_notes,
    make_group,
    tickers_of,
)
from kalshi_arb.relations.registry import Registry
from kalshi_arb.relations.rules import rule_states
from kalshi_arb.relations.wordings import rung

_GAME_SIZES = (2, 3)


def build_exclusive(listing: EventListing, members: Sequence[ListedMarket], registry: Registry) -> Formed:
    """The set of an exclusive event's unstructured markets.

    :param members: those that may be in a group; fewer than the listing has when some do not trade
    """
    event = listing.event_ticker

    def refused(reason: Reason, words: str) -> Formed:
        return Formed(refusals=(Refusal(tickers_of(members), Family.EXCLUSIVE.value, reason, words, event),))

    if len(members) < SMALLEST_GROUP:
        return refused(Reason.SINGLE, "one market of an exclusive event says nothing about another")
    if len(members) > LARGEST_GROUP:
        return refused(Reason.TOO_LARGE, f"{len(members)} markets, more than {LARGEST_GROUP}")
    subjects = [one.market.subject for one in members if one.market.subject]
    if len(set(subjects)) < len(subjects):
        # Two contracts on one subject would pay together: the flag and the subjects contradict each other.
        return refused(Reason.SAME_SUBJECT, "one subject has two markets, which would pay together against the flag")
    if _nested([one.rules for one in members if one.rules]):
        # "Before May" and "before June", or "at least 2" and "at least 3": the flag is wrong or the texts are.
        words = (
            "the exchange declares the event exclusive, but rules texts that differ in a date or a number alone nest"
        )
        return refused(Reason.CONTRADICTION, words)
    # With a member missing, "one of the rest wins" is no longer what the event is for.
    is_game = len(members) in _GAME_SIZES and len(members) == len(listing.markets)
    family = Family.GAME if is_game else Family.EXCLUSIVE
    ordered = sorted(members, key=lambda one: one.market.ticker)
    tickers = tickers_of(ordered)
    edges = rule_states(ordered, registry)
    reason = f"The exchange lists {event} as mutually exclusive: at most one of its markets is YES."
    group = make_group(
        event,
        "",
        family,
        (one.market for one in ordered),
        (*_states(tickers, Basis.POSSIBLE if is_game else Basis.CERTAIN), *edges.states),
        [Relation(RelationKind.EXCLUSIVE, tickers, reason)],
        certificate=(
            f"At most one of the {len(tickers)} markets of {event} is YES [exchange: mutually_exclusive].",
            "That one of them is YES is not promised: no market paying is a state [exchange: mutually_exclusive].",
            *_closing(ordered),
            *edges.sentences,
        ),
        absent=listing.absent,
        grounds=(*common_grounds([listing], ordered), *edges.grounds),
        state_marks=[is_game, *([state.name, state.basis.value, state.yes_payouts] for state in edges.states)],
    )
    claim = Refusal(
        tickers, family.value, Reason.NOT_EXHAUSTIVE,
        "the flag promises at most one YES, not one, so buying all of them is not covered", event, group.group_id,
    )  # fmt: skip
    return Formed((group,), (claim, *edge_notes(group)))


def _nested(texts: Sequence[str]) -> bool:
    """Whether two different texts say the same by different dates or with different thresholds of one direction."""
    parts = [text.partition("\n") for text in texts]
    if len({second for _, _, second in parts}) == 1:
        # What they share tells none of them apart.
        texts = [first for first, _, _ in parts]
    found: dict[str, str] = {}
    for text in texts:
        bare = rung(text)
        if bare is not None and found.setdefault(bare, text) != text:
            return True
    return False


def _closing(members: Sequence[ListedMarket]) -> list[str]:
    if len({one.market.close_ms for one in members}) > 1 or len({one.early_close or None for one in members}) > 1:
        return [
            "They close at different times or under different conditions; the flag holds for all of them "
            "[exchange: close_time, early_close_condition]."
        ]
    return []


def _states(tickers: Sequence[str], nobody: Basis) -> tuple[State, ...]:
    none = (Price(0),) * len(tickers)
    winners = [
        State(f"{ticker} pays", (*none[:place], ONE_DOLLAR, *none[place + 1 :]), Basis.CERTAIN)
        for place, ticker in enumerate(tickers)
    ]
    return (*winners, State("no market pays (the exchange's flag promises at most one, not one)", none, nobody))
