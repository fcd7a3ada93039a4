"""How far the machine's clock is off, from answers that tell whole seconds, and what is said when that is too far."""

import base64

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.fakes import ManualClock
from kalshi_arb.kalshi.clock_offset import ClockOffset, OffsetMeter, server_second_ms
from kalshi_arb.kalshi.errors import ClockError
from kalshi_arb.kalshi.rest import Kalshi
from kalshi_arb.kalshi.signing import Credentials

DATE = "Sun, 22 Nov 2026 12:00:00 GMT"
SECOND_MS = 1_795_348_800_000
KEY = Ed25519PrivateKey.generate()
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_the_date_names_a_second_and_a_kept_copy_its_age() -> None:
    assert server_second_ms(DATE, None) == SECOND_MS
    assert server_second_ms(DATE, "15") == SECOND_MS + 15_000


@pytest.mark.parametrize(("date", "age"), [(None, None), ("", None), ("soon", None), (DATE, "old"), ("Sun, 99", None)])
def test_headers_that_tell_no_time_are_not_guessed_at(date: str | None, age: str | None) -> None:
    assert server_second_ms(date, age) is None


def test_one_answer_tells_the_offset_to_half_a_second_and_half_the_call() -> None:
    meter = OffsetMeter()
    assert meter.offset() is None
    meter.note(SECOND_MS, SECOND_MS + 5_000, SECOND_MS + 5_100)
    assert meter.offset() == ClockOffset(4_550, 550)


@given(
    st.integers(-100_000, 100_000),
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 800), st.integers(0, 800)), min_size=1, max_size=30),
)
def test_the_truth_is_always_within_the_bounds_and_they_only_narrow(
    offset_ms: int, calls: list[tuple[int, int, int]]
) -> None:
    meter, now, last = OffsetMeter(), SECOND_MS, 10**9
    for passed, there, back in calls:
        now += passed
        at_server = now + there
        meter.note(at_server // 1000 * 1000, now + offset_ms, at_server + back + offset_ms)
        now = at_server + back
        found = meter.offset()
        assert found is not None
        assert abs(found.offset_ms - offset_ms) <= found.error_ms + 1
        assert found.error_ms <= last
        last = found.error_ms


def test_a_clock_that_was_set_is_measured_anew() -> None:
    meter = OffsetMeter()
    meter.note(SECOND_MS, SECOND_MS + 60_000, SECOND_MS + 60_010)
    meter.note(SECOND_MS + 1_000, SECOND_MS + 1_500, SECOND_MS + 1_510)
    found = meter.offset()
    assert found is not None
    assert abs(found.offset_ms) <= 510


def test_a_person_reads_how_far_it_is_off() -> None:
    assert str(ClockOffset(60_240, 505)) == ("this machine's clock is 60.2 s ahead of the exchange's (to within 0.5 s)")
    assert "3.0 s behind" in str(ClockOffset(-3_000, 500))


class Clocked:
    """An exchange whose clock is at noon, and a client whose clock is ``ahead_ms`` further."""

    def __init__(self, answer: httpx.Response, ahead_ms: int, *, correct_clock: bool = False) -> None:
        self.requests: list[httpx.Request] = []
        self.answer = answer
        self.answer.headers["date"] = DATE
        clock = ManualClock()
        clock.advance(SECOND_MS + ahead_ms - clock.now_ms())
        self.kalshi = Kalshi(
            "http://exchange.test/trade-api/v2", Credentials("key", PEM), clock=clock, correct_clock=correct_clock,
            transport=httpx.MockTransport(self._reply),
        )  # fmt: skip

    def _reply(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer


def expired() -> httpx.Response:
    return httpx.Response(
        401, json={"error": {"code": "header_timestamp_expired", "message": "header timestamp expired"}}
    )


def test_a_refused_timestamp_says_how_far_the_clock_is_off_in_one_line() -> None:
    with pytest.raises(ClockError) as caught:
        Clocked(expired(), 90_000).kalshi.portfolio.balance()
    assert str(caught.value) == (
        "header_timestamp_expired: GET portfolio/balance: this machine's clock is 89.5 s ahead of the exchange's "
        "(to within 0.5 s); set it right (NTP) (HTTP 401)"
    )


def test_without_a_date_the_exchanges_own_words_remain() -> None:
    clocked = Clocked(expired(), 90_000)
    del clocked.answer.headers["date"]
    with pytest.raises(ClockError, match="header timestamp expired"):
        clocked.kalshi.portfolio.balance()


@pytest.mark.parametrize(("correct", "signed_ms"), [(False, SECOND_MS + 90_000), (True, SECOND_MS + 501)])
def test_signatures_carry_the_exchanges_time_only_when_that_is_asked_for(correct: bool, signed_ms: int) -> None:
    clocked = Clocked(httpx.Response(200, json={"balance_breakdown": []}), 90_000, correct_clock=correct)
    clocked.kalshi.portfolio.balance()
    clocked.kalshi.portfolio.balance()
    first, second = clocked.requests
    assert first.headers["KALSHI-ACCESS-TIMESTAMP"] == str(SECOND_MS + 90_000), "nothing was measured yet"
    stamp = second.headers["KALSHI-ACCESS-TIMESTAMP"]
    assert abs(int(stamp) - signed_ms) <= 1
    text = f"{stamp}GET/trade-api/v2/portfolio/balance".encode()
    KEY.public_key().verify(base64.b64decode(second.headers["KALSHI-ACCESS-SIGNATURE"]), text)
