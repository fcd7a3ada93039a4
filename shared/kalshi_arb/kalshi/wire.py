"""What every model of a REST answer is made of: exact amounts, tolerated additions, loud omissions.

The exchange adds fields at any time: an unknown one is ignored, counted by model and name, and logged once. A field
that a model needs and that is missing, null or of another type raises :class:`WireFormatError`: an API change must be
an error, never a silent zero. Amounts are decimal strings; bare numbers have been seen and are read from their own
digits, never through a float.
"""

import logging
from collections import Counter
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.money import Cash, Count, Price, cash_from_wire, count_from_wire, price_from_wire
from kalshi_arb.kalshi.errors import WireFormatError

logger = logging.getLogger(__name__)

_LARGEST_EXPONENT = 40
_LONGEST_REASON = 200
_MOST_UNKNOWN_FIELDS = 1_000


def _exact_number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    # Writing out an exponent of a billion would take a gigabyte.
    if not number.is_finite() or abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError(f"a number beyond any meaning: {text[:40]}")
    return number


_json = msgspec.json.Decoder(float_hook=_exact_number)


def parse_json(content: bytes, what: str) -> Any:
    """Read a body; a number with a fraction or an exponent becomes the Decimal of its digits.

    :raises WireFormatError: not JSON.
    """
    try:
        return _json.decode(content)
    except (ValueError, RecursionError) as error:
        # msgspec's and the codec's errors are ValueErrors.
        raise WireFormatError(f"{what}: {str(error)[:_LONGEST_REASON]}") from error


class UnknownFields:
    """How often a model met a field that it does not know."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, model: str, names: set[str]) -> None:
        """Count them; each is logged the first time."""
        for name in names:
            key = f"{model}.{name[:_LONGEST_REASON]}"
            if key not in self._counts:
                if len(self._counts) >= _MOST_UNKNOWN_FIELDS:
                    key = f"{model}.*"
                else:
                    logger.warning("the exchange sends a field that is not known here: %s", key)
            self._counts[key] += 1

    def counts(self) -> dict[str, int]:
        """How often by ``Model.field``."""
        return dict(sorted(self._counts.items()))


class WireModel(BaseModel):
    """An object of a REST answer. Its fields have the exchange's names.

    ``ignored`` names fields that the exchange is known to send and nothing here reads.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", defer_build=True)

    ignored: ClassVar[frozenset[str]] = frozenset()
    _known: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls._known = frozenset(cls.model_fields) | cls.ignored

    @model_validator(mode="before")
    @classmethod
    def _count_unknown(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(info.context, UnknownFields) and isinstance(data, dict):
            unknown = data.keys() - cls._known
            if unknown:
                info.context.note(cls.__name__, unknown)
        return data


class PageModel(WireModel):
    """One page of a listing: an empty, absent or null cursor ends it."""

    cursor: str | None = None


M = TypeVar("M", bound=WireModel)


def read(content: bytes, shape: type[M], what: str, unknown: UnknownFields | None = None) -> M:
    """Read a body into its model.

    :param what: the call, for the error
    :raises WireFormatError: not JSON, or a needed field is missing or of another type; names model and field.
    """
    return convert(parse_json(content, what), shape, what, unknown)


def convert(data: object, shape: type[M], what: str, unknown: UnknownFields | None = None) -> M:
    """Read a decoded object into its model; see :func:`read`."""
    try:
        return shape.model_validate(data, context=unknown)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join((shape.__name__, *map(str, first["loc"])))
        more = f" and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        raise WireFormatError(f"{what}: {place}: {first['msg'][:_LONGEST_REASON]}{more}") from error


def time_ms(text: object) -> int:
    """UTC milliseconds of an RFC 3339 time.

    :raises WireFormatError: not one, or without an offset.
    """
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise WireFormatError(f"not a time: {str(text)[:40]!r}")
    if moment.tzinfo is None:
        raise WireFormatError(f"a time without an offset: {text!r}")
    try:
        # Whole seconds and microseconds apart: a float of today's epoch cannot hold milliseconds exactly.
        return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000
    except OverflowError as error:
        raise WireFormatError(f"not a time: {text!r}") from error


def _plain(value: object) -> object:
    """A number in the digits it was written with; everything else as it is."""
    return f"{value:f}" if isinstance(value, Decimal) else value


def _refused(reason: object) -> PydanticCustomError:
    return PydanticCustomError("amount", "{reason}", {"reason": str(reason)[:_LONGEST_REASON]})


def _price(value: object) -> Price:
    try:
        return price_from_wire(_plain(value))
    except DomainError as error:
        raise _refused(error) from error


def _count(value: object) -> Count:
    try:
        return count_from_wire(_plain(value))
    except DomainError as error:
        raise _refused(error) from error


def _size(value: object) -> Count:
    count = _count(value)
    if count < 0:
        raise _refused(f"{value} is negative")
    return count


def _cash(value: object) -> Cash:
    try:
        return cash_from_wire(_plain(value))
    except DomainError as error:
        raise _refused(error) from error


def _cost(value: object) -> Cash:
    cash = _cash(value)
    if cash < 0:
        raise _refused(f"{value} is negative")
    return cash


def _time(value: object) -> int:
    try:
        return time_ms(value)
    except WireFormatError as error:
        raise _refused(error) from error


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise _refused(f"expected a number, got {str(value)[:40]!r}")
    return Decimal(value)


def _level(value: object) -> tuple[Price, Count]:
    if not isinstance(value, list) or len(value) != 2:
        raise _refused(f"expected [price, contracts], got {str(value)[:40]!r}")
    return _price(value[0]), _size(value[1])


WirePrice = Annotated[Price, PlainValidator(_price)]
"""Dollars as 1e-4 dollars, 0 to 1."""
WireCount = Annotated[Count, PlainValidator(_count)]
"""Contracts as 1e-2 contracts, signed."""
WireSize = Annotated[Count, PlainValidator(_size)]
"""Contracts as 1e-2 contracts, not negative."""
WireCash = Annotated[Cash, PlainValidator(_cash)]
"""Dollars as 1e-6 dollars, signed."""
WireCost = Annotated[Cash, PlainValidator(_cost)]
"""Dollars as 1e-6 dollars, not negative."""
WireTime = Annotated[int, PlainValidator(_time)]
"""RFC 3339 as UTC milliseconds."""
WireNumber = Annotated[Decimal, PlainValidator(_number)]
"""A JSON number, exactly as written."""
WireLevel = Annotated[tuple[Price, Count], PlainValidator(_level)]
"""A level of a book: 1e-4 dollars and 1e-2 contracts."""
