"""Heartbeats of the ranks: finds the one that hangs.

RUN/heartbeat/rank-00000.json   where each rank is, written by its watching thread: step, what it does, its host

A file that is no whole heartbeat, whoever wrote it, is that of a rank that has not begun.
"""

import contextlib
import faulthandler
import os
import socket
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, get_args

from asrscale.common.atomic_files import write_json
from asrscale.common.errors import EXIT_FAULT
from asrscale.common.json_values import parse_object
from asrscale.training.watch import Activity, Watch

LOOKS = 20  # how often each rank looks at the heartbeats within --hang_seconds

# What has no beats of its own (a save, slow data, the start) may take so many times --hang_seconds, as long as every
# rank answers.
LONG = 10

Heartbeat: TypeAlias = dict[str, Any]  # the content of a rank's file

_TYPES = {
    "name": str,
    "host": str,
    "process": int,
    "looks": int,
    "step": int,
    "doing": str,
    "beats": int,
    "busy_seconds": float,
}
_MAX_BYTES = 4096


@dataclass
class Pulse:
    """What one rank's watching thread remembers of the heartbeats."""

    looks: int = 0  # how often it has looked
    own_beats: int = -1  # how far this rank was at the last look
    beats: list[int] = field(default_factory=list)  # how far each rank was when one of them last made progress
    looks_by_then: list[int] = field(default_factory=list)  # how often each rank had looked by then
    quiet_seconds: float = 0.0  # since then


def look(watch: Watch, pulse: Pulse, seconds: float) -> None:
    """Writes this rank's heartbeat, and reads the others' while it waits; ends a process that hangs.

    Args:
        watch: Of this process.
        pulse: What the last look found; updated.
        seconds: How long ago that was.
    """
    pulse.looks += 1
    heartbeats = _exchange(watch, pulse)
    beats = [heartbeat["beats"] for heartbeat in heartbeats]
    if beats != pulse.beats:
        pulse.beats = beats
        pulse.looks_by_then = [heartbeat["looks"] for heartbeat in heartbeats]
        pulse.quiet_seconds = 0.0
        return

    pulse.quiet_seconds += seconds
    silent = [
        heartbeat
        for heartbeat, looks in zip(heartbeats, pulse.looks_by_then, strict=True)
        if heartbeat["looks"] == looks
    ]
    all_beat = all(heartbeat["doing"] in ("training", "evaluating") for heartbeat in heartbeats)
    patience = 1 if silent or all_beat else LONG
    if pulse.quiet_seconds >= watch.hang_seconds * patience:
        _report_hang(heartbeats, silent, own_name=_name(watch), quiet_seconds=pulse.quiet_seconds)
        os._exit(EXIT_FAULT)


def _exchange(watch: Watch, pulse: Pulse) -> list[Heartbeat]:
    """Writes this rank's heartbeat; returns those of all ranks while this one waits for others, else its own alone."""
    own = {
        "name": _name(watch),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "looks": pulse.looks,
        "step": watch.step,
        "doing": watch.doing,
        "beats": watch.beats,
        "busy_seconds": watch.busy_seconds,
    }
    heartbeats = [own]
    if watch.rank is not None:  # before, the folder may be another run's
        folder = watch.folder / "heartbeat"
        with contextlib.suppress(OSError, ValueError):  # a full disk, or a rank that has not begun
            folder.mkdir(exist_ok=True)
            write_json(_path(folder, watch.rank), own)
            if watch.beats == pulse.own_beats:  # thousands of ranks must not read thousands of files without need
                heartbeats = [_read(_path(folder, rank)) for rank in range(watch.world_size)]
    pulse.own_beats = watch.beats
    return heartbeats


def _read(path: Path) -> Heartbeat:
    """Returns the content of a rank's file; raises OSError or ValueError where it is no whole heartbeat."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe must not stop this thread
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError
    heartbeat = parse_object(content)
    if not _is_whole(heartbeat):
        raise ValueError
    return heartbeat


def _is_whole(heartbeat: Heartbeat) -> bool:
    """Whether all is there that the reports and comparisons use."""
    has_all = all(type(heartbeat.get(name)) is kind for name, kind in _TYPES.items())
    is_printable = all(value.isprintable() for value in heartbeat.values() if isinstance(value, str))
    return has_all and is_printable and heartbeat["doing"] in get_args(Activity)


def _report_hang(heartbeats: list[Heartbeat], silent: list[Heartbeat], *, own_name: str, quiet_seconds: float) -> None:
    """Prints which ranks hang, and the stacks of this process, to stderr.

    The ranks to name are the `silent` ones, which have not looked since; if all have, those that are behind.
    """
    lines = [f"{own_name}: no rank has made progress for {quiet_seconds:.0f} s (--hang_seconds)"]
    first_step = min(heartbeat["step"] for heartbeat in heartbeats)
    behind = [heartbeat for heartbeat in heartbeats if heartbeat["step"] == first_step]
    for heartbeat in silent or behind:
        where = "{name} (process {process} on {host}, {doing} at step {step})".format_map(heartbeat)
        lines.append(f"{where} {'does not answer' if silent else 'hangs'}")
    lines.append(f"stacks of {own_name}:")
    print("\n".join(lines), file=sys.stderr, flush=True)
    faulthandler.dump_traceback(all_threads=True)


def _name(watch: Watch) -> str:
    return "a rank that has not begun" if watch.rank is None else f"rank {watch.rank}"


def _path(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank:05d}.json"
