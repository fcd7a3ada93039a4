"""What a person may read, and the one thing a person may ask for: read models in plain words and plain JSON.

Nothing here changes anything. Money leaves as decimal dollars in strings, times as UTC milliseconds.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import Basket
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.money import (
    Cash,
    Count,
    Price,
    cash_to_wire,
    count_to_wire,
    dollars,
    notional,
)
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg, Opportunity
from kalshi_arb.events import REFUSED, ScanOrder
from kalshi_arb.execution.legs import leg_state
from kalshi_arb.execution.review import RELEASE, proposals_of
from kalshi_arb.ports import AlertStore, BasketStore, Detection, GroupStore, OpportunityStore, StatusStore
from kalshi_arb.stop_desk import trading_view

Json = dict[str, object]

FEED_SILENT_MS = 5_000
"""A feed that wrote nothing for this long is taken for dead, whatever it wrote last."""
DEFAULT_LIMIT = 20
LARGEST_LIMIT = 100
_ALERTS_SHOWN = 20
_REMEMBERED_GROUPS = 1_000
_LONGEST_BODY = 1_000
_LONGEST_CALC = 200_000
_SCAN_BODY = 'the body must be empty, {} or {"event_ticker": "KX..."}'
_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)
_COUNTED = ("detection", "risk", "execution", "settlement")


class RequestError(KalshiArbError):
    """A request that cannot be answered as it is; the message says what it must be."""


def read_limit(text: str | None) -> int:
    """How many rows to answer. :raises RequestError: not a whole number from 1 to 100."""
    if text is None:
        return DEFAULT_LIMIT
    limit = int(text) if _NUMBER.fullmatch(text) else 0
    if not 1 <= limit <= LARGEST_LIMIT:
        raise RequestError(f"limit must be a whole number from 1 to {LARGEST_LIMIT}")
    return limit


def read_scan(body: str | None) -> str | None:
    """The event ticker of a scan request, None for everything. :raises RequestError: anything else."""
    if not body:
        return None
    try:
        if len(body) > _LONGEST_BODY:
            raise RequestError(_SCAN_BODY)
        return msgspec.json.decode(body, type=ScanOrder).event_ticker
    except msgspec.DecodeError:
        raise RequestError(_SCAN_BODY) from None


def contracts(count: Count) -> str:
    """A count for a person: whole contracts without decimals."""
    return count_to_wire(count).removesuffix(".00")


def price_text(price: Price) -> str:
    """A price for a person: dollars with at least two decimals."""
    return dollars(notional(price, Count(100)))


def leg_text(leg: Leg, titles: Mapping[str, str]) -> str:
    """One leg as an instruction."""
    title = titles.get(leg.ticker)
    market = f"{leg.ticker} ({title})" if title else leg.ticker
    return f"Buy {contracts(leg.count)} {leg.outcome.name} of {market} at {price_text(leg.limit)} or less"


def proof_text(legs: Sequence[Leg], certificate: Certificate) -> str:
    """A certificate in words: what is paid at most, what comes back at least, where, and on books of which age."""
    cost = Cash(sum(notional(leg.limit, leg.count) for leg in legs))
    payout = Cash(certificate.floor_profit + cost + certificate.fee_bound)
    parts = [
        f"costs at most {dollars(cost)}",
        f"fees at most {dollars(certificate.fee_bound)}",
        f'worst of {certificate.states_checked} settlements is "{certificate.worst_state}"',
    ]
    if certificate.grade is Grade.PROVED:
        parts.insert(0, f"Pays at least {dollars(payout)} in each of {certificate.states_checked} settlements")
        parts.append(f"gains at least {dollars(certificate.floor_profit)}")
    else:
        parts.insert(0, f"{certificate.grade.value.capitalize()}: not safe to trade unattended")
        parts.append(f"there it makes {dollars(certificate.floor_profit)}")
        if certificate.breaking_state is not None:
            parts.append(f'it breaks if "{certificate.breaking_state}" happens')
    if certificate.books:
        parts.append(f"books at most {max(book.age_ms for book in certificate.books)} ms old")
    return "; ".join(parts) + "."


def opportunity_view(opportunity: Opportunity, titles: Mapping[str, str]) -> Json:
    """An opportunity as the page and the API show it."""
    certificate = opportunity.certificate
    return {
        "opportunity_id": opportunity.opportunity_id,
        "group_id": opportunity.group_id,
        "event_ticker": opportunity.event_ticker,
        "grade": certificate.grade.value,
        "legs": [leg_text(leg, titles) for leg in opportunity.legs],
        "proof": proof_text(opportunity.legs, certificate),
        "profit_at_least": cash_to_wire(certificate.floor_profit),
        "profit_on_books": cash_to_wire(certificate.worst_profit),
        "fees_at_most": cash_to_wire(certificate.fee_bound),
        "found_ms": opportunity.found_ms,
    }


def basket_view(basket: Basket, titles: Mapping[str, str]) -> Json:
    """A basket as the page and the API show it; an amount that is not known yet is null."""
    first = basket.first_order_ms
    return {
        "basket_id": basket.basket_id,
        "opportunity_id": basket.opportunity_id,
        "group_id": basket.group_id,
        "event_ticker": basket.event_ticker,
        "mode": basket.mode,
        "state": basket.state.value,
        "reason": basket.reason,
        "findings": [{"code": one.code, "text": one.text} for one in basket.findings],
        "attempt": basket.attempt,
        "legs": [
            {
                "text": leg_text(leg, titles),
                "held": contracts(basket.leg_position(place)),
                "wanted": contracts(leg.count),
                "state": leg_state(basket, place).value,
            }
            for place, leg in enumerate(basket.legs)
        ],
        "orders": len(basket.orders),
        "open_orders": basket.has_open_orders(),
        "expected_profit": cash_to_wire(basket.expected_profit),
        "largest_loss": cash_to_wire(basket.exposure_bound),
        "locked_profit": _amount(basket.locked_profit),
        "settled_profit": _amount(basket.settled_profit),
        "first_order_after_ms": None if first is None else first - basket.candidate_ms,
        "created_ms": basket.created_ms,
        "updated_ms": basket.updated_ms,
    }


def _amount(cash: Cash | None) -> str | None:
    return None if cash is None else cash_to_wire(cash)


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage took in and dropped."""

    name: str
    passed: int
    drops: Mapping[str, int]


