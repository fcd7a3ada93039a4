"""The limits an operator sets: absolute dollars, never a share of what is open, which would refuse the first trade.

Exposure per market and per event counts the whole outlay there, as if the proof were wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from kalshi_arb.domain.errors import AmountError, SettingsError
from kalshi_arb.domain.money import Cash, cash_from_wire


@dataclass(frozen=True, slots=True)
class Limits:
    """Amounts in 1e-6 dollars.

    ``max_outlay_per_basket``, ``max_exposure_per_market``, ``max_exposure_per_event`` and ``max_open_outlay`` (over
    all baskets that still trade) limit purchases at limit prices with the highest fees; ``max_loss_per_basket`` the
    worst outcome over every way its orders can fill; ``min_profit`` is asked of the worst state.
    """

    max_outlay_per_basket: Cash
    max_exposure_per_market: Cash
    max_exposure_per_event: Cash
    max_open_outlay: Cash
    max_open_baskets: int
    max_loss_per_basket: Cash
    min_profit: Cash


_COUNTS = frozenset({"max_open_baskets"})


def parse_limits(document: Mapping[str, object]) -> Limits:
    """Read the JSON object of the limits parameter: every field, dollars as decimal strings such as ``"250.00"``.

    :raises SettingsError: a field is missing, unknown, negative or malformed; the message names it.
    """
    names = [field.name for field in fields(Limits)]
    unknown = sorted(set(document) - set(names))
    if unknown:
        raise SettingsError(f"unknown limit {', '.join(unknown)}; known are {', '.join(names)}")
    values: dict[str, int] = {}
    for name in names:
        if name not in document:
            raise SettingsError(f"limit {name} is missing")
        values[name] = _count(name, document[name]) if name in _COUNTS else _amount(name, document[name])
    return Limits(**values)  # type: ignore[arg-type]  # Cash is an int with a name


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SettingsError(f"limit {name} must be a whole number from 0, not {value!r}")
    return value


def _amount(name: str, value: object) -> Cash:
    problem = f'limit {name} must be dollars from 0 as a decimal string such as "250.00", not {value!r}'
    if not isinstance(value, str):
        raise SettingsError(problem)
    try:
        amount = cash_from_wire(value)
    except AmountError as error:
        raise SettingsError(problem) from error
    if amount < 0:
        raise SettingsError(problem)
    return amount
