"""Breaks training runs on purpose, at random moments, and counts what it cost: `make torture`.

A run of a few steps is started, hit by a fault, started again with the same command, hit by another, and so on, then
left to end. It survived if its weights are those of a run that nothing ever happened to, bit by bit, and its ledger
lists the same utterances for every step, each once. What every fault must leave behind is checked at once: no process
ten seconds later, and no exit code that says 0 before the run is complete.
"""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Literal

from conftest import REPOSITORY, write_corpus
from helpers.attempts import Attempt, Bench, Launcher, start
from helpers.processes import caught_signals
from helpers.training import short, visited, zero_file
from safetensors.torch import load_file

from asrscale.common import cli
from asrscale.common.errors import EXIT_COMPLETE, EXIT_STOPPED

GONE_SECONDS = 10.0  # what is promised: no rank outlives its run for longer
PATIENCE_SECONDS = 300.0  # after that an attempt counts as hung
STEPS = 30
FAULTS_A_RUN = 4
HANG_SECONDS = 20
NAN_FAULTS = ("NaN loss in one step, on either rank", "NaN loss from a step on")

Moment = Literal["start", "step", "save", "end", "own"]


@dataclass(frozen=True)
class Fault:
    """Something that happens to an attempt.

    Attributes:
        name: For the table.
        launcher: What the attempt is started with: one rank with python, two with the others.
        signal: Sent to `target`; 0 for a fault that starts by itself.
        target: `rank` (one of them), `all` (launchers too), `launch` (right above the ranks), or `runner` (above that:
            only deepspeed has one).
        moment: In start-up, in a step, in a save, after the last step, or the fault's own.
        own: For tests/ranks/broken_train.py; `{}` becomes a step.
        code: What the attempt must exit with; None: anything but 0.
        damages: A byte of the newest checkpoint is flipped afterwards.
    """

    name: str
    launcher: Launcher
    signal: int = 0
    target: Literal["rank", "all", "launch", "runner"] = "rank"
    moment: Moment = "step"
    own: str = ""
    code: int | None = None
    damages: bool = False


def faults() -> list[Fault]:
    """Returns every fault of the table."""
    kills = [
        Fault(f"kill -9 {whom}, {when}", "torchrun", signal.SIGKILL, target, moment)
        for target, whom in (("rank", "one rank"), ("all", "all"))
        for moment, when in (
            ("start", "in start-up"),
            ("step", "in a step"),
            ("save", "in a save"),
            ("end", "at the end"),
        )
    ]
    # The launchers' exit codes are their own: torchrun exits with 1 when its ranks exit with 75; see
    # docs/guide/training.md.
    layers: list[tuple[Launcher, Literal["rank", "launch", "runner"], str]] = [
        ("deepspeed", "rank", "a rank under deepspeed"),
        ("deepspeed", "launch", "deepspeed.launcher.launch"),
        ("deepspeed", "runner", "deepspeed"),
        ("torchrun", "rank", "a rank under torchrun"),
        ("torchrun", "launch", "torchrun"),
        ("python", "rank", "python"),
    ]
    signals = []
    for launcher, target, whom in layers:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL):
            is_promised = target == "rank" and launcher != "torchrun" and number != signal.SIGKILL
            code = EXIT_STOPPED if is_promised else None
            signals.append(Fault(f"{number.name} to {whom}", launcher, number, target, code=code))
    starting = [
        Fault(f"{number.name} to python in start-up", "python", number, "rank", "start", code=EXIT_STOPPED)
        for number in (signal.SIGTERM, signal.SIGUSR1)
    ]
    others = [
        Fault("a rank throws", "torchrun", moment="own", own="throw {} 1"),
        Fault("SIGSTOP of a rank", "torchrun", moment="own", own="stop {} 1"),
        Fault("newest checkpoint damaged", "torchrun", signal.SIGKILL, "all", damages=True),
        Fault("the clock goes back a day", "torchrun", moment="own", own="clock {} 0", code=EXIT_COMPLETE),
    ]
    return kills + signals + starting + others


@dataclass(frozen=True)
class Difference:
    """What a run has otherwise than its reference.

    Attributes:
        lost: Utterances that were not visited.
        repeated: Utterances that were visited twice.
        wrong: What else is wrong; empty if nothing.
    """

    lost: int = 0
    repeated: int = 0
    wrong: str = ""

    @property
    def is_none(self) -> bool:
        """Whether the run is the same."""
        return not (self.lost or self.repeated or self.wrong)


