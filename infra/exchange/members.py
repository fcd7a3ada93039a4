"""What a member changes beside single orders: groups, transfers between shards, netting; and cash from outside."""

from infra.exchange.account import TransferView
from infra.exchange.entry import OrderEntry
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.groups import (
    HIGHEST_LIMIT,
    LOWEST_LIMIT,
    MOST_GROUPS,
    GroupStep,
    GroupView,
    OrderGroup,
)
from infra.exchange.matching import INSUFFICIENT_BALANCE
from kalshi_arb.domain.money import Cash, Count


class MemberDesk(OrderEntry):
    """Order groups and the cash of accounts."""

    # Order groups (Kalshi API documentation, order groups)

    def create_group(self, account_id: str, limit: Count, shard: int) -> GroupView:
        """Open a group on a shard; ``limit`` is what may trade within 15 s, 1 to 1,000,000 contracts.

        :raises ExchangeRefusalError: a limit outside that range, no such shard, or too many groups.
        """
        self._check_exchange()
        self._account(account_id)
        _check_limit(limit)
        if shard not in self._shards():
            raise ExchangeRefusalError(404, "not_found", "no such exchange_index")
        if sum(group.account_id == account_id for group in self._groups.values()) >= MOST_GROUPS:
            raise ExchangeRefusalError(400, "bad_request", "too many order groups")
        group = OrderGroup(self._ids(), account_id, shard, limit)
        self._groups[group.group_id] = group
        self._tell(group, GroupStep.CREATED)
        return group.view()

    def set_group_limit(self, account_id: str, group_id: str, limit: Count) -> GroupView:
        """Change a group's limit; one below what has just traded triggers it."""
        group = self._own_group(account_id, group_id)
        _check_limit(limit)
        group.limit = limit
        self._tell(group, GroupStep.LIMIT_UPDATED)
        self._judge(group)
        return group.view()

    def reset_group(self, account_id: str, group_id: str) -> GroupView:
        """Let a group take orders again and forget what has traded."""
        group = self._own_group(account_id, group_id)
        group.reset()
        self._tell(group, GroupStep.RESET)
        return group.view()

    def trigger_group(self, account_id: str, group_id: str) -> GroupView:
        """Cancel a group's orders and refuse new ones until it is reset; triggering twice does nothing more."""
        group = self._own_group(account_id, group_id)
        if not group.is_triggered:
            self._trigger(group)
        return group.view()

    def delete_group(self, account_id: str, group_id: str) -> GroupView:
        """Cancel a group's orders and forget it; returns what it was at its end."""
        group = self._own_group(account_id, group_id)
        self._cancel_group(group)
        del self._groups[group_id]
        self._tell(group, GroupStep.DELETED)
        return group.view()

    def groups(self, account_id: str) -> list[GroupView]:
        """An account's groups, oldest first."""
        return [group.view() for group in self._groups.values() if group.account_id == account_id]

    def _own_group(self, account_id: str, group_id: str) -> OrderGroup:
        self._check_exchange()
        group = self._groups.get(group_id)
        if group is None or group.account_id != account_id:
            raise ExchangeRefusalError(404, "order_group_not_found")
        return group

    # Cash

    def transfer(
        self,
        account_id: str,
        amount: Cash,
        source_shard: int,
        destination_shard: int,
        client_transfer_id: str | None = None,
    ) -> TransferView:
        """Move cash (1e-6 dollars) of an account from one shard to another.

        :raises ExchangeRefusalError: a repeated ``client_transfer_id`` (409), too little cash, or no such shard.
        """
        self._check_exchange()
        account = self._account(account_id)
        if client_transfer_id is not None and any(
            client_transfer_id == known.client_transfer_id for known in account.transfers
        ):
            raise ExchangeRefusalError(409, "transfer_already_exists")
        if amount <= 0 or source_shard == destination_shard:
            raise ExchangeRefusalError(400, "bad_request", "a transfer needs an amount and two shards")
        if not {source_shard, destination_shard} <= self._shards():
            raise ExchangeRefusalError(404, "not_found", "no such exchange_index")
        if account.available(source_shard) < amount:
            raise ExchangeRefusalError(400, INSUFFICIENT_BALANCE, f"on exchange_index {source_shard}")
        account.move(source_shard, -amount)
        account.move(destination_shard, amount)
        account.record_balance(self._now)
        view = TransferView(
            self._ids(), client_transfer_id, amount, source_shard, destination_shard, self._now
        )  # fmt: skip
        account.transfers.append(view)
        return view

    def move_cash(self, account_id: str, shard: int, amount: int) -> None:
        """Pay a signed amount (1e-6 dollars) into a shard from outside, or out of it.

        :raises ExchangeRefusalError: more than is available, or no such shard.
        """
        account = self._account(account_id)
        if shard not in self._shards():
            raise ExchangeRefusalError(404, "not_found", "no such exchange_index")
        if account.available(shard) + amount < 0:
            raise ExchangeRefusalError(400, INSUFFICIENT_BALANCE, f"on exchange_index {shard}")
        account.move(shard, amount)
        account.deposits[shard] = Cash(account.deposits.get(shard, 0) + amount)
        account.record_balance(self._now)

    def set_netting(self, account_id: str, *, enabled: bool) -> None:
        """Have collateral returned for what an account opens from now on, or no longer.

        What was returned before stays returned (:mod:`infra.exchange.collateral`).
        """
        self._account(account_id).netting = enabled

    def _shards(self) -> set[int]:
        shards = {series.shard for series in self.series.values()}
        return shards.union(*(account.cash for account in self.accounts.values()))


def _check_limit(limit: Count) -> None:
    if not LOWEST_LIMIT <= limit <= HIGHEST_LIMIT:
        raise ExchangeRefusalError(400, "bad_request", "contracts_limit must be 1 to 1000000")
