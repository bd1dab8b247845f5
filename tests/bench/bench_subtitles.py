"""Subtitles of a long recording in a browser's player: which lines its text track shows at which times.

    python tests/bench/bench_subtitles.py RUN/model RECORDING [SCREENSHOT.png]

The recording, which a browser must play, is transcribed to WebVTT and served over HTTP with a page of one <video> and
its <track>. Chromium loads it, goes to the middle of every cue and of every gap between cues, and says which cues are
active there.
"""

import html
import json
import mimetypes
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

from asrscale.results.speakers import timed_words
from asrscale.results.subtitles import Cue, make_cues
from asrscale.transcribe import TranscribeOptions
from asrscale.transcribe import run as transcribe

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
from browser import Page, open_page

PAGE = """<!doctype html><meta charset="utf-8"><title>Subtitles</title>
<style>body {{ margin: 0 }} video {{ width: 800px; height: 300px }}</style>
<video controls muted src="sound">
<track default kind="subtitles" srclang="en" label="{name}" src="track.vtt"></video>"""

LOADED = """new Promise(done => {
  const video = document.querySelector("video"), track = video.textTracks[0];
  track.mode = "showing";
  const timer = setInterval(() => {
    if (video.readyState >= 1 && track.cues && track.cues.length) {
      clearInterval(timer);
      done(JSON.stringify({seconds: video.duration, cues: track.cues.length}));
    }
  }, 50);
})"""

SHOWN = """new Promise(async done => {
  const video = document.querySelector("video"), track = video.textTracks[0], shown = [];
  for (const time of %s) {
    const sought = new Promise(next => video.addEventListener("seeked", next, {once: true}));
    video.currentTime = time;
    await sought;
    await new Promise(next => setTimeout(next, 20));
    shown.push(Array.from(track.activeCues).map(cue => cue.getCueAsHTML().textContent));
  }
  done(JSON.stringify(shown));
})"""


@contextmanager
def served(files: dict[str, tuple[str, bytes]]) -> Iterator[str]:
    """Serves files, by their paths, with their types; parts of them, too, without which a player cannot seek."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, data = files.get(self.path, ("text/plain", b""))
            wanted = self.headers.get("Range", "").removeprefix("bytes=")
            start, _, end = wanted.partition("-")
            first, last = int(start or 0), min(int(end or len(data) - 1), len(data) - 1)
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.write(data[first : last + 1])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def expected_at(cues: list[Cue], time: float) -> list[str]:
    """What is shown at a time."""
    return ["\n".join(cue.lines) for cue in cues if cue.start_seconds <= time < cue.end_seconds]


def times_of(cues: list[Cue]) -> list[float]:
    """The middle of every cue, and of every gap of a tenth of a second and more."""
    middles = [(cue.start_seconds + cue.end_seconds) / 2 for cue in cues]
    gaps = [
        (one.end_seconds + other.start_seconds) / 2
        for one, other in pairwise(cues)
        if other.start_seconds - one.end_seconds >= 0.1
    ]
    return sorted(middles + gaps)


def measure(page: Page, address: str, cues: list[Cue], screenshot: str) -> None:
    """Prints what the player shows."""
    page.show(Path("/dev/null"), width=800, height=300)
    page.navigate(f"{address}/")
    loaded = json.loads(page.run(LOADED))
    print(f"loaded: {loaded['seconds']:.1f} s, {loaded['cues']} cues of {len(cues)}")
    times = times_of(cues)
    shown = json.loads(page.run(SHOWN % json.dumps(times)))
    right = sum(found == expected_at(cues, time) for found, time in zip(shown, times, strict=True))
    with_text = sum(bool(expected_at(cues, time)) for time in times)
    print(f"{right} of {len(times)} times show what they should: {with_text} in cues, {len(times) - with_text} between")
    if screenshot:
        middle = cues[len(cues) // 2]
        page.run(SHOWN % json.dumps([(middle.start_seconds + middle.end_seconds) / 2]))
        page.screenshot(Path(screenshot), height=300)


def main(model: str, recording: str, screenshot: str = "") -> None:
    """Transcribes the recording and shows it."""
    with tempfile.TemporaryDirectory() as folder:
        options = TranscribeOptions(model=model, audio=(recording,), format="vtt", out=folder, jsonl=f"{folder}/row")
        transcribe(options)
        [row] = map(json.loads, Path(folder, "row").read_text("utf-8").splitlines())
        track = Path(folder, Path(recording).stem).with_suffix(".vtt").read_bytes()
    files = {
        "/": ("text/html", PAGE.format(name=html.escape(Path(recording).name)).encode()),
        "/sound": (mimetypes.guess_type(recording)[0] or "", Path(recording).read_bytes()),
        "/track.vtt": ("text/vtt", track),
    }
    with served(files) as address, open_page() as page:
        measure(page, address, make_cues(timed_words(row["words"])), screenshot)


if __name__ == "__main__":
    if len(sys.argv) >= 3:
        main(*sys.argv[1:])
    else:
        print("not measured, which needs a trained model: bench_subtitles.py RUN/model RECORDING [SCREENSHOT.png]")
