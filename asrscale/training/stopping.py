"""Watches a training process from a thread of its own: requests to stop, the launcher above it, and whether it hangs.

    RUN/heartbeat/rank-00000.json   what each rank is at, written by its thread: step, what it does, where it runs

A signal handler in Python runs when the main thread is back from native code, which may be never; the thread hears of
a signal at once. All it does is to set a flag, which the next collective of the main thread carries to all ranks.
"""

import contextlib
import math
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import psutil

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.common.errors import EXIT_STOPPED, Stopped
from asrscale.data.step_reader import Step
from asrscale.training.heartbeat import LOOKS, Pulse, look
from asrscale.training.launcher import find_launchers, is_running
from asrscale.training.watch import Watch

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # USR1: what batch systems send ahead of the end


TICK_SECONDS = 0.5


# Ranks whose launcher is gone are nobody's: they get time for a step and its checkpoint, not for more.
ORPHAN_SECONDS = 8.0


# Once a rank has told that its memory ran out, until all have seen it: what waits for a rank that is gone fails.
LINGER_SECONDS = 2.0


@contextlib.contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """Watches this process while the block runs: SIGTERM, SIGUSR1, SIGINT and the end of the launcher set `stopping`.

    A stop while `starting` ends the process at once, with exit code 75. A second SIGINT (Ctrl-C) interrupts as usual.
    Signals that are ignored, such as SIGINT under nohup or in the background, stay so. For the main thread only.
    """
    watch = Watch(folder)
    hearing, telling = socket.socketpair()
    telling.setblocking(False)
    not_ignored = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    kept = {number: signal.signal(number, _on_signal) for number in not_ignored}
    told_before = signal.set_wakeup_fd(telling.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(watch, hearing), name="watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        signal.set_wakeup_fd(told_before)
        for number, handler in kept.items():
            signal.signal(number, handler)
        telling.close()
        thread.join()
        hearing.close()


def _on_signal(number: int, frame: FrameType | None) -> None:
    """What Python runs for a signal; the thread has been told by the interpreter's wake-up file."""
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _watch(watch: Watch, hearing: socket.socket) -> None:
    """The thread; ends when the other end of `hearing` is closed."""
    launchers = find_launchers()
    ends: list[int] = []  # files that can be read once a launcher has ended
    with contextlib.suppress(OSError, AttributeError):  # there are none on a Mac, or before Linux 5.3
        ends = [os.pidfd_open(launcher.pid) for launcher in launchers]
    pulse, ticks, beats, deadline = Pulse(), 0, -1, math.inf
    while True:
        heard = select.select([hearing.fileno(), *ends], [], [], TICK_SECONDS)[0]
        ended = [end in heard for end in ends] or [not is_running(launcher) for launcher in launchers]
        if deadline == math.inf and any(ended):
            watch.stopping, deadline, ends = True, time.monotonic() + ORPHAN_SECONDS, []
            # deepspeed takes the death of its second layer for success, and would exit with 0 within the second.
            for above in launchers[ended.index(True) + 1 :]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    above.terminate()
        numbers = hearing.recv(64) if hearing.fileno() in heard else None
        if watch.cap and (numbers == b"" or watch.beats == beats) and watch.cap.is_outdated():
            time.sleep(LINGER_SECONDS)
            if watch.cap.rescues < watch.restarts:
                start_again()
            _leave(watch, "memory ran out on a rank")
        beats = watch.beats
        if numbers == b"":
            return
        if numbers:
            watch.stopping |= not set(SIGNALS).isdisjoint(numbers)
        else:
            ticks += 1  # rather than a clock, which goes on while this process is stopped
        if ticks * TICK_SECONDS >= watch.hang_seconds / LOOKS:
            look(watch, pulse, ticks * TICK_SECONDS)
            ticks = 0
        if watch.stopping and (watch.doing == "starting" or (time.monotonic() > deadline and watch.doing != "saving")):
            reason = "while starting" if watch.doing == "starting" else "without its launcher, before the end of a step"
            _leave(watch, f"stopped on request {reason}")


def _leave(watch: Watch, reason: str) -> None:
    """Ends the process, whatever the main thread is at; the newest checkpoint stands."""
    with contextlib.suppress(OSError):  # a full or broken disk must not keep the process here
        watch.mark_preempted()
    print(f"{reason}; the same command goes on", file=sys.stderr, flush=True)
    os._exit(EXIT_STOPPED)


def start_again() -> None:
    """Becomes a new process of the same command with the same process id: no launcher need know."""
    for child in psutil.Process().children():  # W&B's service, which would wait for the old process
        child.kill()
    os.environ["TORCHELASTIC_RESTART_COUNT"] = str(int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) + 1)
    os.execv(sys.executable, sys.orig_argv)


def agree_on_step(step: Step, watch: Watch, world: World) -> tuple[int, int]:
    """Sums up over ranks what each has of a step, and whether any of them was asked to stop. A collective.

    Returns:
        How many utterances of the step are good, and how many are damaged, on all ranks.

    Raises:
        Stopped: Some rank was asked to stop; raised on all ranks.
    """
    good = sum(len(batch.utterances) for batch in step.batches)
    damaged = len(step.damaged)
    is_stopping = watch.beat("training", step.number + 1)
    sums = distributed.all_reduce_sum([good, damaged, is_stopping], world)
    all_good, all_damaged, stopping_ranks = map(round, sums)
    if stopping_ranks:
        raise Stopped
    return all_good, all_damaged
