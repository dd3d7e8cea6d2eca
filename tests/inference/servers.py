"""Servers of streams on this machine, which also fail: HTTP, and RTSP over its TCP connection."""

from __future__ import annotations

import base64
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av


class Web:
    """An HTTP server of one file.

    Attributes:
        asked: the path of every request.
        plan: how each request in turn is answered, the last one for all that follow: "whole", "cut" (half of it, then
            the connection ends), "stall" (half of it, then nothing), "live" (no length stated; an orderly end), "404",
            "401", "silent".
    """

    def __init__(self, body: bytes, plan: list[str]) -> None:
        self.asked: list[str] = []
        self.plan = plan
        self.body = body
        self.closing = threading.Event()

    def next_answer(self, path: str) -> str:
        self.asked.append(path)
        return self.plan[min(len(self.asked), len(self.plan)) - 1]


@contextmanager
def web(body: bytes, *plan: str) -> Iterator[tuple[str, Web]]:
    """Its address, without scheme, and the server."""
    state = Web(body, list(plan))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            answer = state.next_answer(self.path)
            if answer.isdecimal():
                self.send_response(int(answer))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if answer == "silent":
                state.closing.wait(20)
                return
            if answer.startswith("to "):
                self.send_response(302)
                self.send_header("Location", answer[3:])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            part = state.body[: int(len(state.body) * 0.6)] if answer in ("cut", "stall") else state.body
            self.send_response(200)
            if answer == "live":
                self.send_header("Transfer-Encoding", "chunked")
                part = f"{len(part):x}\r\n".encode() + part + b"\r\n0\r\n\r\n"
            else:
                self.send_header("Content-Length", str(len(state.body)))
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                self.wfile.write(part)
                self.wfile.flush()
            except OSError:
                return
            if answer == "stall":
                state.closing.wait(20)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()


class Camera:
    """An RTSP server that plays a film again and again, H.264 in its own connection.

    Attributes:
        asked: every request's first line, and its Authorization.
        frames: how many frames each connection in turn is given before it is cut; None for all there are, again and
            again; the last for all that follow.
    """

    def __init__(self, film: Path, frames: list[int | None], *, interval: float, then: str) -> None:
        self.asked: list[str] = []
        self.frames = frames
        self.then = then
        self.interval = interval
        self.connections = 0
        self.closing = threading.Event()
        with av.open(str(film)) as container:
            stream = container.streams.video[0]
            to_annexb = av.BitStreamFilterContext("h264_mp4toannexb", stream)
            self.packets = [_nals(bytes(out)) for packet in container.demux(stream) for out in to_annexb.filter(packet)]

    def serve(self, connection: socket.socket) -> None:
        limit = self.frames[min(self.connections, len(self.frames) - 1)]
        self.connections += 1
        reader = connection.makefile("rb")
        with connection, reader:
            while not self.closing.is_set():
                lines = list(iter(lambda: reader.readline().strip().decode(), ""))
                if not lines:
                    return
                heads = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
                self.asked.append(lines[0] + " " + heads.get("Authorization", ""))
                method = lines[0].split()[0]
                more, body = "", ""
                if method == "DESCRIBE":
                    body = self._description()
                    more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
                elif method == "SETUP":
                    more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
                answer = f"RTSP/1.0 200 OK\r\nCSeq: {heads.get('CSeq', '1')}\r\nSession: 1\r\n{more}\r\n{body}"
                connection.sendall(answer.encode())
                if method == "PLAY":
                    self._play(connection, limit)
                    return

    def _description(self) -> str:
        sets = [nal for nal in self.packets[0] if nal[0] & 31 in (7, 8)]
        sprop = ",".join(base64.b64encode(nal).decode() for nal in sets)
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
            f"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; sprop-parameter-sets={sprop}\r\n"
            "a=framerate:25\r\na=control:track1\r\n"
        )

    def _play(self, connection: socket.socket, limit: int | None) -> None:
        sequence = sent = 0
        while limit is None or sent < limit:
            nals = self.packets[sent % len(self.packets)]
            for k, nal in enumerate(nals):
                last = k == len(nals) - 1
                header = struct.pack(">BBHII", 0x80, 96 | (last << 7), sequence & 0xFFFF, 3600 * sent, 1)
                packet = header + nal
                try:
                    connection.sendall(struct.pack(">BBH", 36, 0, len(packet)) + packet)
                except OSError:
                    return
                sequence += 1
            sent += 1
            if self.closing.wait(self.interval):
                return
        if self.then == "stall":
            self.closing.wait(20)


def _nals(data: bytes) -> list[bytes]:
    parts = data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return [part for part in parts if part]


@contextmanager
def rtsp(film: Path, *frames: int | None, interval: float = 0.01, then: str = "cut") -> Iterator[tuple[str, Camera]]:
    """Its address, without scheme, and the server."""
    camera = Camera(film, list(frames), interval=interval, then=then)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while not camera.closing.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=camera.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", camera
        finally:
            camera.closing.set()
