"""The present state of the journal without reading all of it: what was carried forward, and what was written since."""

from kalshi_arb.clock import Clock
from kalshi_arb.domain.carried import Carried, decoded, encoded, from_journal
from kalshi_arb.domain.portfolio import LedgerEntry
from kalshi_arb.ports import LedgerStore

_MOST_MOVED = 4
"""Chains whose news every reader would have to fetch again, each with a query: a basket and its markets."""
_LONGEST_MS = 5 * 60_000


class RunningJournal:
    """For those who decide on what is held now. Reports, repairs and verification read the whole journal."""

    def __init__(self, ledger: LedgerStore, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    def entries(self) -> list[LedgerEntry]:
        """Everything that is open, by time, behind what the rest left on each shard (:class:`Carried`). Whatever was
        appended before the call is in it.

        :raises JournalError: an entry is not what was written.
        """
        _, now = self._read()
        return self._ledger.all() if now is None else now.entries()

    def carry(self) -> None:
        """Keep the state for those who read next, where that spares them enough.

        :raises JournalError: an entry is not what was written; what is kept stays.
        """
        before, now = self._read()
        if before is None or now is None:
            self.renew()
            return
        moved = sum(before.heads.get(chain) != head for chain, head in now.heads.items())
        if moved >= _MOST_MOVED or (moved and now.until_ms - before.until_ms >= _LONGEST_MS):
            self._ledger.keep(encoded(now.closed(now.until_ms)))

    def renew(self) -> None:
        """Make the state anew from the whole journal, whatever is kept.

        :raises JournalError: an entry is not what was written; what is kept stays.
        """
        now_ms = self._clock.now_ms()
        self._ledger.keep(encoded(from_journal(self._ledger.rows()[0], now_ms)))

    def _read(self) -> tuple[Carried | None, Carried | None]:
        """What is kept, and the same with the news; None where there is none that serves."""
        text = self._ledger.carried()
        before = None if text is None else decoded(text)
        if before is None:
            return None, None
        now_ms = self._clock.now_ms()
        numbers = {chain: head.number for chain, head in before.heads.items()}
        return before, before.with_new(self._ledger.since(before.since_ms, numbers), now_ms)
