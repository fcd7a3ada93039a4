"""Names of the metrics this project publishes: the one list that code, alarms and the dashboard share.

Every metric lies in :data:`NAMESPACE` with the dimensions ``service`` and ``mode``, so that the number of metrics stays
fixed however many markets and baskets there are. The few in :data:`DETAILS` are published a second time with one more
dimension, whose values are a short list of words in code.
"""

from collections.abc import Mapping
from enum import StrEnum, unique

NAMESPACE = "KalshiArb"
DIMENSIONS = ("service", "mode")


@unique
class Metric(StrEnum):
    """A metric's name as CloudWatch shows it. The unit is a count unless the name says otherwise."""

    FRAMES = "Frames"  # stream frames taken in by the feed
    FEED_LAG_MS = "FeedLagMs"  # our time of arrival minus the exchange's time, milliseconds
    STALE_BOOKS = "StaleBooks"  # books older than the age that a proof may rest on
    FEED_GAPS = "FeedGaps"  # holes in the sequence that forced a resynchronisation
    CANDIDATES = "Candidates"  # groups that the screen let through
    OPPORTUNITIES = "Opportunities"  # bundles with a certificate, whatever its grade
    NEAR_MISSES = "NearMisses"  # judged groups whose distance to a gain could be told
    DROPPED = "Dropped"  # candidates that did not become a basket, baskets that the risk check refused
    BASKETS_ENDED = "BasketsEnded"
    UNKNOWN_ORDERS = "UnknownOrders"  # orders whose outcome the exchange could not tell yet
    ALERTS_DELIVERED = "AlertsDelivered"
    ALERTS_HELD_BACK = "AlertsHeldBack"  # counted into a summary instead of told one by one
    ALERTS_GIVEN_UP = "AlertsGivenUp"  # the webhook will never take them: its address or its secret is wrong
    LOCKED_PROFIT_MICRODOLLARS = "LockedProfitMicrodollars"  # worst-state profit of completed baskets, 1e-6 dollars


DETAILS: Mapping[Metric, str] = {
    Metric.OPPORTUNITIES: "grade",
    Metric.DROPPED: "reason",
    Metric.BASKETS_ENDED: "end",
}
"""The third dimension of those that have one."""
