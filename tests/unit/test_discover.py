"""Discovery: the listing becomes the accepted groups, and a change suspends, is told, and makes a new version."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.group_record import GroupRecord, HistoryKind, SuspensionReason, approve, suspend
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.market import ComboLeg, Market, MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Family
from kalshi_arb.fakes import FakeExchange, ManualClock, MemoryGroupStore, MemoryNotifier, MemoryStatusStore
from kalshi_arb.kalshi.errors import RetryableError
from kalshi_arb.ports import AlertKind, ListingChanges
from kalshi_arb.relations.assembly import FEE_HORIZON_MS
from kalshi_arb.relations.changes import COPY_AGE_MS
from kalshi_arb.relations.discover import COMBOS_EVERY_MS, LOOK_EVERY_MS, SWEEP_EVERY_MS, Discovery, Progress
from kalshi_arb.relations.user import NO_USER_RELATIONS, UserRelation, UserRelationError, UserRelations
from kalshi_arb.schemas import Lifecycle
from tests.market_samples import CLOSE_MS, NOW_MS, listing, market

LATER_MS = CLOSE_MS + 10 * SWEEP_EVERY_MS


def ladder(event: str, *strikes: str, rules: str = "rules", close_ms: int = LATER_MS) -> EventListing:
    return listing(
        [
            market(strike, ticker=f"{event} {strike}", event=event, rules=rules, close_ms=close_ms)
            for strike in strikes
        ],
        event=event,
    )  # fmt: skip


LADDER = ladder("LADDER", "> 1", "> 2", "9 .. 8")
WEATHER = ladder("WEATHER", "< 93", "93 .. 94", "> 94")
SINGLE = ladder("SINGLE", "> 7")
GROUP = "LADDER:ladder"


class Bench:
    """Discovery over a fake exchange."""

    def __init__(self, *listings: EventListing) -> None:
        self.clock = ManualClock(NOW_MS)
        self.exchange = FakeExchange(self.clock)
        for one in listings:
            self.exchange.list_event(one)
        self.groups = MemoryGroupStore()
        self.status = MemoryStatusStore()
        self.notifier = MemoryNotifier()
        self.user = NO_USER_RELATIONS
        self.progress: list[Progress] = []
        self.discovery = self.process()

    def process(self) -> Discovery:
        return Discovery(
            market_data=self.exchange, groups=self.groups, status=self.status, notifier=self.notifier,
            clock=self.clock, mode="simulated", user=lambda: self.user, progress=self.progress.append,
        )  # fmt: skip

    def record(self, group_id: str = GROUP) -> GroupRecord:
        record = self.groups.get(group_id)
        assert record is not None
        return record

    def ids(self) -> set[str]:
        return {record.group_id for record in self.groups.all()}

    def later(self, milliseconds: int = LOOK_EVERY_MS) -> None:
        self.clock.advance(milliseconds)

    def look(self) -> dict[str, int]:
        self.later()
        return self.discovery.run().changes

    def kinds(self, group_id: str = GROUP) -> list[str]:
        return [entry.kind.value for entry in reversed(self.groups.history(group_id, 99))]

    def announce(self, ticker: str = "LADDER > 1", kind: str = "metadata_updated", *, groups: Sequence[str] = (GROUP,)
                 ) -> dict[str, int]:  # fmt: skip
        return self.discovery.announced([Lifecycle(ticker, kind, self.clock.now_ms(), tuple(groups))]).changes


def changed_strike(strike: str = "> 1.5") -> EventListing:
    moved = market(strike, ticker="LADDER > 1", event="LADDER", close_ms=LATER_MS)
    return replace(LADDER, markets=(replace(LADDER.markets[0], market=moved), *LADDER.markets[1:]))


# A sweep


def test_a_first_run_reads_everything_and_reports() -> None:
    bench = Bench(LADDER, WEATHER, SINGLE)
    report = bench.discovery.run()
    assert report.groups == {"ladder": 1, "partition": 1}
    assert report.dropped == {"empty_bracket": 1, "single_market": 1}
    assert (report.version, report.events, report.changes) == (1, 3, {"accepted": 2})
    assert bench.ids() == {GROUP, "WEATHER:partition"}
    assert bench.status.get("discovery") == {
        "updated_ms": NOW_MS, "version": 1, "events": 3, "markets": 7, "combos": 0,
        "groups": {"ladder": 1, "partition": 1}, "suspended": 0,
        "dropped": {"empty_bracket": 1, "single_market": 1},
    }  # fmt: skip
    assert bench.progress[-1] == Progress("markets", 7)
    assert "empty_bracket" in bench.record().nearby[0]


def test_everything_is_read_again_once_a_day_and_changes_nothing_then() -> None:
    bench = Bench(LADDER, WEATHER)
    bench.discovery.run()
    assert bench.look() == {}
    assert bench.exchange.event_reads == [()]
    bench.later(SWEEP_EVERY_MS)
    assert bench.discovery.run().events == 2
    assert (bench.groups.version(), bench.notifier.published) == (1, [])


def test_what_is_gone_from_the_listing_is_gone_from_the_set_and_told() -> None:
    bench = Bench(LADDER, WEATHER)
    bench.discovery.sweep()
    bench.exchange.listings = [WEATHER]
    bench.later()
    assert bench.discovery.sweep().changes == {"suspended": 1, "gone": 1}
    assert bench.ids() == {"WEATHER:partition"}
    (alert,) = bench.notifier.published
    assert (alert.kind, alert.title) == (AlertKind.RELATION, f"Group {GROUP} suspended")
    assert alert.text.endswith("It stays out of use.")
    assert "LADDER > 1 is not listed any more." in alert.text


def test_markets_past_their_close_are_left_out_by_our_clock() -> None:
    bench = Bench(WEATHER)
    bench.clock.advance(LATER_MS - NOW_MS)
    assert bench.discovery.run().dropped == {"already_closed": 3}


def test_a_repeated_event_counts_once() -> None:
    bench = Bench(LADDER, LADDER)
    assert bench.discovery.run().groups == {"ladder": 1}


class BrokenListing(FakeExchange):
    """Stops in the middle of the listing."""

    def open_events(self) -> Iterable[EventListing]:
        def pages() -> Iterator[EventListing]:
            yield WEATHER
            raise RetryableError("page 2 could not be read")

        return pages()


def test_half_a_listing_changes_nothing_and_is_read_again_at_once() -> None:
    bench = Bench(LADDER)
    bench.discovery.sweep()
    whole, bench.exchange = bench.exchange, BrokenListing(bench.clock)
    bench.later(SWEEP_EVERY_MS)
    with pytest.raises(RetryableError):
        bench.process().run()
    assert bench.ids() == {GROUP}
    bench.exchange = whole
    assert bench.process().run().events == 1


def test_a_second_sweep_does_not_begin_while_one_is_under_way() -> None:
    bench = Bench(LADDER)
    bench.status.put("discovery-sweeps", {"sweeping_ms": NOW_MS - 1})
    assert bench.discovery.run().events == 0
    assert bench.ids() == set()


# A look


def test_a_changed_text_is_found_by_the_next_look_suspended_told_and_a_new_version() -> None:
    bench = Bench(LADDER, WEATHER)
    bench.discovery.run()
    bench.later()
    bench.exchange.change_event(ladder("LADDER", "> 1", "> 2", "9 .. 8", rules="other rules"))
    assert bench.discovery.run().changes == {"suspended": 1, "replaced": 1}
    record = bench.record()
    assert (record.number, record.suspension, record.since_ms) == (2, None, bench.clock.now_ms())
    assert bench.exchange.event_reads[-1] == ("LADDER",), "nothing else is read"
    (alert,) = bench.notifier.published
    assert alert.text.startswith("Rules text of LADDER > 1 changed from the one with hash rules")
    assert alert.text.endswith("As it is now it is active as version 2.")
    stopped, replaced = list(reversed(bench.groups.history(GROUP, 9)))[1:]
    assert (stopped.kind, replaced.kind) == (HistoryKind.SUSPENDED, HistoryKind.REPLACED)
    assert replaced.words[0].startswith("Rules text of LADDER > 1 changed")
    assert (bench.look(), len(bench.notifier.published)) == ({}, 1)


def test_a_look_does_nothing_so_soon_after_another_and_nothing_before_the_first_sweep() -> None:
    bench = Bench(LADDER)
    assert bench.discovery.look().events == 0
    bench.discovery.run()
    bench.exchange.change_event(changed_strike())
    bench.later(LOOK_EVERY_MS - 1)
    assert bench.discovery.look().changes == {}
    bench.later(1)
    assert bench.discovery.look().changes == {"suspended": 1, "replaced": 1}


def test_a_look_that_fails_is_made_up_for_by_the_next() -> None:
    bench = Bench(LADDER)
    bench.discovery.run()
    bench.exchange.change_event(changed_strike())
    bench.later()

    def refuse(since_ms: int, fees_until_ms: int) -> ListingChanges:
        raise RetryableError("down")

    working = bench.exchange.changes_since
    bench.exchange.changes_since = refuse  # type: ignore[method-assign]
    with pytest.raises(RetryableError):
        bench.discovery.run()
    bench.discovery.heard([], reminded=True)
    bench.later(60_000)
    bench.exchange.changes_since = working  # type: ignore[method-assign]
    assert bench.discovery.run().changes == {"suspended": 1, "replaced": 1}


def test_a_market_that_closes_leaves_its_group_without_a_word_to_people() -> None:
    three = ladder("LADDER", "> 1", "> 2", "> 3")
    bench = Bench(three)
    bench.discovery.run()
    closed = replace(three.markets[0], status=MarketStatus.CLOSED)
    bench.exchange.change_event(replace(three, markets=(closed, *three.markets[1:])))
    assert bench.look() == {"replaced": 1}
    assert bench.record().group.tickers == ("LADDER > 2", "LADDER > 3")
    assert (bench.notifier.published, bench.kinds()) == ([], ["accepted", "replaced"])


def test_an_event_that_ends_takes_its_group_along_without_a_word_to_people() -> None:
    bench = Bench(ladder("LADDER", "> 1", "> 2", close_ms=NOW_MS + LOOK_EVERY_MS))
    bench.discovery.run()
    assert bench.look() == {"gone": 1}
    assert (bench.notifier.published, bench.ids()) == ([], set())


def test_a_market_that_closes_does_not_hide_what_else_changed() -> None:
    bench = Bench(LADDER)
    bench.discovery.run()
    closed = replace(changed_strike().markets[1], status=MarketStatus.CLOSED)
    bench.exchange.change_event(replace(LADDER, markets=(changed_strike().markets[0], closed)))
    assert bench.look() == {"suspended": 1, "gone": 1}
    (alert,) = bench.notifier.published
    assert "Floor strike of LADDER > 1 changed from 1 to 1.5." in alert.text
    assert "Refused: market, already_closed" in alert.text


def test_a_fee_change_that_comes_near_takes_the_group_out_of_use() -> None:
    free = FeeSchedule(FeeType.QUADRATIC, 0)
    at_ms = NOW_MS + FEE_HORIZON_MS + 5_000
    rows = tuple(replace(row, fee_change_ms=at_ms) for row in LADDER.markets)
    bench = Bench(replace(LADDER, markets=rows))
    bench.discovery.run()
    assert bench.look() == {"suspended": 1, "gone": 1}
    bench.later(FEE_HORIZON_MS)
    after = tuple(replace(row, market=replace(row.market, fees=free), fee_change_ms=None) for row in rows)
    bench.exchange.change_event(replace(LADDER, markets=after))
    assert bench.discovery.run().changes == {"accepted": 1}


def test_a_new_event_is_accepted_by_the_next_look() -> None:
    bench = Bench(LADDER)
    bench.discovery.run()
    bench.exchange.change_event(WEATHER)
    assert bench.look() == {"accepted": 1}
    assert bench.exchange.event_reads == [("WEATHER",)]


# Messages of the stream


def test_a_message_suspends_before_the_exchange_is_asked_anything() -> None:
    bench = Bench(LADDER, WEATHER)
    bench.discovery.run()
    seen: list[GroupRecord] = []
    reading = bench.exchange.events

    def events(event_tickers: Sequence[str]) -> Iterable[EventListing]:
        seen.append(bench.record())
        return reading(event_tickers)

    bench.exchange.events = events  # type: ignore[method-assign]
    bench.exchange.change_event(changed_strike())
    assert bench.announce() == {"suspended": 1, "replaced": 1}
    (during,) = seen
    assert during.suspension is not None
    assert during.suspension.reason is SuspensionReason.ANNOUNCED
    assert during.suspension.words == "The exchange announced metadata updated of LADDER > 1."
    (alert,) = bench.notifier.published
    assert "Floor strike of LADDER > 1 changed from 1 to 1.5." in alert.text
    assert bench.exchange.event_reads == [("LADDER",)], "one event, and once"
    assert bench.kinds() == ["accepted", "suspended", "replaced"]


def test_a_message_that_changed_nothing_keeps_the_group_suspended_until_no_copy_can_be_older() -> None:
    bench = Bench(LADDER)
    bench.discovery.run()
    assert bench.announce() == {"suspended": 1}
    bench.later(COPY_AGE_MS - 1)
    assert bench.discovery.run().changes == {}
    bench.later()
    assert bench.discovery.run().changes == {"resumed": 1}
    assert (bench.record().suspension, bench.record().number, bench.notifier.published) == (None, 1, [])


def test_the_exchange_is_down_and_the_group_stays_suspended_until_the_next_look() -> None:
    bench = Bench(LADDER)
    bench.discovery.run()

    def refuse(event_tickers: Sequence[str]) -> Iterable[EventListing]:
        raise RetryableError("down")

    reading, bench.exchange.events = bench.exchange.events, refuse  # type: ignore[method-assign]
    bench.exchange.change_event(changed_strike())
    assert bench.announce() == {"suspended": 1}
    bench.exchange.events = reading  # type: ignore[method-assign]
    assert bench.look() == {"replaced": 1}


def test_a_burst_of_messages_is_one_reading_of_each_event() -> None:
    bench = Bench(LADDER, WEATHER)
    bench.discovery.run()
    burst = [Lifecycle(f"LADDER > {number}", "determined", NOW_MS, (GROUP,)) for number in (1, 2)] * 90
    bench.discovery.announced(burst)
    bench.later(50)
    bench.discovery.announced(burst)
    assert bench.exchange.event_reads == [("LADDER",)]
    bench.announce()
    assert bench.exchange.event_reads == [("LADDER",)] * 2, "a later message is another reading"
    assert bench.kinds() == ["accepted", "suspended", "suspended"]


def test_a_message_about_a_market_in_no_group_is_read_and_a_new_market_suspends_nothing() -> None:
    bench = Bench(LADDER, SINGLE)
    bench.discovery.run()
    bench.exchange.change_event(ladder("SINGLE", "> 7", "> 8"))
    assert bench.announce("SINGLE > 7", "activated", groups=()) == {"accepted": 1}
    bench.exchange.change_event(ladder("LADDER", "> 1", "> 2", "> 3"))
    bench.discovery.announced([Lifecycle("LADDER > 3", "created", NOW_MS, (GROUP,))])
    assert bench.kinds() == ["accepted", "suspended", "replaced"], "it changed, but was not stopped by the message"
    assert bench.groups.history(GROUP, 9)[1].words[0].startswith("LADDER > 3 joined")


def test_an_event_level_message_names_the_event_itself() -> None:
    bench = Bench(LADDER)
    bench.discovery.run()
    bench.announce("LADDER", "event_fee_update")
    assert bench.exchange.event_reads == [("LADDER",)]


def test_a_suspension_wins_against_writers_that_keep_interfering() -> None:
    class Busy(MemoryGroupStore):
        interruptions = 2

        def get_many(self, group_ids: Sequence[str]) -> list[GroupRecord]:
            found = super().get_many(group_ids)
            if self.interruptions and found:
                self.interruptions -= 1
                self.write([approve(found[0], "x", now_ms=1)] if found[0].group.assumptions else [
                    suspend(found[0], SuspensionReason.CHANGED, "y", now_ms=0)])  # fmt: skip
            return found

    bench = Bench(LADDER)
    bench.groups = Busy()
    bench.discovery = bench.process()
    bench.discovery.run()
    bench.announce()
    suspension = bench.record().suspension
    assert suspension is not None
    assert suspension.reason is SuspensionReason.ANNOUNCED


def test_an_older_reading_does_not_overrule_a_later_one() -> None:
    bench = Bench(LADDER)
    bench.discovery.run()
    slow = bench.process()
    reading = bench.exchange.open_events

    def open_events() -> Iterable[EventListing]:
        old = list(reading())
        bench.later(1_000)
        bench.exchange.change_event(changed_strike())
        bench.discovery.announced([Lifecycle("LADDER > 1", "metadata_updated", bench.clock.now_ms(), (GROUP,))])
        return old

    bench.exchange.open_events = open_events  # type: ignore[method-assign]
    slow.sweep()
    assert bench.record().group.markets[0].floor == Decimal("1.5")


def test_each_change_is_told_once_however_often_it_is_carried_out() -> None:
    """A process that dies between telling and writing tells again under the same id."""
    bench = Bench(LADDER)
    bench.discovery.run()
    bench.exchange.change_event(changed_strike())
    before = bench.record()
    bench.look()
    again = bench.process()
    bench.groups._records[GROUP] = before
    bench.later()
    bench.exchange.change_event(changed_strike())
    again.look()
    assert len({alert.alert_id for alert in bench.notifier.published}) == 1 < len(bench.notifier.published)


# Combos and the user's relations


def combo() -> EventListing:
    made = Market(
        **{
            **{name: getattr(LADDER.markets[0].market, name) for name in LADDER.markets[0].market.__slots__},
            "ticker": "C", "event_ticker": "COMBO", "strike_type": StrikeType.OTHER, "floor": None,
            "legs": (
                ComboLeg("LADDER", "LADDER > 1", Outcome.YES), ComboLeg("WEATHER", "WEATHER < 93", Outcome.NO),
            ),
        }
    )  # fmt: skip
    return listing([made], event="COMBO")


def test_a_changed_leg_changes_its_combo_and_new_combos_are_read_now_and_then() -> None:
    bench = Bench(LADDER, WEATHER)
    bench.discovery.run()
    bench.exchange.combos = [combo()]
    assert bench.look() == {}
    bench.later(COMBOS_EVERY_MS)
    assert bench.discovery.run().changes == {"accepted": 1}
    (own,) = [record for record in bench.groups.all() if record.group.family is Family.COMBO]
    bench.exchange.change_event(changed_strike())
    ids = (GROUP, own.group_id)
    assert bench.announce(groups=ids) == {"suspended": 2, "replaced": 2}
    assert set(bench.exchange.event_reads[-1]) == {"COMBO", "LADDER", "WEATHER"}
    bench.exchange.combos = []
    bench.later(COMBOS_EVERY_MS)
    assert bench.discovery.run().changes == {"suspended": 1, "gone": 1}


RELATION = UserRelation(RelationKind.SUBSET, ("SINGLE > 7", "LADDER > 1"), "who knows seven knows one", 3)


def test_a_user_relation_is_used_once_written_needs_approval_and_loses_it_when_something_changes() -> None:
    bench = Bench(LADDER, SINGLE)
    bench.discovery.run()
    bench.user = UserRelations("relations.yaml", (RELATION,))
    bench.later()
    assert bench.discovery.run().changes == {"accepted": 1}, "what the user wrote is a reason to read everything"
    (own,) = [record for record in bench.groups.all() if record.group.family is Family.USER]
    assert own.needs_approval
    bench.groups.write([approve(own, "read both rules", now_ms=1)])
    assert bench.look() == {}
    bench.exchange.change_event(changed_strike())
    assert bench.look() == {"suspended": 2, "replaced": 2}
    record = bench.record(own.group_id)
    assert (record.needs_approval, record.number) == (True, 2)
    text = next(alert.text for alert in bench.notifier.published if own.group_id in alert.title)
    assert "needs a person's approval" in text
    assert text.endswith("Its approval has ended.")


def test_user_relations_that_cannot_be_used_are_told_once_a_day_and_nothing_of_them_is_stored() -> None:
    bench = Bench(LADDER, SINGLE)
    unknown = replace(RELATION, members=("SINGLE > 7", "NOWHERE"))
    bench.user = UserRelations("relations.yaml", (RELATION, unknown))
    bench.discovery.sweep()
    (alert,) = bench.notifier.published
    assert (alert.kind, alert.text.split(".")[0]) == (AlertKind.ERROR, "relations")
    assert "relations.yaml, line 3: no market NOWHERE is listed" in alert.text
    assert bench.ids() == {GROUP}

    def broken() -> UserRelations:
        raise UserRelationError("relations.yaml", 1, "not YAML")

    bench.discovery = Discovery(
        market_data=bench.exchange, groups=bench.groups, status=bench.status, notifier=bench.notifier,
        clock=bench.clock, mode="simulated", user=broken,
    )  # fmt: skip
    bench.later()
    assert bench.discovery.run().events == 2, "they changed, so everything is read"
    assert "not YAML" in bench.notifier.published[-1].text
    assert bench.look() == {}
