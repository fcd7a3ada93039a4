"""Queues of versioned messages."""

from kalshi_arb.aws.clients import Client, translated


class SqsQueue:
    """:class:`kalshi_arb.ports.Queue` on one SQS standard queue: a message may arrive twice or out of order."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, body: str) -> None:
        """Send one message."""
        with translated(f"send to {self._url.rsplit('/', 1)[-1]}"):
            self._client.send_message(QueueUrl=self._url, MessageBody=body)
