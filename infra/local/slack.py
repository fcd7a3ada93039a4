"""A stand-in for Slack's incoming webhooks on loopback: takes what Slack takes, refuses with Slack's own words.

Checked are the method, the address, the content type, the JSON and the limits of Block Kit, as Slack documents them.
Errors, rate limits and silence can be ordered, for tests.
"""

import json
import re
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MAX_BODY = 1024 * 1024
MAX_BLOCKS = 50
MAX_CONTEXT_ELEMENTS = 10
TEXT_LIMITS = {"header": 150, "section": 3_000, "context": 2_000}
TEAM, SERVICE, TOKEN = "T00000000", "B00000000", "XXXXXXXXXXXXXXXXXXXXXXXX"
_PATH = re.compile(r"/services/(T\w+)/(B\w+)/(\w+)")
# The three entities Slack knows, and nothing else, may follow an ampersand.
_BARE_CONTROL = re.compile(r"&(?!amp;|lt;|gt;)")
_MARKUP = re.compile(r"<(![a-z]+(\^[^<>]*)?|[@#][A-Z0-9]+|https?://[^<>]*|mailto:[^<>]*)>")


@dataclass(frozen=True, slots=True)
class Fault:
    """An ordered answer to one request, after a silence of ``hang_s``."""

    status: int
    word: str
    headers: dict[str, str] = field(default_factory=dict)
    hang_s: float = 0.0


def problem_of(message: Any) -> str | None:
    """The word with which Slack refuses a message's content, None when it takes it."""
    if not isinstance(message, dict):
        return "invalid_payload"
    text, blocks = message.get("text"), message.get("blocks")
    if not text and not blocks:
        return "no_text"
    if text is not None and not isinstance(text, str):
        return "invalid_payload"
    if blocks is None:
        return None
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return "invalid_blocks_format"
    if len(blocks) > MAX_BLOCKS or not all(map(_is_block, blocks)):
        return "invalid_blocks"
    return None


def _is_block(block: dict[str, Any]) -> bool:
    kind = block.get("type")
    if kind == "divider":
        return True
    if kind == "header":
        return _is_text(block.get("text"), {"plain_text"}, TEXT_LIMITS["header"])
    if kind == "section":
        return _is_text(block.get("text"), {"plain_text", "mrkdwn"}, TEXT_LIMITS["section"])
    if kind == "context":
        elements = block.get("elements")
        return (
            isinstance(elements, list)
            and 1 <= len(elements) <= MAX_CONTEXT_ELEMENTS
            and all(_is_text(element, {"plain_text", "mrkdwn"}, TEXT_LIMITS["context"]) for element in elements)
        )
    return False


def _is_text(text: Any, kinds: set[str], limit: int) -> bool:
    if not isinstance(text, dict) or text.get("type") not in kinds or not isinstance(text.get("text"), str):
        return False
    known = {"type", "text", "emoji"} if text["type"] == "plain_text" else {"type", "text", "verbatim"}
    return 1 <= len(text["text"]) <= limit and set(text) <= known


def unescaped_controls(message: dict[str, Any]) -> list[str]:
    """Every text in which ``&``, ``<`` or ``>`` stands as itself outside Slack's own markup. Slack takes such a text
    and shows something else than was meant."""
    texts = [message.get("text", "")]
    for block in message.get("blocks", ()):
        parts = [block["text"]] if "text" in block else block.get("elements", [])
        texts += [part["text"] for part in parts]
    return [text for text in texts if _BARE_CONTROL.search(text) or set("<>") & set(_MARKUP.sub("", text))]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that did not wait for its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FakeSlack:
    """One workspace with one incoming webhook; counts and keeps the newest messages.

    :param record: file that every accepted message is appended to, one JSON object a line
    :param per_second: accepted posts a second, with as many in reserve; None for no limit
    """

    def __init__(self, *, record: Path | None = None, per_second: int | None = None, keep: int = 100) -> None:
        self.received = 0
        self.newest: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.faults: deque[Fault] = deque()
        self.revoked = False
        self._record = record
        self._per_second = per_second
        self._posts: deque[float] = deque()
        self._keep = keep
        self._lock = threading.Lock()
        if record is not None:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text("")
        slack = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                body = self.rfile.read(min(length, MAX_BODY))
                fault = slack._answer(self.path, self.headers.get("content-type", ""), body)
                time.sleep(fault.hang_s)
                content = fault.word.encode()
                self.send_response(fault.status)
                for name, value in fault.headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self.send_response(405)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
                """Say nothing: the address is a secret even here."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="fake-slack", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The webhook's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/services/{TEAM}/{SERVICE}/{TOKEN}"

    def _answer(self, path: str, content_type: str, body: bytes) -> Fault:
        with self._lock:
            answer = self._ordered() or self._address_problem(path) or self._busy() or self._take(content_type, body)
            if answer.word != "ok":
                self.refused.append(answer.word)
            return answer

    def _ordered(self) -> Fault | None:
        return self.faults.popleft() if self.faults else None

    def _address_problem(self, path: str) -> Fault | None:
        match = _PATH.fullmatch(path)
        if match is None:
            # Slack sends strangers to its own pages.
            return Fault(302, "", {"location": "https://slack.com/"})
        if match[1] != TEAM:
            return Fault(404, "no_team")
        if match[2] != SERVICE or self.revoked:
            return Fault(404, "no_service")
        return None if match[3] == TOKEN else Fault(403, "invalid_token")

    def _busy(self) -> Fault | None:
        if self._per_second is None:
            return None
        now = time.monotonic()
        while self._posts and now - self._posts[0] >= 1.0:
            self._posts.popleft()
        if len(self._posts) >= self._per_second:
            return Fault(429, "rate_limited", {"retry-after": "1"})
        self._posts.append(now)
        return None

    def _take(self, content_type: str, body: bytes) -> Fault:
        if content_type.partition(";")[0].strip() != "application/json":
            return Fault(400, "invalid_payload")
        try:
            message = json.loads(body)
        except ValueError:
            return Fault(400, "invalid_payload")
        problem = problem_of(message)
        if problem is not None:
            return Fault(400, problem)
        self.received += 1
        self.newest = [*self.newest, message][-self._keep :]
        if self._record is not None:
            with self._record.open("a") as file:
                file.write(json.dumps(message) + "\n")
        return Fault(200, "ok")

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
