"""One judgement of one group on one set of books: propose, verify, and say in words what came of it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique

from kalshi_arb.detection.capital import capital
from kalshi_arb.detection.effective import ONE, is_crossed
from kalshi_arb.detection.propose import propose
from kalshi_arb.detection.rank import quality
from kalshi_arb.detection.screen import EDGE_DECIMALS, Miss, near_miss
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import ProofError, UnfitBookError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import CASH_PER_DOLLAR, Count, dollars, print_decimal
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg, Opportunity
from kalshi_arb.domain.state_space import Group

_EDGE_PER_CASH = ONE // CASH_PER_DOLLAR


@unique
class Verdict(StrEnum):
    """What came of a judgement; every word but PROVED is also the reason of a drop."""

    PROVED = "proved"
    NOT_APPROVED = "not_approved"  # rests on something that a person must approve
    CONDITIONAL = "conditional"
    NO_BUNDLE = "no_bundle"  # no edge even with linear fees
    FEE_ROUNDING = "fee_rounding"  # an edge, eaten by limits and rounded fees
    UNFIT_BOOKS = "unfit_books"
    NOT_PROVED = "not_proved"


@dataclass(frozen=True, slots=True)
class Judgement:
    """``certificate`` is there when the verifier could judge; ``edge`` (1e-10 dollars, None when it cannot be told) is
    how near a bundle is that was not found, or how much one lacks that was refused; ``text`` says it in
    words. ``near`` is the nearest bundle where none was found."""

    verdict: Verdict
    legs: tuple[Leg, ...]
    certificate: Certificate | None
    edge: int | None
    text: str
    near: Miss | None = None


def judge(
    group: Group,
    books: Mapping[str, BookSnapshot],
    *,
    precision: Precision,
    smallest_fill: Count,
    now_ms: int,
    max_age_ms: int,
) -> Judgement:
    """Search a group's books for its best bundle and have it verified. Parameters as in ``verify``."""
    try:
        legs = propose(group, books, precision=precision, smallest_fill=smallest_fill)
        if not legs:
            near = near_miss(group, books)
            if near is None:
                crossed = [ticker for ticker in group.tickers if ticker in books and is_crossed(books[ticker])]
                if crossed:
                    return Judgement(Verdict.UNFIT_BOOKS, (), None, None, f"the book of {crossed[0]} is crossed")
                return Judgement(Verdict.NO_BUNDLE, (), None, None, "a side is missing")
            text = f"{print_decimal(near.edge, EDGE_DECIMALS)} dollars a set after fees"
            return Judgement(Verdict.NO_BUNDLE, (), None, near.edge, text, near)
        certificate = verify(
            group,
            legs,
            books,
            precision=precision,
            smallest_fill=smallest_fill,
            now_ms=now_ms,
            max_age_ms=max_age_ms,
        )
    except UnfitBookError as error:
        return Judgement(Verdict.UNFIT_BOOKS, (), None, None, str(error))
    except ProofError as error:
        return Judgement(Verdict.NOT_PROVED, (), None, None, str(error))
    verdict, text = _graded(group, certificate)
    edge = None if verdict is Verdict.PROVED else min(0, certificate.floor_profit * _EDGE_PER_CASH)
    return Judgement(verdict, legs, certificate, edge, text)


def _graded(group: Group, certificate: Certificate) -> tuple[Verdict, str]:
    if certificate.grade is Grade.PROVED:
        return Verdict.PROVED, f"gains at least {dollars(certificate.floor_profit)} in every settlement"
    if certificate.grade is Grade.ASSUMED:
        assumed = "; ".join(group.assumptions)
        return Verdict.NOT_APPROVED, f"gains in every settlement if this is true, which nobody has approved: {assumed}"
    if certificate.grade is Grade.CONDITIONAL:
        return Verdict.CONDITIONAL, f"gains in every settlement, except perhaps this one: {certificate.breaking_state}"
    return (
        Verdict.FEE_ROUNDING,
        f"an edge before rounding, {dollars(certificate.floor_profit)} with every contract at its limit and rounded "
        f"fees, in this settlement: {certificate.worst_state}",
    )


def miss(group: Group, judgement: Judgement) -> Miss | None:
    """The near miss that a judgement is, None when it was proved or cannot be measured."""
    if judgement.edge is None or judgement.verdict is Verdict.PROVED:
        return None
    return judgement.near or Miss(group.group_id, group.event_ticker, min(0, judgement.edge), judgement.text)


def opportunity_id(group: Group, books: Iterable[BookSnapshot], legs: Iterable[Leg]) -> str:
    """The same find on the same books has the same id, whoever finds it and however often."""
    parts = [
        group.group_id,
        group.fingerprint,
        sorted([book.ticker, *book.version] for book in books),
        sorted([leg.ticker, leg.outcome.value, leg.count, leg.limit] for leg in legs),
    ]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def opportunity(
    group: Group,
    books: Mapping[str, BookSnapshot],
    judgement: Judgement,
    certificate: Certificate,
    *,
    found_ms: int,
    candidate_ms: int,
    netting: Netting = Netting.OFF,
) -> Opportunity:
    """The opportunity that a judgement found, with what it ties up and takes. Times are UTC milliseconds.

    :param netting: whether the account gets collateral back across the markets of an event
    """
    tickers = sorted({leg.ticker for leg in judgement.legs})
    return Opportunity(
        opportunity_id=opportunity_id(group, (books[ticker] for ticker in tickers), judgement.legs),
        group_id=group.group_id,
        event_ticker=group.event_ticker,
        legs=judgement.legs,
        certificate=certificate,
        found_ms=found_ms,
        candidate_ms=candidate_ms,
        capital=capital(group, judgement.legs, books, certificate, netting=netting),
        quality=quality(judgement.legs, books, certificate.judged_ms),
    )