@dataclass
class Tally:
    """What the tries of one fault came to."""

    tries: int = 0
    survived: int = 0
    lost: int = 0
    repeated: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    slowest_seconds: float = 0.0

    def add(self, code: int, seconds: float, difference: Difference) -> None:
        """Counts a try with its exit code, how long its processes stayed, and what it cost."""
        self.tries += 1
        self.survived += difference.is_none
        self.lost += difference.lost
        self.repeated += difference.repeated
        self.codes[code] += 1
        self.slowest_seconds = max(self.slowest_seconds, seconds)


def saved_step(run_folder: Path) -> int:
    """Returns the step of the newest checkpoint; 0 without one."""
    latest = run_folder / "checkpoints" / "latest"
    return int(latest.read_text().strip()[5:]) if latest.exists() else 0


def partials(run_folder: Path) -> set[tuple[str, int]]:
    """Returns name and time of checkpoints that are being written, or were when a kill came."""
    found = set()
    for path in (run_folder / "checkpoints").glob("step-*.partial"):
        with contextlib.suppress(OSError):
            found.add((path.name, path.stat().st_ctime_ns))
    return found


def catches(pid: int, fault: Fault) -> bool:
    """Whether a rank catches the signal of a fault, if it must: in its first second it is still as Python starts."""
    try:
        caught = caught_signals(pid)
    except OSError:
        return False
    return fault.code != EXIT_STOPPED or fault.signal in caught


def await_moment(attempt: Attempt, fault: Fault, bench: Bench, run_folder: Path, rng: random.Random) -> bool:
    """Waits for a random moment of the wanted kind; returns whether the attempt still ran by then."""
    ledger = run_folder / "ledger" / "rank-00000.jsonl"
    old_ledger = ledger.stat().st_mtime_ns if ledger.exists() else 0  # lists steps that will be taken again
    old_partials = partials(run_folder)
    if fault.moment == "end":
        target = bench.steps
    else:
        target = min(saved_step(run_folder) + rng.randint(1, 6), bench.steps - 1)

    def steps_taken() -> int:
        fresh = ledger.exists() and ledger.stat().st_mtime_ns != old_ledger
        return ledger.read_bytes().count(b"\n") if fresh else 0

    conditions: dict[Moment, Callable[[], object]] = {
        "start": lambda: any(role == "rank" and catches(pid, fault) for pid, role in attempt.processes().items()),
        "step": lambda: steps_taken() >= target,
        "save": lambda: steps_taken() >= target - 1 and partials(run_folder) - old_partials,
        "end": lambda: steps_taken() >= target,
    }
    delays: dict[Moment, float] = {"start": 10.0, "step": 0.3, "save": 0.03, "end": 3.0}
    if fault.moment == "own":
        return True
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not conditions[fault.moment]():
        if attempt.process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    time.sleep(rng.uniform(0, delays[fault.moment]))
    return attempt.process.poll() is None


@dataclass(frozen=True)
class Outcome:
    """What an attempt with a fault came to.

    Attributes:
        code: Its exit code.
        seconds: How long its processes stayed after the fault.
        wrong: What is wrong with that; empty if nothing.
    """

    code: int
    seconds: float
    wrong: str


def suffer(bench: Bench, run_folder: Path, fault: Fault, rng: random.Random) -> Outcome | None:
    """Makes one attempt with a fault; returns what it came to, or None if the fault missed it."""
    own = fault.own.format(saved_step(run_folder) + rng.randint(0, 2))
    attempt = start(bench, run_folder, fault.launcher, own)
    reached = await_moment(attempt, fault, bench, run_folder, rng)
    if not reached or (fault.signal and not attempt.strike(fault.signal, fault.target, rng)):
        attempt.seconds_until_gone()
        return None
    if fault.signal:
        seconds = attempt.seconds_until_gone()
        code = attempt.process.wait()
    else:
        code = attempt.process.wait(PATIENCE_SECONDS)
        seconds = attempt.seconds_until_gone()
    if fault.damages and not damage_newest_checkpoint(run_folder):
        return None

    is_complete = (run_folder / "model" / "README.md").is_file()
    is_promised = code != EXIT_COMPLETE if fault.code is None else code == fault.code
    wrong = []
    if not is_promised and not (is_complete and code == EXIT_COMPLETE):
        wrong.append(f"exit code {code}")
    if seconds > GONE_SECONDS:
        wrong.append(f"processes stayed for {seconds:.0f} s")
    return Outcome(code, seconds, "; ".join(wrong))