class Api:
    """The use cases behind the HTTP routes. What must be searched or calculated is asked of ``detection``."""

    def __init__(
        self,
        *,
        status: StatusStore,
        opportunities: OpportunityStore,
        baskets: BasketStore,
        groups: GroupStore,
        alerts: AlertStore,
        detection: Detection,
        clock: Clock,
        mode: str,
    ) -> None:
        self._status = status
        self._opportunities = opportunities
        self._baskets = baskets
        self._groups = groups
        self._alerts = alerts
        self._detection = detection
        self._clock = clock
        self._mode = mode
        self._titles: dict[tuple[str, str], dict[str, str]] = {}

    def health(self) -> Json:
        """Mode, feed, discovery, counters, and the last alerts."""
        now = self._clock.now_ms()
        return {
            "mode": self._mode,
            "now_ms": now,
            "feed": self._feed(now),
            "discovery": self._status.get("discovery"),
            "account": self._status.get("account"),
            "release": proposals_of(self._status.get(RELEASE)),
            "trading": trading_view(self._status, now, self._mode),
            "counters": {component: self._status.counters(component) for component in _COUNTED},
            "alerts": [
                {"kind": alert.kind.value, "mode": alert.mode, "title": alert.title, "text": alert.text,
                 "created_ms": alert.created_ms}
                for alert in self._alerts.recent(_ALERTS_SHOWN)
            ],
        }  # fmt: skip

    def opportunities(self, limit: int) -> Json:
        """The newest opportunities with their proofs in words."""
        found = self._opportunities.recent(limit)
        return {
            "mode": self._mode,
            "opportunities": [
                opportunity_view(one, self._titles_of(one.group_id, one.certificate.fingerprint)) for one in found
            ],
        }

    def baskets(self, limit: int) -> Json:
        """The newest baskets."""
        return {
            "mode": self._mode,
            "baskets": [
                basket_view(row, self._titles_of(row.group_id, row.certificate.fingerprint))
                for row in self._baskets.recent(limit)
            ],
        }

    def misses(self) -> Json:
        """What came nearest to being an opportunity, nearest first: as the feed's screen last saw it, and as detection
        judged it exactly."""
        rows: list[Json] = []
        for component in ("feed", "detection"):
            status = self._status.get(component) or {}
            rows += [{**row, "seen_by": component} for row in _rows(status.get("misses"))]
        rows.sort(key=lambda row: -_number(row.get("edge")))
        return {"mode": self._mode, "misses": rows}

    def drops(self) -> Json:
        """What each stage let through and dropped, by reason, and what that means in words."""
        feed = self._feed(self._clock.now_ms())
        discovery = self._status.get("discovery") or {}
        detection = self._status.counters("detection")
        risk = self._status.counters("risk")
        stages = [
            Stage("discovery", sum(_numbers(discovery.get("groups")).values()), _numbers(discovery.get("dropped"))),
            Stage("feed", _number(feed.get("candidates")), _numbers(feed.get("drops"))),
            Stage("detection", detection.get("started", 0), _after("drop.", detection)),
            Stage("risk", risk.get("accepted", 0), _after("refused.", risk)),
        ]
        return {
            "mode": self._mode,
            "stages": [{"stage": stage.name, "passed": stage.passed, "drops": dict(stage.drops)} for stage in stages],
            "explanation": explanation(feed, stages),
        }

    def scan(self, event_ticker: str | None) -> Json:
        """Judge one event, or everything accepted, on books read now. Nothing is traded.

        :raises DetectionError: there was no answer, or not in time.
        """
        order = {} if event_ticker is None else {"event_ticker": event_ticker}
        return {"mode": self._mode, **self._detection.ask({"scan": order})}

    def calc(self, body: str | None) -> Json:
        """Calculate a bundle by hand, on what the body holds alone.

        :raises RequestError: it is refused, and why.
        :raises DetectionError: there was no answer, or not in time.
        """
        if not body or len(body) > _LONGEST_CALC:
            raise RequestError(f"the body must hold a calculation of at most {_LONGEST_CALC} characters")
        answer = self._detection.ask({"calc": body})
        if REFUSED in answer:
            raise RequestError(str(answer[REFUSED]))
        return answer

    def _feed(self, now: int) -> Json:
        """The feed's own status, with its age and whether it can be believed."""
        status = self._status.get("feed")
        if status is None:
            return {"alive": False, "connected": False, "age_ms": None}
        age = now - _number(status.get("updated_ms"))
        alive = age <= FEED_SILENT_MS
        return {**status, "age_ms": age, "alive": alive, "connected": alive and status.get("connected") is True}

    def _titles_of(self, group_id: str, fingerprint: str) -> dict[str, str]:
        """Market titles by ticker; none once the group is no longer accepted as it was."""
        known = self._titles.get((group_id, fingerprint))
        if known is not None:
            return known
        record = self._groups.get(group_id)
        current = record is not None and record.group.fingerprint == fingerprint
        titles = {market.ticker: market.title for market in record.group.markets} if record and current else {}
        if len(self._titles) >= _REMEMBERED_GROUPS:
            self._titles.clear()
        self._titles[group_id, fingerprint] = titles
        return titles


