"""Records that are written once and read by time: opportunities, delivered alerts."""

from dataclasses import replace

from kalshi_arb.aws.dynamo import Condition, Item, Table, envelope, n, opened, s
from kalshi_arb.domain.opportunity import Opportunity
from kalshi_arb.ports import Alert, AlertDigest

_KEEP_OPPORTUNITIES_SECONDS = 30 * 24 * 3600
_KEEP_ALERTS_SECONDS = 90 * 24 * 3600
_DIGEST = "#digest"


class DynamoOpportunityStore:
    """:class:`kalshi_arb.ports.OpportunityStore` on the opportunities table; items expire after 30 days."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, opportunity: Opportunity) -> bool:
        """Store once; False when it was there."""
        item: Item = {
            "opportunity_id": s(opportunity.opportunity_id),
            **envelope(opportunity),
            "bucket": s("all"),
            "found_ms": n(opportunity.found_ms),
            "expires_at": n(opportunity.found_ms // 1000 + _KEEP_OPPORTUNITIES_SECONDS),
        }
        return self._table.put_once(item)

    def get(self, opportunity_id: str) -> Opportunity | None:
        """One opportunity."""
        item = self._table.get(opportunity_id)
        return None if item is None else opened(item, Opportunity)

    def recent(self, limit: int) -> list[Opportunity]:
        """Newest first."""
        items = self._table.query("by_time", "bucket", "all", newest_first=True, limit=limit)
        return [opened(item, Opportunity) for item in items]


class DynamoAlertStore:
    """:class:`kalshi_arb.ports.AlertStore` on the alerts table; items expire after 90 days."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, alert: Alert) -> bool:
        """Store once; False when it was there."""
        item: Item = {
            "alert_id": s(alert.alert_id),
            **envelope(alert),
            "bucket": s("all"),
            "created_ms": n(alert.created_ms),
            "expires_at": n(alert.created_ms // 1000 + _KEEP_ALERTS_SECONDS),
        }
        return self._table.put_once(item)

    def forget(self, alert_id: str) -> None:
        """Remove an alert that could not be delivered, so that its repetition is not taken for a duplicate."""
        self._table.delete(alert_id)

    def digest(self) -> AlertDigest:
        """What is being held back."""
        item = self._table.get(_DIGEST)
        return AlertDigest(0, ()) if item is None else opened(item, AlertDigest)

    def save_digest(self, digest: AlertDigest) -> bool:
        """Replace the digest of the same revision by this one under the next; False when another writer was first."""
        after = replace(digest, revision=digest.revision + 1)
        unchanged = Condition("#revision = :revision", {":revision": n(digest.revision)})
        item: Item = {"alert_id": s(_DIGEST), **envelope(after), "revision": n(after.revision)}
        return self._table.put(item, unchanged if digest.revision else self._table.free())

    def recent(self, limit: int) -> list[Alert]:
        """Newest first."""
        items = self._table.query("by_time", "bucket", "all", newest_first=True, limit=limit)
        return [opened(item, Alert) for item in items]
