"""Sets that the exchange declares exclusive: at most one market resolves YES, and never more is claimed.

The only basis is the event's ``mutually_exclusive`` flag. Its markets are custom or structured, one subject each, so no
strikes say anything about them.

EXCLUSIVE   any number of markets. That nobody is paid is a certain state: a list of candidates need not be complete.
GAME        two or three markets, all of them still tradable. One winner is what such events are for, but the flag does
            not promise it, so "nobody" stays, as a state of basis POSSIBLE. Buying all of a game is therefore never
            better than conditional.

Selling all of either is proved unless the rules text brings a settlement at a price (``rules``), in which every market
may pay YES: then it is conditional too.
"""

from collections.abc import Sequence

from kalshi_arb.domain.market import Market
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.ports import EventListing
from kalshi_arb.relations.assembly import LARGEST_GROUP, SMALLEST_GROUP, Drop, make_group
from kalshi_arb.relations.rules import rule_states

_GAME_SIZES = (2, 3)


def build_exclusive(listing: EventListing, markets: Sequence[Market]) -> Group | Drop:
    """The set of an exclusive event's unstructured markets.

    :param markets: those that may be members; fewer than the listing has when some do not trade
    """
    if len(markets) < SMALLEST_GROUP:
        return Drop.SINGLE
    if len(markets) > LARGEST_GROUP:
        return Drop.TOO_LARGE
    subjects = [market.subject for market in markets if market.subject]
    if len(set(subjects)) < len(subjects):
        # Two contracts on one subject would pay together: the flag and the subjects contradict each other.
        return Drop.SAME_SUBJECT
    # With a member missing, "one of the rest wins" is no longer what the event is for.
    is_game = len(markets) in _GAME_SIZES and len(markets) == len(listing.markets)
    ordered = sorted(markets, key=lambda market: market.ticker)
    tickers = tuple(market.ticker for market in ordered)
    reason = f"The exchange lists {listing.event_ticker} as mutually exclusive: at most one of its markets is YES."
    return make_group(
        listing.event_ticker,
        "",
        Family.GAME if is_game else Family.EXCLUSIVE,
        ordered,
        (*_states(tickers, Basis.POSSIBLE if is_game else Basis.CERTAIN), *rule_states(ordered, listing.rules)),
        [Relation(RelationKind.EXCLUSIVE, tickers, reason)],
    )


def _states(tickers: Sequence[str], nobody: Basis) -> tuple[State, ...]:
    none = (Price(0),) * len(tickers)
    winners = [
        State(f"{ticker} pays", (*none[:place], ONE_DOLLAR, *none[place + 1 :]), Basis.CERTAIN)
        for place, ticker in enumerate(tickers)
    ]
    return (*winners, State("no market pays (the exchange's flag promises at most one, not one)", none, nobody))
