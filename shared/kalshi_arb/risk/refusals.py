"""Why a basket may not trade: the words, which are counters too."""

from enum import StrEnum, unique

from kalshi_arb.domain.basket import Finding


@unique
class Refusal(StrEnum):
    """Codes of findings. Those of a limit are the limit's name."""

    STOPPED = "stopped"
    BREAKER = "breaker"
    ABANDONED = "abandoned"  # the exchange cancels whatever is placed in this minute
    MODE = "mode"
    NOT_ARMED = "not_armed"
    SMALLEST_FILL_NOT_DECLARED = "smallest_fill_not_declared"  # a cent account trades only on a declared one
    GROUP_GONE = "group_gone"
    GROUP_SUSPENDED = "group_suspended"
    FINGERPRINT_CHANGED = "fingerprint_changed"
    SAME_MARKET_TWICE = "same_market_twice"
    EXCHANGE = "exchange"  # it could not be read
    UNREADABLE = "unreadable"  # a table or the limits could not be read
    FEES_CHANGED = "fees_changed"  # a market charges something else than when its group was found
    NOT_TRADABLE = "not_tradable"  # a market is not active
    CLOSES_SOON = "closes_soon"  # before the basket is sure to be complete or given up
    SETTLES_SOON = "settles_soon"
    EXCHANGE_CLOSES = "exchange_closes"  # by its own schedule
    UNFIT_BOOK = "unfit_book"  # a book is missing, crossed or from the future
    DEPTH = "depth"  # the quantity is not there any more at the limit prices
    UNPROVABLE = "unprovable"
    NOT_APPROVED = "not_approved"  # proved only if what nobody has approved is true
    NOT_PROVED = "not_proved"
    TOO_MANY_LEGS = "too_many_legs"  # more than one transaction can reserve
    BALANCE = "balance"
    WRITE_TOKENS = "write_tokens"
    MAX_BOOK_AGE = "max_book_age_ms"
    MAX_BOOK_SKEW = "max_book_skew_ms"
    MAX_DEPTH_SHARE = "max_depth_share"
    MIN_PROFIT = "min_profit"
    MIN_PROFIT_PER_SET = "min_profit_per_set"
    MAX_OUTLAY_PER_BASKET = "max_outlay_per_basket"
    MAX_LOSS_PER_BASKET = "max_loss_per_basket"
    MAX_DAILY_LOSS = "max_daily_loss"
    RAMP_CONTRACTS = "ramp_contracts"
    MAX_CONTRACTS_PER_MARKET = "max_contracts_per_market"
    MAX_TOTAL_CONTRACTS = "max_total_contracts"
    MAX_EXPOSURE_PER_MARKET = "max_exposure_per_market"
    MAX_EXPOSURE_PER_EVENT = "max_exposure_per_event"
    MAX_SHARE_PER_MARKET = "max_share_per_market"
    MAX_SHARE_PER_EVENT = "max_share_per_event"
    MAX_SHARE_PER_SERIES = "max_share_per_series"
    MAX_SHARE_PER_UNDERLYING = "max_share_per_underlying"
    MAX_LONG_LOCKED = "max_long_locked"
    MAX_OPEN_OUTLAY = "max_open_outlay"
    MAX_OPEN_BASKETS = "max_open_baskets"


def finding(code: Refusal, text: str) -> Finding:
    """A reason with its figures in words."""
    return Finding(code.value, text)