def damage_newest_checkpoint(run_folder: Path) -> bool:
    """Flips a bit of its weights; returns False, and does nothing, where there is no other to go on from."""
    checkpoints = sorted((run_folder / "checkpoints").glob("step-????????"))
    if len(checkpoints) < 2:
        return False
    path = checkpoints[-1] / "model.safetensors"
    weights = bytearray(path.read_bytes())
    weights[len(weights) // 2] ^= 1
    path.write_bytes(weights)
    return True


def compare(run_folder: Path, reference: Path) -> Difference:
    """Compares a complete run with its reference: what was visited in each step, and the weights."""
    visits, expected = visit_counts(run_folder), visit_counts(reference)
    weights, others = (load_file(folder / "model" / "model.safetensors") for folder in (run_folder, reference))
    same = all(weights[name].equal(others[name]) for name in others)
    return Difference(
        lost=(expected - visits).total(),
        repeated=(visits - expected).total(),
        wrong="" if same else "other weights",
    )


def visit_counts(run_folder: Path) -> Counter[tuple[int, str]]:
    """How often each utterance was visited in each step."""
    return Counter((step, key) for step, keys in visited(run_folder).items() for key in keys)


def break_run(bench: Bench, pending: list[Fault], tallies: dict[str, Tally], lock: Lock, seed: int) -> None:
    """Takes a run through up to FAULTS_A_RUN of the `pending` faults, all of one number of ranks, to its end."""
    rng = random.Random(seed)
    run_folder = bench.folder / f"run-{seed:04d}"
    hits: list[tuple[Fault, Outcome]] = []
    with lock:
        ranks = 1 if not pending or pending[-1].launcher == "python" else 2
    while len(hits) < FAULTS_A_RUN and not (run_folder / "model" / "README.md").exists():
        with lock:
            fault = take_fault(pending, ranks)
        if fault is None:
            break
        outcome = suffer(bench, run_folder, fault, rng)
        if outcome is None:
            with lock:
                pending.insert(0, fault)
        else:
            hits.append((fault, outcome))

    attempt = start(bench, run_folder, "python" if ranks == 1 else "torchrun")
    end_code = attempt.process.wait(PATIENCE_SECONDS)
    if end_code:
        difference = Difference(wrong=f"ends with {end_code}")
    else:
        difference = compare(run_folder, bench.references[ranks])
    with lock:
        for fault, outcome in hits:
            report(run_folder, fault, outcome, difference, tallies)
    if difference.is_none:
        shutil.rmtree(run_folder)


def take_fault(pending: list[Fault], ranks: int) -> Fault | None:
    """Takes the last fault out of `pending` that happens to so many ranks; None where there is none."""
    for place in reversed(range(len(pending))):
        if (pending[place].launcher == "python") == (ranks == 1):
            fault = pending[place]
            pending.remove(fault)
            return fault
    return None


def report(run_folder: Path, fault: Fault, outcome: Outcome, difference: Difference, tallies: dict[str, Tally]) -> None:
    """Counts and prints what a fault cost."""
    wrong = "; ".join(filter(None, (outcome.wrong, difference.wrong)))
    tallies[fault.name].add(outcome.code, outcome.seconds, replace(difference, wrong=wrong))
    gone = f"gone after {outcome.seconds:.1f} s"
    print(f"{run_folder.name}: {fault.name}: exit code {outcome.code}, {gone}. {wrong}", flush=True)


def endure_nan(bench: Bench, tallies: dict[str, Tally], rng: random.Random) -> None:
    """A loss that is not a number: skipped alike wherever it appears, and the end of a run where it stays."""
    once, for_ever = NAN_FAULTS
    step = rng.randrange(bench.steps)
    first_step = rng.randrange(bench.steps - 10)
    rank = rng.randrange(2)
    endure_nan_in_one_step(bench, tallies[once], step)
    endure_nan_from_a_step_on(bench, tallies[for_ever], first_step, rank)


def endure_nan_in_one_step(bench: Bench, tally: Tally, step: int) -> None:
    """One rank has it in one step, then, in another run, the other rank: the weights must not show which."""
    folders = [bench.folder / f"nan-{step}-on-{rank}" for rank in range(2)]
    codes = [start(bench, folders[rank], "torchrun", f"nan {step} {rank}").process.wait() for rank in range(2)]
    if any(codes):
        tally.add(codes[0], 0.0, Difference(wrong=f"exit codes {codes}"))
        return
    difference = compare(*folders)
    if difference.wrong:
        tally.add(codes[0], 0.0, difference)
        return

    expected = (step + 1, visited(bench.references[2])[step + 1])
    for folder in folders:
        [row] = map(json.loads, (folder / "skipped.jsonl").read_text().splitlines())
        if (row["step"], sorted(row["keys"])) != expected:
            difference = replace(difference, wrong=f"skipped {row}")
        of_reference = compare(folder, bench.references[2])  # which has other weights
        difference = replace(
            difference,
            lost=difference.lost + of_reference.lost,
            repeated=difference.repeated + of_reference.repeated,
        )
    tally.add(codes[0], 0.0, difference)


def endure_nan_from_a_step_on(bench: Bench, tally: Tally, first_step: int, rank: int) -> None:
    """The run must fail, and no checkpoint of it may be other than finite."""
    folder = bench.folder / f"nan-from-{first_step}-on-{rank}"
    attempt = start(bench, folder, "torchrun", f"nan {first_step}- {rank}")
    code = attempt.process.wait()
    seconds = attempt.seconds_until_gone()
    wrong = []
    if code == EXIT_COMPLETE:
        wrong.append(f"exit code {code}")
    weights = [load_file(path) for path in (folder / "checkpoints").glob("step-????????/model.safetensors")]
    if not all(bool(tensor.isfinite().all()) for file in weights for tensor in file.values()):
        wrong.append("a checkpoint that is not finite")
    tally.add(code, seconds, Difference(wrong="; ".join(wrong)))


def break_runs(bench: Bench, wanted: list[Fault], seed: int, jobs: int) -> dict[str, Tally]:
    """Breaks runs with all `wanted` faults, `jobs` runs at a time; returns what each fault cost."""
    pending = list(wanted)
    lock = Lock()
    tallies = {fault.name: Tally() for fault in wanted}
    random.Random(seed).shuffle(pending)
    numbers = iter(range(seed * 1000, seed * 1000 + 1000))

    def work() -> None:
        while pending:
            break_run(bench, pending, tallies, lock, next(numbers))

    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(work) for _ in range(jobs)]:
            done.result()
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """Returns the tallies as text, one line for each fault."""
    lines = [f"{'fault':45} tries  survived  utterances lost  repeated  gone after at most  exit codes"]
    for name, tally in tallies.items():
        codes = ", ".join(f"{code} ×{count}" for code, count in sorted(tally.codes.items()))
        counts = f"{tally.tries:5} {tally.survived:9} {tally.lost:16} {tally.repeated:9}"
        lines.append(f"{name:45} {counts} {tally.slowest_seconds:17.1f} s  {codes}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Options:
    """Breaks training runs on purpose and prints what it cost; exit code 1 if anything did."""

    tries: int = cli.setting(3, help="of each fault, at ZeRO-2 and ZeRO-3 in turn")
    seed: int = cli.setting(0, help="of the order and the moments")
    jobs: int = cli.setting(1, help="runs at a time")
    only: tuple[str, ...] = cli.setting(("",), help="faults whose name holds one of these")


def main(options: Options) -> int:
    """Makes a corpus and the references, breaks the runs, prints a table for each ZeRO stage."""
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        corpus = write_corpus(folder / "corpus", utterances=120)
        words = ["--csv", corpus, "--out", folder / "shards", "--shard_utterances", "30"]
        subprocess.run([sys.executable, "-m", "asrscale.shard", *words], cwd=REPOSITORY, check=True)
        every = faults()
        configs = {stage: zero_file(stage, folder) for stage in (2, 3)}
        tallies = {}
        tries = range(options.tries)
        for stage, config in configs.items():
            wanted = []
            for number in tries:  # half of the faults in each, the other half in the next and at the other stage
                wanted += [fault for place, fault in enumerate(every) if (place + number) % 2 == stage % 2]
            flags = tuple(map(str, [*short(config, saves=2, steps=STEPS), "--hang_seconds", HANG_SECONDS]))
            runs = folder / f"zero{stage}"
            runs.mkdir()
            tallies[stage] = endure(Bench(folder / "shards", runs, flags, STEPS, {}), wanted, options)
    for stage, one in tallies.items():
        print(f"ZeRO-{stage}:\n{table(one)}")
    return int(any(tally.survived < tally.tries for one in tallies.values() for tally in one.values()))


def endure(bench: Bench, wanted: list[Fault], options: Options) -> dict[str, Tally]:
    """Returns what the `wanted` faults that --only selects cost, compared with runs that nothing happens to."""

    def is_selected(fault_name: str) -> bool:
        return any(part in fault_name for part in options.only)

    launchers: dict[int, Launcher] = {1: "python", 2: "torchrun"}
    for ranks, launcher in launchers.items():
        bench.references[ranks] = bench.folder / f"undisturbed-{ranks}"
        attempt = start(bench, bench.references[ranks], launcher)
        assert attempt.process.wait() == 0, bench.references[ranks].with_suffix(".log").read_text()
    wanted = [fault for fault in wanted if is_selected(fault.name)]
    print(f"{bench.folder.name}, seed {options.seed}: {len(wanted)} faults", flush=True)
    tallies = break_runs(bench, wanted, options.seed, options.jobs)
    if is_selected("".join(NAN_FAULTS)):
        tallies |= {name: Tally() for name in NAN_FAULTS}
        for number in range((options.tries + 1) // 2):
            endure_nan(bench, tallies, random.Random(options.seed * 1000 + number))
    return tallies


if __name__ == "__main__":
    cli.run(Options, main)