def explanation(feed: Mapping[str, object], stages: Sequence[Stage]) -> list[str]:
    """Why nothing, or not more, was traded: one sentence for each stage, in the order of the flow."""
    discovery, screen, detection, risk = stages
    sentences = []
    if feed.get("age_ms") is None:
        sentences.append("The feed has never reported: no market is watched.")
    elif not feed.get("alive"):
        sentences.append("The feed is silent: what is shown is old, and nothing new can be found.")
    elif not feed.get("connected"):
        sentences.append("The feed is not connected to the exchange.")
    sentences.append(
        f"Discovery accepted {discovery.passed} groups and dropped {_total(discovery)}{_reasons(discovery)}."
    )
    sentences.append(
        f"The screen let {screen.passed} candidates through and dropped {_total(screen)}{_reasons(screen)}."
    )
    sentences.append(
        f"Detection started {detection.passed} baskets and dropped {_total(detection)}{_reasons(detection)}."
    )
    sentences.append(f"The risk check accepted {risk.passed} and refused {_total(risk)}{_reasons(risk)}.")
    return sentences


def _total(stage: Stage) -> int:
    return sum(stage.drops.values())


def _reasons(stage: Stage) -> str:
    most = sorted(stage.drops.items(), key=lambda item: (-item[1], item[0]))[:3]
    words = ", ".join(f"{reason.replace('_', ' ')} ({count})" for reason, count in most)
    return f", mostly {words}" if words else ""


def _after(prefix: str, counters: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in counters.items() if name.startswith(prefix)}


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _rows(value: object) -> list[Json]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _numbers(value: object) -> dict[str, int]:
    return {str(name): _number(count) for name, count in value.items()} if isinstance(value, dict) else {}
