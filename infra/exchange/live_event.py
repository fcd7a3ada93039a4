"""An event of the universe while it lives, and how it is kept in a snapshot."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from infra.exchange.catalogue import Listing, Shape
from infra.exchange.core import ExchangeCore
from infra.exchange.fair import Hidden
from infra.exchange.figures import Profile


class SavedLive(msgspec.Struct, frozen=True):
    """An event that is still going on in a snapshot.

    ``settles_on`` says for each market, in the event's order, which of the hidden values it settles on: several share
    one.
    """

    event_ticker: str
    shape: Shape
    profile: Profile
    activity: int
    hidden: list[Hidden]
    settles_on: list[int]
    delay_ms: int
    quoted: bool
    closed: bool
    undetermined: list[str]


@dataclass(slots=True, eq=False)
class LiveEvent:
    """An event in its life. ``delay_ms`` lies between a market's close and its result."""

    listing: Listing
    delay_ms: int
    undetermined: list[str]
    quoted: bool = False
    closed: bool = False

    @property
    def ticker(self) -> str:
        """The event's ticker."""
        return self.listing.terms.ticker

    @property
    def open_ms(self) -> int:
        """When its markets open, UTC milliseconds."""
        return self.listing.terms.markets[0].open_ms

    @property
    def first_close_ms(self) -> int:
        """When the first of its markets closes."""
        return min(terms.close_ms for terms in self.listing.terms.markets)

    @property
    def close_ms(self) -> int:
        """When the last of its markets closes: markets with deadlines close one after another."""
        return max(terms.close_ms for terms in self.listing.terms.markets)

    @classmethod
    def restore(cls, saved: SavedLive, core: ExchangeCore) -> "LiveEvent":
        """The event as it was saved, on the core that was saved with it."""
        terms = core.events[saved.event_ticker]
        numbers = zip(terms.markets, saved.settles_on, strict=True)
        hidden = {market.ticker: saved.hidden[number] for market, number in numbers}
        listing = Listing(terms, saved.shape, saved.profile, saved.activity, hidden)
        return cls(listing, saved.delay_ms, saved.undetermined, saved.quoted, saved.closed)

    def save(self) -> SavedLive:
        """The event for a snapshot."""
        hidden: list[Hidden] = []
        settles_on: list[int] = []
        listing = self.listing
        for terms in listing.terms.markets:
            wanted = listing.hidden[terms.ticker]
            same = [number for number, known in enumerate(hidden) if known is wanted]
            settles_on.append(same[0] if same else len(hidden))
            if not same:
                hidden.append(wanted)
        return SavedLive(
            self.ticker, listing.shape, listing.profile, listing.activity, hidden, settles_on, self.delay_ms,
            self.quoted, self.closed, self.undetermined,
        )  # fmt: skip


def leg_events(listing: Listing) -> Iterable[str]:
    """The events whose markets a combo selects, each once."""
    return dict.fromkeys(leg.event_ticker for terms in listing.terms.markets for leg in terms.legs)
