"""A progress bar with the time left on a terminal or in a notebook, plain lines otherwise."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm  # in a Jupyter kernel with ipywidgets, a bar that is a widget; else text

from asrscale.common.addresses import clean_text
from asrscale.common.terminal import printable, stream_behind

BAR_WITHOUT_TIME_LEFT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
PLAIN_LINE_SECONDS = 10.0  # a log file wants a line now and then, not a bar


class Progress:
    """Counts towards a known total; made by `progress`."""

    def __init__(
        self, total: int, title: str, unit: str, done: int, enabled: bool, shows_time_left: bool = True
    ) -> None:
        self._total = total
        self._title = title
        self._unit = unit
        self._done: float = done
        self._enabled = enabled
        self._shows_time_left = shows_time_left

        self._done_before = done
        self._started_seconds = time.monotonic()
        self._last_line_seconds = self._started_seconds
        self._note = ""

        self._bar = None
        if enabled and can_show_bar():
            bar_format = None if shows_time_left else BAR_WITHOUT_TIME_LEFT
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=_shown(title),
                unit=f" {unit}",
                dynamic_ncols=True,
                bar_format=bar_format,
                file=stream_behind(sys.stderr),
            )

    def advance(self, count: float = 1, note: str = "") -> None:
        """Counts `count` more as done, of which whole ones are shown; `note` (such as the loss) is shown beside."""
        before = round(self._done)
        self._done += count
        if note:
            self._note = note
        if self._bar is not None:
            self._bar.set_postfix_str(_shown(self._note), refresh=False)
            self._bar.update(round(self._done) - before)
        elif self._done < self._total and self._seconds_since_line() >= PLAIN_LINE_SECONDS:
            self._print_line()

    def write(self, line: str) -> None:
        """Prints a line without tearing the bar."""
        if self._bar is not None:
            self._bar.write(_shown(line), file=stream_behind(sys.stderr))
        elif self._enabled:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the bar, or prints the last plain line."""
        if self._bar is not None:
            self._bar.close()
        else:
            self._print_line()

    def _seconds_since_line(self) -> float:
        return time.monotonic() - self._last_line_seconds

    def _print_line(self) -> None:
        self._last_line_seconds = time.monotonic()
        elapsed_seconds = self._last_line_seconds - self._started_seconds
        done_since_start = self._done - self._done_before
        left = self._total - round(self._done)

        time_left = ""
        if done_since_start and left and self._shows_time_left:
            time_left = f", {elapsed_seconds / done_since_start * left:.0f} s left"
        note = f"  {self._note}" if self._note else ""
        count = f"{round(self._done):,}/{self._total:,} {self._unit}"
        self.write(f"{self._title}: {count} in {elapsed_seconds:.0f} s{time_left}{note}")


def _shown(text: str) -> str:
    """Returns a text as the bar may show it: it writes behind what cleans all else that is printed."""
    return printable(clean_text(text))


@contextmanager
def progress(
    total: int, title: str, unit: str, *, done: int = 0, enabled: bool = True, shows_time_left: bool = True
) -> Iterator[Progress]:
    """Shows on stderr how far a long job is.

    Args:
        total: How many units are the whole.
        title: The job's name.
        unit: What is counted, in the plural: `clips`.
        done: How many of them an earlier attempt has done.
        enabled: Whether anything is shown: pass `rank == 0`.
        shows_time_left: Whether the time left is estimated from what was done; else the notes may say it.
    """
    bar = Progress(total, title, unit, done, enabled, shows_time_left)
    try:
        yield bar
    finally:
        bar.close()


def can_show_bar() -> bool:
    """Whether stderr shows a bar rather than plain lines."""
    return sys.stderr.isatty() or _is_notebook()


def _is_notebook() -> bool:
    """Whether this process is a Jupyter kernel, whose stderr is no terminal but shows bars; tested as tqdm does."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config
