"""The side of an order on a market's one book, which is in YES terms (Kalshi API documentation, "Create Order V2")."""

from enum import Enum, unique

from kalshi_arb.domain.money import Price, complement


@unique
class BookSide(Enum):
    """A bid buys YES (or sells NO), an ask buys NO (or sells YES)."""

    BID = "bid"
    ASK = "ask"

    def purchase_price(self, yes_price: Price) -> Price:
        """What the outcome costs that an order of this side buys: YES for a bid, NO for an ask."""
        return yes_price if self is BookSide.BID else complement(yes_price)
