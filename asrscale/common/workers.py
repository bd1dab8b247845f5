"""Worker processes that may die: the parent knows which item of its task each of them had in hand."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Sized
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from asrscale.common.progress import Progress

Task = TypeVar("Task", bound=Sized)


Result = TypeVar("Result")


POLL_SECONDS = 0.2  # between looks at how far the workers are, for the bar


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    work: Callable[[Task, Callable[[int], None]], Result],
    tasks: Iterable[Task],
    workers: int,
    on_death: Callable[[Task, int, int], Task],
    bar: Progress,
) -> Generator[Result, None, None]:
    """Does tasks in so many processes, takes one when a process is free, and yields the results in no order.

    `work` is called in a worker as `work(task, begin)` and calls `begin(i)` before it takes up item i of the task.
    `on_death`, where a worker died (killed, or a fault of a C library), gets its task, the item in hand and the exit
    code, negative for a signal, and returns the task to try, or raises. The bar shows the items.

    Raises:
        Exception: What `work` raised, with the worker's traceback as a note.
        RuntimeError: A worker ended before it began with its task, and nobody killed it.
    """
    context = multiprocessing.get_context("spawn")
    in_hand = context.RawArray("q", workers)
    busy: dict[Any, tuple[Any, int, Task]] = {}
    left, finished, shown = iter(tasks), 0, 0

    def start(slot: int, task: Task) -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_worker, args=(work, theirs, in_hand, slot), daemon=True)
        on_ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: workers leave Ctrl-C to the parent
        process.start()
        signal.signal(signal.SIGINT, on_ctrl_c)
        theirs.close()  # so that the end of the worker is the end of the pipe
        give(ours, process, slot, task)

    def give(connection: Any, process: Any, slot: int, task: Task) -> None:
        in_hand[slot], busy[connection] = -1, (process, slot, task)
        with suppress(OSError):  # it has died: its pipe will say so
            connection.send(task)

    try:
        for slot, task in zip(range(workers), left, strict=False):
            start(slot, task)
        while busy:
            ready: list[Any] = wait(list(busy), POLL_SECONDS)
            for connection in ready:
                process, slot, task = busy[connection]
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    if in_hand[slot] < 0 <= process.exitcode:
                        raise RuntimeError(f"a worker ended at once, exit code {process.exitcode}") from None
                    del busy[connection]
                    start(slot, on_death(task, max(in_hand[slot], 0), process.exitcode))
                    continue
                if isinstance(result, Exception):
                    raise result
                del busy[connection]
                finished, in_hand[slot] = finished + len(task), -1
                yield result
                for task in left:
                    give(connection, process, slot, task)
                    break
                else:
                    connection.close()
                    process.join()
            now = finished + sum(max(item, 0) for item in in_hand)
            bar.advance(max(now, shown) - shown)
            shown = max(now, shown)
    finally:
        for process, _, _ in busy.values():
            process.terminate()


def _worker(work: Callable[..., Any], connection: Connection, in_hand: Any, slot: int) -> None:
    """What a worker process runs: tasks until the pipe ends."""

    def die_with_parent() -> None:  # an orphan would go on writing where the next build does
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=die_with_parent, daemon=True).start()
    # C libraries write to descriptor 2 (mpg123 does for every odd mp3) and would tear the bar; Python may still speak.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with suppress(EOFError, BrokenPipeError):
        while True:
            task = connection.recv()
            try:
                result = work(task, lambda item: in_hand.__setitem__(slot, item))
            except Exception as error:
                error.add_note(traceback.format_exc())
                result = error
            connection.send(result)
