"""A vendor on loopback whose answers a test decides, prompt by prompt: status, headers and body."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Asked", "Vendor", "answer", "error"]


@dataclass(frozen=True)
class Asked:
    """One request: its number (from 0), body, headers in lower case, path and time."""

    number: int
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    path: str
    at: float

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])


Reply = tuple[int, Mapping[str, str], Any]


def answer(text: str = "done") -> Reply:
    """A sound answer in OpenAI's shape."""
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return 200, {}, {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}


def error(status: int, message: str = "no", /, headers: Mapping[str, str] | None = None, **fields: Any) -> Reply:
    """A refusal in OpenAI's shape."""
    return status, headers or {}, {"error": {"message": message, **fields}}


class Vendor:
    """``decide(asked)`` gives each reply; requests are kept in ``asked``, statuses in ``replied``."""

    def __init__(self, decide: Callable[[Asked], Reply]) -> None:
        self.asked: list[Asked] = []
        self.replied: list[int] = []
        self._lock = threading.Lock()
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with vendor._lock:
                    asked = Asked(len(vendor.asked), body, headers, self.path, time.monotonic())
                    vendor.asked.append(asked)
                status, extra, said = decide(asked)
                with vendor._lock:
                    vendor.replied.append(status)
                data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in {**extra, "content-length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self.send_response(404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Vendor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
