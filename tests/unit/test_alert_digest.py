"""A storm of errors is a few messages that leave nothing out."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.alert_digest import WINDOW_MS, admit, flush, group_of, reopened, restored
from kalshi_arb.ports import Alert, AlertDigest, AlertKind
from tests.cloud_samples import NOW, alert

EMPTY = AlertDigest(0, ())


def error(title: str = "Basket b12 cannot be accounted for", number: int = 0) -> Alert:
    return replace(alert(), alert_id=f"e{number}", kind=AlertKind.ERROR, title=title, text=f"text {number}")


def test_two_errors_that_differ_in_names_alone_are_of_one_kind() -> None:
    one = group_of(error("Basket b12ab needs attempt 3"))
    assert one == group_of(error("Basket b9 needs attempt 14")) == "simulated error: Basket * needs attempt *"
    assert one != group_of(error("The ledger does not match the exchange"))
    assert one != group_of(replace(error("Basket b9 needs attempt 14"), mode="live"))


def test_an_alarm_and_each_of_its_states_are_kinds_of_their_own() -> None:
    def alarm(title: str) -> str | None:
        return group_of(replace(alert(), kind=AlertKind.ALARM, title=title))

    assert len({alarm("alarm a1 is ALARM"), alarm("alarm a2 is ALARM"), alarm("alarm a1 is OK")}) == 3


def test_opportunities_basket_ends_and_settlements_are_always_told() -> None:
    for kind in (AlertKind.OPPORTUNITY, AlertKind.BASKET, AlertKind.SETTLEMENT):
        own = replace(alert(), kind=kind)
        digest = EMPTY
        for _ in range(5):
            admission = admit(digest, own, NOW)
            assert admission.tell
            assert admission.due == ()
            assert admission.digest == EMPTY, "nothing to save"


def test_the_first_error_is_told_at_once_and_the_rest_of_the_minute_in_one_summary() -> None:
    first = admit(EMPTY, error(), NOW)
    assert first.tell
    digest = first.digest
    for number in range(1, 50):
        more = admit(digest, error(number=number), NOW + number)
        assert not more.tell
        assert more.due == ()
        digest = more.digest
    assert flush(digest, NOW + WINDOW_MS - 1).due == ()
    after = flush(digest, NOW + WINDOW_MS)
    ((_, summary),) = after.due
    assert summary.title == "49 more within a minute: Basket * cannot be accounted for"
    assert "text 49" in summary.text
    assert (summary.mode, summary.kind) == ("simulated", AlertKind.ERROR)
    assert flush(after.digest, NOW + 2 * WINDOW_MS).digest.windows == (), "a quiet kind is forgotten"
    assert not admit(after.digest, error(number=60), NOW + WINDOW_MS + 1).tell, "the storm goes on: one a minute"
    assert admit(after.digest, error(number=60), NOW + 2 * WINDOW_MS).tell, "the storm was over"


def test_any_alert_carries_the_summaries_that_are_due() -> None:
    digest = admit(admit(EMPTY, error(), NOW).digest, error(number=1), NOW).digest
    admission = admit(digest, alert(), NOW + WINDOW_MS)
    assert admission.tell
    assert [summary.title for _, summary in admission.due] == [
        "1 more within a minute: Basket * cannot be accounted for"
    ]


def test_an_error_that_could_not_be_sent_is_told_at_its_next_try() -> None:
    digest = admit(EMPTY, error(), NOW).digest
    group = group_of(error())
    assert group is not None
    again = admit(reopened(digest, group, NOW + 1), error(), NOW + 2)
    assert again.tell
    held = admit(digest, error(number=1), NOW).digest
    other = admit(held, error("Something else"), NOW).digest
    later = admit(reopened(other, group, NOW + 1), error(), NOW + 2)
    assert [window.held for window, _ in later.due] == [1], "what was held back meanwhile is told with it"
    assert len(later.digest.windows) == 2


def test_a_summary_that_could_not_be_sent_is_due_again_with_what_came_since() -> None:
    digest = admit(admit(EMPTY, error(), NOW).digest, error(number=1), NOW).digest
    after = flush(digest, NOW + WINDOW_MS)
    ((window, _),) = after.due
    storm = admit(after.digest, error(number=2), NOW + WINDOW_MS + 5).digest
    again = flush(restored(storm, window), NOW + WINDOW_MS + 6)
    ((_, summary),) = again.due
    assert summary.title.startswith("2 more")
    assert "text 2" in summary.text
    assert [kept.held for kept in restored(replace(storm, windows=()), window).windows] == [1]


steps = st.lists(st.tuples(st.integers(0, 3 * WINDOW_MS), st.sampled_from(["a", "b", "c"])), min_size=1, max_size=60)


@given(steps)
def test_every_error_is_told_once_and_no_kind_more_than_twice_a_minute(steps: list[tuple[int, str]]) -> None:
    digest, told = EMPTY, []
    counted = 0
    times = sorted(time for time, _ in steps)
    for number, (time, (_, title)) in enumerate(zip(times, steps, strict=True)):
        admission = admit(digest, error(title, number), time)
        digest = admission.digest
        counted += admission.tell + sum(window.held for window, _ in admission.due)
        told += [(time, title)] * admission.tell
        told += [(time, window.group.rpartition(" ")[2]) for window, _ in admission.due]
    end = flush(digest, times[-1] + 2 * WINDOW_MS)
    counted += sum(window.held for window, _ in end.due)
    assert counted == len(steps)
    for title in "abc":
        moments = [time for time, named in told if named == title]
        assert all(later - one >= WINDOW_MS for one, later in pairwise(moments))
