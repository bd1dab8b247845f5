"""Heartbeats of the ranks: finds the one that hangs."""

import contextlib
import faulthandler
import json
import os
import socket
import sys
from dataclasses import dataclass, field
from typing import Any

from asrscale.common.atomic_files import write_json
from asrscale.common.errors import EXIT_FAULT
from asrscale.training.watch import Watch

# A rank is looked at so often within --hang_seconds. What has no beats of its own (a save, slow data, the start) may
# take so many times longer, as long as every rank answers.
LOOKS, LONG = 20, 10


@dataclass
class Pulse:
    """What one rank's thread remembers of the heartbeats."""

    looks: int = 0  # how often it has looked
    own_beats: int = -1  # how far this rank was at the last look
    beats: list[int] = field(default_factory=list)  # how far each rank was when one of them last came further
    there: list[int] = field(default_factory=list)  # how often each had looked by then
    quiet_seconds: float = 0.0  # since then


def look(watch: Watch, pulse: Pulse, seconds: float) -> None:
    """Shows this rank's heartbeat, and looks at the others' while it waits; ends a process that hangs.

    `seconds` have passed since the last look.
    """
    pulse.looks += 1
    name = "a rank that has not begun" if watch.rank is None else f"rank {watch.rank}"
    own: dict[str, Any] = {"name": name, "host": socket.gethostname(), "process": os.getpid(), "looks": pulse.looks}
    own |= {"step": watch.step, "doing": watch.doing, "beats": watch.beats, "busy_seconds": watch.busy_seconds}
    ranks, folder = [own], watch.folder / "heartbeat"
    if watch.rank is not None:
        with contextlib.suppress(OSError, ValueError):  # a full disk, or a rank that has not begun
            folder.mkdir(exist_ok=True)
            write_json(folder / f"rank-{watch.rank:05d}.json", own)
            if watch.beats == pulse.own_beats:  # thousands of ranks must not read thousands of files without need
                ranks = [json.loads((folder / f"rank-{rank:05d}.json").read_text()) for rank in range(watch.world_size)]
    pulse.own_beats, beats = watch.beats, [rank["beats"] for rank in ranks]
    if beats != pulse.beats:
        pulse.beats, pulse.there, pulse.quiet_seconds = beats, [rank["looks"] for rank in ranks], 0.0
        return
    pulse.quiet_seconds += seconds
    silent = [rank for rank, looks in zip(ranks, pulse.there, strict=True) if rank["looks"] == looks]
    long = not silent and any(rank["doing"] not in ("training", "evaluating") for rank in ranks)
    if pulse.quiet_seconds >= watch.hang_seconds * (LONG if long else 1):
        behind = min(rank["step"] for rank in ranks)
        lines = [f"{name}: no rank has come further for {pulse.quiet_seconds:.0f} s (--hang_seconds)"]
        for rank in silent or [rank for rank in ranks if rank["step"] == behind]:
            where = "{name} (process {process} on {host}, {doing} at step {step})".format_map(rank)
            lines.append(f"{where} {'does not answer' if silent else 'hangs'}")
        print("\n".join([*lines, f"stacks of {name}:"]), file=sys.stderr, flush=True)
        faulthandler.dump_traceback(all_threads=True)
        os._exit(EXIT_FAULT)
