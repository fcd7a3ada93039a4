"""What a run says of its tape: proofs put to the passes whose books they rest on, for people and for machines."""

from dataclasses import replace

from infra.local.tape_report import Lock, began_text, missing_text, proved_locks, tape_json, tape_text
from kalshi_arb.domain.book import BookVersion
from kalshi_arb.domain.money import Cash
from kalshi_arb.domain.opportunity import BookReference, Grade, Opportunity
from tests.cloud_samples import opportunity

SERVED = [
    {"event": "KXA", "at": "first", "ms": 1_000},
    {"event": "KXB", "at": "first", "ms": 1_020},
    {"event": "KXA", "at": "second", "ms": 2_000},
]
STATS = {
    "files": ["a.jsonl"], "passes": 2, "passes_recorded": 3, "rows": 12, "rows_after_close": 0, "events": 2,
    "missing_fields": {"fee_type": {"markets": 4, "served": "quadratic"}}, "unknown_fields": {"station": 2},
    "raw": {"bids_over_1": 1, "asks_under_1": 0, "nested_crossed": 2},
    "net": {"bids_over_1": 0, "asks_under_1": 0, "nested_crossed": 1}, "served": SERVED,
}  # fmt: skip


def found(event: str, *book_times: int, profit: int = 2_200, grade: Grade = Grade.PROVED) -> Opportunity:
    sample = opportunity()
    books = tuple(BookReference(f"M{ms}", BookVersion(1, 1, 1), 5, ms) for ms in book_times)
    certificate = replace(sample.certificate, grade=grade, floor_profit=Cash(profit), books=books)
    return replace(sample, event_ticker=event, certificate=certificate)


def test_a_proof_belongs_to_the_pass_that_its_newest_book_is_of() -> None:
    assert proved_locks(SERVED, [found("KXA", 1_000, 1_999)]) == [Lock("KXA", "first", Cash(2_200))]
    assert proved_locks(SERVED, [found("KXA", 1_000, 2_000)]) == [Lock("KXA", "second", Cash(2_200))]
    assert proved_locks(SERVED, [found("KXB", 9_000)]) == [Lock("KXB", "first", Cash(2_200))]


def test_an_event_is_told_once_a_pass_with_its_best_proof_in_the_order_of_the_tape() -> None:
    several = [
        found("KXA", 2_500, profit=100), found("KXB", 1_030), found("KXA", 1_100, profit=300),
        found("KXA", 1_200, profit=900), found("KXA", 1_300, profit=200),
    ]  # fmt: skip
    assert proved_locks(SERVED, several) == [
        Lock("KXA", "first", Cash(900)),
        Lock("KXB", "first", Cash(2_200)),
        Lock("KXA", "second", Cash(100)),
    ]


def test_only_what_was_proved_on_this_tape_counts() -> None:
    others = [found("KXA", 999), found("KXC", 1_500), found("KXA", 1_500, grade=Grade.CONDITIONAL)]
    assert proved_locks(SERVED, others) == []


def test_the_machine_readable_part_adds_the_proofs_to_the_counts() -> None:
    told = tape_json(STATS, [Lock("KXA", "first", Cash(2_200)), Lock("KXB", "first", Cash(12_800))])
    assert "served" not in told
    assert (told["passes"], told["raw"]["bids_over_1"], told["proved"], told["proved_profit"]) == (2, 1, 2, "0.015000")
    assert told["locks"][1] == {"event": "KXB", "at": "first", "profit": "0.012800"}


def test_the_first_line_says_what_is_played_and_what_it_lacks() -> None:
    told = "tape: 3 passes, 12 books of 2 events; not on tape: fee_type; fields not known: station"
    assert began_text(STATS) == told
    assert began_text({**STATS, "unknown_fields": {}}).endswith("fields not known: none")


def test_people_read_the_same_and_what_the_tape_lacks() -> None:
    text = tape_text(STATS, [Lock("KXA", "first", Cash(2_200))])
    assert text[0] == "tape        2 of 3 passes seen, 12 books of 2 events in 1 files"
    assert "proved      1 in an event and pass, $0.0022 in all" in text
    assert missing_text(STATS) == [
        "not on tape fee_type (4 markets): served is quadratic",
        "not known   the field station, in 2 rows",
    ]
    assert text[-2:] == missing_text(STATS)
