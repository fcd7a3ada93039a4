"""Publishes alerts to everybody subscribed."""

import json
import re

from kalshi_arb import schemas
from kalshi_arb.alert_text import headline_of, letter_of, one_line
from kalshi_arb.aws.clients import Client, translated
from kalshi_arb.ports import Alert

# A subject is printable ASCII of at most 100 characters (SNS API reference, Publish).
_UNPRINTABLE = re.compile(r"[^ -~]+")
_SUBJECT_LENGTH = 100


class SnsNotifier:
    """:class:`kalshi_arb.ports.Notifier` on one SNS topic. People who subscribed by e-mail get a letter, programs get
    the alert itself."""

    def __init__(self, client: Client, topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def publish(self, alert: Alert) -> None:
        """Hand over one alert; subscribers can filter on its kind and mode."""
        subject = one_line(_UNPRINTABLE.sub(" ", headline_of(alert)))[:_SUBJECT_LENGTH].strip()
        with translated("publish an alert"):
            self._client.publish(
                TopicArn=self._topic_arn,
                Subject=subject,
                Message=json.dumps({"default": schemas.encode(alert), "email": letter_of(alert)}),
                MessageStructure="json",
                MessageAttributes={
                    "kind": {"DataType": "String", "StringValue": alert.kind.value},
                    "mode": {"DataType": "String", "StringValue": alert.mode},
                },
            )
