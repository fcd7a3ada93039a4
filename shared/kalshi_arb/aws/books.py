"""Coalesced copies of books. Never what an order rests on."""

from collections.abc import Sequence

from kalshi_arb.aws.dynamo import Condition, Item, Table, envelope, n, opened, s
from kalshi_arb.domain.book import BookSnapshot

_KEEP_SECONDS = 24 * 3600


class DynamoBookStore:
    """:class:`kalshi_arb.ports.BookStore` on the books table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, book: BookSnapshot) -> bool:
        """Store unless a newer version is there; False when it was."""
        epoch, generation, seq = book.version
        item: Item = {
            "ticker": s(book.ticker),
            **envelope(book),
            "epoch": n(epoch),
            "generation": n(generation),
            "seq": n(seq),
            "expires_at": n(book.alive_ms // 1000 + _KEEP_SECONDS),
        }
        not_older = Condition(
            "attribute_not_exists(#ticker) OR #epoch < :epoch OR (#epoch = :epoch AND #generation < :generation) "
            "OR (#epoch = :epoch AND #generation = :generation AND #seq <= :seq)",
            {":epoch": n(epoch), ":generation": n(generation), ":seq": n(seq)},
        )
        return self._table.put(item, not_older)

    def get(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        """The stored copies."""
        books = (opened(item, BookSnapshot) for item in self._table.get_many(tickers))
        return {book.ticker: book for book in books}
