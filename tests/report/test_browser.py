"""The report as a browser shows it: nothing fails, pictures and clips are there, and a phone is wide enough."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 90  # seconds, on a busy machine
PHONE = 375  # pixels

# shows the page in a frame as wide as a phone, waits until its clips could be played, and says what it saw
LOOK = """<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,"><body style="margin:0">
<iframe src="page.html" style="border:0;width:%dpx;height:800px"></iframe>
<script>
const frame = document.querySelector("iframe");
const all = name => [...frame.contentDocument.querySelectorAll(name)];
async function look() {
  const films = all("video");
  for (const film of films) film.load();
  const waiting = () => !films.some(film => film.error) && films.some(film => film.readyState < 2);
  for (let i = 0; i < 300 && waiting(); i++) await new Promise(done => setTimeout(done, 50));
  all("img").forEach(image => { image.loading = "eager"; });
  await Promise.all(all("img").map(image => image.decode()));
  const html = frame.contentDocument.documentElement;
  await fetch("seen", {method: "POST", body: JSON.stringify({
    width: html.scrollWidth,
    images: all("img").map(image => image.naturalWidth),
    films: films.map(film => [film.readyState, film.videoWidth, film.duration, film.error && film.error.message]),
    letters: all("svg text").map(text => text.getBoundingClientRect().height),
    outside: frame.contentWindow.performance.getEntriesByType("resource").map(one => one.name)
      .filter(name => !name.startsWith("data:")),
  })});
}
frame.addEventListener("load", look);
</script>"""


@contextmanager
def served(page: Path, answers: list[dict[str, Any]], done: threading.Event) -> Iterator[str]:
    """The address of a local server of the page and of what looks at it."""
    texts = {"/": (LOOK % PHONE).encode(), "/page.html": page.read_bytes()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = texts.get(self.path)
            self.send_response(404 if text is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text or b"")

        def do_POST(self) -> None:
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def look_at(page: Path, profile: Path) -> tuple[dict[str, Any], list[str]]:
    """What a browser saw, and what it wrote to its console."""
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    answers: list[dict[str, Any]] = []
    done = threading.Event()
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--enable-logging=stderr", f"--user-data-dir={profile}", "--remote-debugging-port=0"]  # fmt: skip
    with served(page, answers, done) as address, (profile.parent / "log").open("w+") as log:
        process = subprocess.Popen([browser, *flags, address], stdout=log, stderr=log)
        try:
            done.wait(PATIENCE)
        finally:
            process.terminate()
            process.wait()
        log.seek(0)
        console = [line for line in log if "CONSOLE" in line]
    assert answers, console
    return answers[0], console


@pytest.mark.browser
@pytest.mark.slow
def test_a_browser_shows_it(page: Path, tmp_path: Path) -> None:
    seen, console = look_at(page, tmp_path / "profile")
    assert console == []
    assert seen["images"]
    assert min(seen["images"]) > 100
    assert [film[0] >= 2 and film[3] is None for film in seen["films"]] == [True, True]
    assert min(film[1] for film in seen["films"]) > 100
    assert [film[2] for film in seen["films"]] == pytest.approx([4 / 6] * 2, abs=0.01)
    assert seen["width"] <= PHONE  # nothing makes the page wider than a phone
    assert min(seen["letters"]) >= 10  # pixels
    assert seen["outside"] == []


@pytest.mark.browser
@pytest.mark.slow
def test_what_is_wrong_would_be_seen(page: Path, tmp_path: Path) -> None:
    """A clip that is not one, a wide element, and a script that the page's own policy stops."""
    text = page.read_text(encoding="utf-8")
    text = text.replace('src="data:video/mp4;base64,AAAA', 'src="data:video/mp4;base64,BBBB', 1)
    text = text.replace("<main>", '<main><script>1</script><p style="width:999px">wide</p>', 1)
    broken = tmp_path / "broken.html"
    broken.write_text(text, encoding="utf-8")
    seen, console = look_at(broken, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in console)
    assert seen["films"][0][0] < 2
    assert seen["width"] > PHONE
