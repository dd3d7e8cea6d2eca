"""A server on this machine that hands out one file, and misbehaves as it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """What it does with the next requests, and what it was asked.

    Attributes:
        content: the file, at any path.
        tag: its ETag; None for a server that sends neither that nor a date.
        ranges: whether parts of it may be asked for.
        script: what to do with the next requests in place of sending the file, one each.
        asked: path and Range of every request.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.tag: str | None = '"first"'
        self.ranges = True
        self.script: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.asked: list[tuple[str, str | None]] = []
        self.headers: list[dict[str, str]] = []
        self.address = ""

    def send(self, handler: BaseHTTPRequestHandler, *, cut: int | None = None) -> None:
        """The file, or the part that is asked for; `cut`: only so many bytes of it before the connection ends."""
        start, asked = 0, handler.headers.get("Range")
        if asked and self.ranges and handler.headers.get("If-Range", self.tag) == self.tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start and start >= len(self.content):
            handler.send_response(416)
            handler.end_headers()
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("Content-Length", str(len(body)))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.tag is not None:
            handler.send_header("ETag", self.tag)
        handler.end_headers()
        handler.wfile.write(body[:cut])

    def cuts(self, after: int) -> Callable[[BaseHTTPRequestHandler], None]:
        """Ends the connection after so many bytes."""
        return lambda handler: self.send(handler, cut=after)

    def stalls(self, after: int, seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
        """Sends nothing any more after so many bytes."""

        def act(handler: BaseHTTPRequestHandler) -> None:
            self.send(handler, cut=after)
            time.sleep(seconds)

        return act


def answers(status: int, body: bytes = b"", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Another answer than the file."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return act


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    server = Server(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers.get("Range")))
            server.headers.append(dict(self.headers.items()))
            if server.script:
                server.script.pop(0)(self)
            else:
                server.send(self)

        def log_message(self, *_: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=lambda: http.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
