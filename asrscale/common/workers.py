"""Worker processes that may die: the parent can see which item of its task each of them had in hand."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from asrscale.common.progress import Progress

Task = TypeVar("Task", bound=Sized)
Result = TypeVar("Result")

POLL_SECONDS = 0.2  # between looks at how far the workers are, for the bar

# What the table of items in hand has for a worker that has not begun with its task, or has none.
_NO_ITEM = -1

_SPAWN = multiprocessing.get_context("spawn")


def usable_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_tasks(
    work: Callable[[Task, Callable[[int], None]], Result],
    tasks: Iterable[Task],
    workers: int,
    on_death: Callable[[Task, int, int], Task],
    bar: Progress,
) -> Generator[Result, None, None]:
    """Does tasks in worker processes and yields their results in no order.

    Args:
        work: Is called in a worker as `work(task, begin)` and calls `begin(i)` before it takes up item i of the task.
        tasks: Each is taken when a process is free for it.
        workers: How many processes there are at most.
        on_death: Where a worker died (killed, or a fault of a C library), is called with its task, the item in hand and
            the exit code, negative for a signal. It returns the task to try next, or raises.
        bar: Shows how many items are done.

    Raises:
        Exception: What `work` raised, with the worker's traceback as a note.
        RuntimeError: A worker ended before it began with its task, and nobody killed it.
    """
    pool = _Pool(work, on_death, workers)
    left = iter(tasks)
    finished_items = 0
    shown_items = 0
    try:
        # The range comes first, so that no task is taken that no worker is left for.
        for slot, task in zip(range(workers), left, strict=False):
            pool.start(slot, task)
        while pool.busy:
            for worker, result in pool.finished():
                finished_items += len(worker.task)
                yield result
                next_task = next(left, None)
                if next_task is None:
                    worker.dismiss()
                else:
                    pool.give(worker, next_task)
            # The bar never goes back, although the items that a dead worker had done are done again.
            done_items = max(shown_items, finished_items + pool.items_done())
            bar.advance(done_items - shown_items)
            shown_items = done_items
    finally:
        pool.terminate()


@dataclass(frozen=True)
class _Worker(Generic[Task]):
    """A worker process, the pipe to it, and the task that it was given last."""

    process: SpawnProcess
    connection: Connection
    slot: int  # in the table of items in hand
    task: Task

    def dismiss(self) -> None:
        """Ends the process, which has no task in hand: it ends with its pipe."""
        self.connection.close()
        self.process.join()


class _Pool(Generic[Task, Result]):
    """Worker processes, each with a task.

    Attributes:
        busy: The workers, by their ends of the pipes.
    """

    def __init__(
        self,
        work: Callable[[Task, Callable[[int], None]], Result],
        on_death: Callable[[Task, int, int], Task],
        workers: int,
    ) -> None:
        self.busy: dict[Connection, _Worker[Task]] = {}
        self._work = work
        self._on_death = on_death
        self._items_in_hand = _SPAWN.RawArray("q", workers)  # in memory that the workers share

    def start(self, slot: int, task: Task) -> None:
        """Starts a worker with a task."""
        our_end, their_end = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_do_tasks, args=(self._work, their_end, self._items_in_hand, slot), daemon=True)
        on_ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: workers leave Ctrl-C to the parent
        process.start()
        signal.signal(signal.SIGINT, on_ctrl_c)
        their_end.close()  # so that the end of the worker is the end of the pipe
        self.give(_Worker(process, our_end, slot, task), task)

    def give(self, worker: _Worker[Task], task: Task) -> None:
        """Gives a task to a worker that has none."""
        self._items_in_hand[worker.slot] = _NO_ITEM
        self.busy[worker.connection] = replace(worker, task=task)
        with suppress(OSError):  # the worker has died: the end of its pipe will show it
            worker.connection.send(task)

    def finished(self) -> Iterator[tuple[_Worker[Task], Result]]:
        """Waits a moment for workers; yields those that finished their tasks, with the results, and replaces dead ones.

        A worker that is yielded is no longer busy.
        """
        ready: list[Any] = wait(list(self.busy), POLL_SECONDS)
        for connection in ready:
            worker = self.busy[connection]
            try:
                result = connection.recv()
            except (EOFError, OSError):
                self._replace(worker)
                continue
            if isinstance(result, Exception):
                raise result
            del self.busy[connection]
            self._items_in_hand[worker.slot] = _NO_ITEM
            yield worker, result

    def _replace(self, dead: _Worker[Task]) -> None:
        """Starts a worker in the place of a dead one."""
        dead.process.join()
        exit_code = dead.process.exitcode
        assert exit_code is not None  # it was joined
        item = self._items_in_hand[dead.slot]
        if item == _NO_ITEM and exit_code >= 0:
            raise RuntimeError(f"a worker ended at once, exit code {exit_code}") from None
        del self.busy[dead.connection]
        task = self._on_death(dead.task, max(item, 0), exit_code)
        self.start(dead.slot, task)

    def items_done(self) -> int:
        """Returns how many items of their tasks the busy workers have done."""
        return sum(max(item, 0) for item in self._items_in_hand)

    def terminate(self) -> None:
        """Ends the workers that are busy."""
        for worker in self.busy.values():
            worker.process.terminate()


def _do_tasks(work: Callable[..., Any], connection: Connection, items_in_hand: Any, slot: int) -> None:
    """Does the tasks that come through a pipe until it ends: what a worker process runs."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _silence_c_libraries()
    gc.freeze()  # what was imported stays, so that collections need not look at it

    def begin(item: int) -> None:
        items_in_hand[slot] = item

    with suppress(EOFError, BrokenPipeError):
        while True:
            task = connection.recv()
            try:
                result = work(task, begin)
            except Exception as error:
                error.add_note(traceback.format_exc())
                result = error
            connection.send(result)


def _die_with_parent() -> None:
    """Waits for the parent's end, and ends this process: an orphan would go on writing where the next build does."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _silence_c_libraries() -> None:
    """Drops what C libraries write to stderr, which would tear the bar; Python may still write there.

    mpg123, for example, writes a line for every odd mp3.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
