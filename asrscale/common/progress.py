"""A progress bar with an ETA on a terminal, plain lines otherwise."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

PLAIN_LINE_SECONDS = 10.0  # a log file wants a line now and then, not a bar


class Progress:
    """Counts towards a known total; made by `progress`."""

    def __init__(self, total: int, title: str, unit: str, done: int, enabled: bool) -> None:
        self._total, self._title, self._unit, self._enabled = total, title, unit, enabled
        self._done, self._done_before, self._started_seconds = done, done, time.monotonic()
        self._last_line_seconds = self._started_seconds
        self._note = ""
        on_tty = enabled and sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, desc=title, unit=f" {unit}", dynamic_ncols=True) if on_tty else None

    def advance(self, count: int = 1, note: str = "") -> None:
        """Counts `count` more as done; `note` (such as the loss) is shown beside the bar."""
        self._done += count
        self._note = note or self._note
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(count)
        elif self._done < self._total and time.monotonic() - self._last_line_seconds >= PLAIN_LINE_SECONDS:
            self._print_line()

    def write(self, line: str) -> None:
        """Prints a line without tearing the bar."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        elif self._enabled:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the bar, or prints the last plain line."""
        if self._bar is not None:
            self._bar.close()
        else:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line_seconds = time.monotonic()
        elapsed = self._last_line_seconds - self._started_seconds
        lately, left = self._done - self._done_before, self._total - self._done
        eta = f", {elapsed / lately * left:.0f} s left" if lately and left else ""
        note = f"  {self._note}" if self._note else ""
        self.write(f"{self._title}: {self._done:,}/{self._total:,} {self._unit} in {elapsed:.0f} s{eta}{note}")


@contextmanager
def progress(total: int, title: str, unit: str, *, done: int = 0, enabled: bool = True) -> Iterator[Progress]:
    """Shows on stderr how far a long job, `title`, is: `total` of `unit` (in the plural, `clips`) are the whole.

    An earlier attempt may have `done` some of them. Where `enabled` is False nothing is shown: pass `rank == 0`.
    """
    bar = Progress(total, title, unit, done, enabled)
    try:
        yield bar
    finally:
        bar.close()
