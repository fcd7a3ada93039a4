"""A webhook receiver on loopback: where the local run's alerts arrive."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY = 64 * 1024


class WebhookSink:
    """Counts and keeps the newest alerts that were posted to it."""

    def __init__(self, keep: int = 100) -> None:
        self.received = 0
        self.newest: list[dict[str, Any]] = []
        self._keep = keep
        self._lock = threading.Lock()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                if not 0 < length <= MAX_BODY:
                    self.send_response(413)
                    self.end_headers()
                    return
                try:
                    alert = json.loads(self.rfile.read(length))
                except ValueError:
                    self.send_response(400)
                    self.end_headers()
                    return
                sink._take(alert)
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
                """Say nothing: the runner prints alerts itself."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="webhook-sink", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/alerts"

    def _take(self, alert: dict[str, Any]) -> None:
        with self._lock:
            self.received += 1
            self.newest = [*self.newest, alert][-self._keep :]

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
