"""A bar where somebody watches, lines where a file does."""

import io
import sys
import types

import pytest

import asrscale.common.progress
from asrscale.common.progress import progress


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 100.0
        monkeypatch.setattr(asrscale.common.progress, "time", types.SimpleNamespace(monotonic=lambda: self.seconds))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_file_gets_a_line_now_and_then_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with progress(total=4000, title="packing", unit="clips") as bar:
        for _ in range(40):
            clock.seconds += 1
            bar.advance(100, note="3 rejected")
    assert capsys.readouterr().err.splitlines() == [
        "packing: 1,000/4,000 clips in 10 s, 30 s left  3 rejected",
        "packing: 2,000/4,000 clips in 20 s, 20 s left  3 rejected",
        "packing: 3,000/4,000 clips in 30 s, 10 s left  3 rejected",
        "packing: 4,000/4,000 clips in 40 s  3 rejected",
    ]


def test_a_job_that_fails_prints_how_far_it_came(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Clock(monkeypatch)
    with pytest.raises(KeyError), progress(total=10, title="packing", unit="clips") as bar:
        bar.advance(3)
        raise KeyError
    assert capsys.readouterr().err == "packing: 3/10 clips in 0 s, 0 s left\n"


def test_nothing_done_has_no_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Clock(monkeypatch)
    with progress(total=0, title="packing", unit="clips"):
        pass
    assert capsys.readouterr().err == "packing: 0/0 clips in 0 s\n"


def test_other_ranks_are_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock(monkeypatch)
    with progress(total=10, title="training", unit="steps", enabled=False) as bar:
        clock.seconds += 60
        bar.advance(5)
        bar.write("a line")
    assert capsys.readouterr() == ("", "")


def test_write_prints_its_line_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(total=10, title="training", unit="steps") as bar:
        bar.write("step 5: WER 12 %")
        assert capsys.readouterr().err == "step 5: WER 12 %\n"


def test_a_terminal_gets_a_bar_with_the_note(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress(total=2, title="training", unit="steps") as bar:
        bar.advance(note="loss 1.5")
        bar.write("step 1: saved")
        bar.advance()
    shown = terminal.getvalue()
    assert "training: 100%" in shown
    assert "2/2" in shown
    assert "loss 1.5" in shown
    assert "\nstep 1: saved\n" in shown.replace("\r", "\n")


def shell(**config: object) -> types.SimpleNamespace:
    """IPython as this process would see it inside a shell of that configuration; None where it is outside of one."""
    running = types.SimpleNamespace(config=config) if config else None
    return types.SimpleNamespace(get_ipython=lambda: running)


def test_a_notebook_gets_a_bar_although_its_stderr_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", shell(IPKernelApp={}))
    with progress(total=2, title="training", unit="steps") as bar:
        bar.advance(2, note="loss 1.5")
    shown = capsys.readouterr().err
    assert "training: 100%" in shown
    assert "loss 1.5" in shown
    with progress(total=2, title="training", unit="steps", enabled=False) as bar:
        bar.advance()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("ipython", [shell(), shell(TerminalIPythonApp={})])
def test_ipython_that_is_no_notebook_changes_nothing(
    ipython: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Clock(monkeypatch)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with progress(total=2, title="training", unit="steps") as bar:
        bar.advance()
    assert capsys.readouterr().err == "training: 1/2 steps in 0 s, 0 s left\n"


def test_a_job_with_an_estimate_of_its_own_shows_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with progress(total=40, title="training", unit="steps", shows_time_left=False) as bar:
        clock.seconds += 10
        bar.advance(10, note="3 min left")
    assert capsys.readouterr().err.splitlines()[0] == "training: 10/40 steps in 10 s  3 min left"
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress(total=40, title="training", unit="steps", shows_time_left=False) as bar:
        bar.advance(10, note="3 min left")
        bar.advance(10)
    last = terminal.getvalue().replace("\r", "\n").strip().splitlines()[-1]
    assert "20/40 [00:00, 3 min left]" in last and "<" not in last
