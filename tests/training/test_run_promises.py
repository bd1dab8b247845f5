"""Draws sequences of what may happen to a run, and checks after each what the documents promise.

A run of a model of about a thousand weights is started, harmed at any of its file operations, started with other
settings, with its data moved or changed, while another holds its folder, with a damaged checkpoint. An undisturbed run
of the same settings has the loss, the score and the weights of every step: whatever happens, a step has these.
"""

import fcntl
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.run_attempts import Attempt, Fault
from helpers.run_scene import EMA, STEPS, Scene, listing, moving_average_in, rows_of, score_of, start
from helpers.weights import mean_of
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from safetensors.torch import load_file
from torch import Tensor

from asrscale.common.errors import EXIT_COMPLETE, EXIT_FAULT, EXIT_STOPPED, EXIT_USAGE
from asrscale.model.export import Provenance, has_card, read_provenance
from asrscale.training.checkpoint import RunState, read_state, step_of, whole_checkpoint, whole_weights

KILLED = -9
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

# An attempt from start to end has about a hundred file operations in the run folder; one that goes on has fewer.
operations = st.one_of(st.sampled_from(range(1, 31)), st.sampled_from(range(1, 111)))
durations = st.sampled_from([1, 3, 1000])  # in file operations
# Settings that a run may be resumed with.
changes = st.one_of(
    st.tuples(st.just("patience"), st.sampled_from([0, 1, 2])),
    st.tuples(st.just("eval_steps"), st.sampled_from([1, 2, 3])),
    st.tuples(st.just("save_steps"), st.sampled_from([1, 2, 5])),
    st.tuples(st.just("save_total_limit"), st.sampled_from([1, 2])),
    st.tuples(st.just("export_dtype"), st.sampled_from(["fp32", "bf16"])),
    st.tuples(st.just("average"), st.sampled_from([0, 2, 3])),
)
# Settings that it may not.
refused_changes = st.sampled_from(
    [{"seed": 7}, {"learning_rate": 0.01}, {"units_per_step": 2}, {"max_steps": 9}, {"ema": 0.7}]
)


class Sequence(RuleBasedStateMachine):
    """One run folder and all that happens to it."""

    scene: Scene  # set by the test
    reached: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.scratch = Path(tempfile.mkdtemp(dir=self.scene.root))
        self.folder = self.scratch / "run"
        self.data = self.scratch / "data"
        self.data.symlink_to(self.scene.data("plain"))
        self.given: str | Path = self.data
        self.changing: dict[str, Any] = {"eval_steps": 2, "save_steps": 2, "save_total_limit": 1, "patience": 0}
        self.was_busy = False
        self.disk_failed = False
        self.damaged = False
        self.last: Attempt | None = None

    def teardown(self) -> None:
        """Whatever happened, the same command ends the run."""
        done = self._start(Fault())
        assert done.code == EXIT_COMPLETE, done.output
        again = self._start(Fault())
        assert again.code == EXIT_COMPLETE and "is complete" in again.output, again.output
        shutil.rmtree(self.scratch)

    @initialize(ema=st.sampled_from([0.0, EMA]))
    def begun(self, ema: float) -> None:
        """With a moving average or without."""
        self.changing["ema"] = ema

    @rule(operation=operations)
    def killed(self, operation: int) -> None:
        """An attempt that is killed."""
        self._start(Fault("kill", operation))

    @rule(operation=operations)
    def killed_another_time(self, operation: int) -> None:
        """The same, since kills are to be drawn more often."""
        self._start(Fault("kill", operation))

    @rule(operation=operations)
    def stopped(self, operation: int) -> None:
        """An attempt that is asked to stop."""
        self._start(Fault("stop", operation))

    @rule(operation=operations, lasts=durations)
    def full(self, operation: int, lasts: int) -> None:
        """An attempt that finds no room for new files for a while."""
        self._start(Fault("full disk", operation, lasts))

    @rule(operation=operations, lasts=durations)
    def short(self, operation: int, lasts: int) -> None:
        """An attempt whose files are cut short for a while."""
        self._start(Fault("short file", operation, lasts))

    @rule()
    def undisturbed(self) -> None:
        """An attempt that nothing happens to."""
        self._start(Fault())

    @precondition(lambda self: has_card(self.folder / "model"))
    @rule()
    def begun_anew(self) -> None:
        """A run that is complete is deleted: the rest happens to a new one."""
        shutil.rmtree(self.folder)
        self.disk_failed = False
        self.damaged = False

    @rule(change=changes)
    def changed(self, change: tuple[str, Any]) -> None:
        """Another value of a setting from here on."""
        name, value = change
        self.changing[name] = value

    @rule(way=st.sampled_from(["dots", "slash", "link", "copy"]))
    def moved(self, way: str) -> None:
        """The same data elsewhere."""
        if way == "dots":
            self.given = f"{self.scratch}/./run/../data"
        elif way == "slash":
            self.given = f"{self.data}/"
        elif way == "link":
            link = self.scratch / "another"
            link.unlink(missing_ok=True)
            link.symlink_to(self.scene.data("plain"))
            self.given = link
        else:
            copied = self.scratch / "copied"
            shutil.rmtree(copied, ignore_errors=True)
            shutil.copytree(self.scene.data("plain"), copied)
            self.given = copied

    @precondition(lambda self: self._newest() is not None)
    @rule(split=st.sampled_from(["train", "valid"]))
    def corrected(self, split: str) -> None:
        """A transcript of the data is another, in place."""
        before = self.given
        self.data.unlink()
        self.data.symlink_to(self.scene.data(split))
        self.given = self.data
        self._refused({}, "was started with other data")
        self.data.unlink()
        self.data.symlink_to(self.scene.data("plain"))
        self.given = before

    @precondition(lambda self: self._newest() is not None)
    @rule(change=refused_changes)
    def mistaken(self, change: dict[str, Any]) -> None:
        """Started with a setting that must not change."""
        [name] = change
        self._refused(change, f"was started with --{name}")

    @precondition(lambda self: not self.was_busy)
    @rule()
    def busy(self) -> None:
        """Started, and stopped while starting, while another training holds the folder."""
        self.was_busy = True
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = listing(self.folder)
            done = start(self.scene, self.folder, self.given, self.changing, Fault())
            assert done.code == EXIT_FAULT and "is in use by another training" in done.output, done.output
            assert listing(self.folder) == before
        self.reached["busy"] += 1

    @precondition(lambda self: len(self._steps_kept()) > 1)
    @rule(name=st.sampled_from(["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]))
    def rotted(self, name: str) -> None:
        """A byte of the newest checkpoint changes."""
        path = self.folder / "checkpoints" / f"step-{max(self._steps_kept()):08d}" / name
        if path.exists():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
            self.damaged = True
            self.reached["rotted"] += 1

    def _start(self, fault: Fault) -> Attempt:
        """Makes an attempt, and checks the promises."""
        newest_before = self._newest()
        done = start(self.scene, self.folder, self.given, self.changing, fault)
        self.last = done
        where = "end"
        if fault.harm != "none" and fault.operation <= len(done.operations):
            where = _kind_of(done.operations[fault.operation - 1])
        self.reached[f"{fault.harm} at {where}: exit {done.code}"] += 1
        if fault.harm in ("full disk", "short file") and where != "end":
            self.disk_failed = True
        self._check(done, fault, newest_before)
        return done

    def _refused(self, change: dict[str, Any], message: str) -> None:
        """Starts with something that a run does not go on with: one line, and nothing in the folder changes."""
        before = listing(self.folder)
        done = start(self.scene, self.folder, self.given, self.changing | change, Fault())
        assert done.code == EXIT_USAGE and message in done.output, done.output
        assert listing(self.folder) == before
        self.reached[f"refused: {message}"] += 1

    def _check(self, done: Attempt, fault: Fault, newest_before: int | None) -> None:
        """What holds after every attempt."""
        assert done.code in (EXIT_COMPLETE, EXIT_STOPPED, EXIT_USAGE, KILLED), done.output
        assert "Traceback" not in done.output, done.output
        assert (done.code == KILLED) <= (fault.harm == "kill")
        assert (done.code == EXIT_STOPPED) <= (fault.harm == "stop"), done.output
        assert (done.code == EXIT_USAGE) <= (fault.harm in ("full disk", "short file")), done.output

        newest = self._newest()
        if newest_before is not None and not self.damaged:
            assert newest is not None and newest >= newest_before, (newest_before, newest)
        self._check_checkpoints()
        self._check_records()
        marker = (self.folder / "PREEMPTED").exists()
        if done.code == EXIT_STOPPED and "stopped on request after step" in done.output:
            assert marker
        if has_card(self.folder / "model"):
            self._check_model()
        if done.code == EXIT_COMPLETE:
            assert has_card(self.folder / "model") and not marker
            self._check_complete()

    def _check_checkpoints(self) -> None:
        """The weights and the average of each whole checkpoint are those of its step; so is what is left of others."""
        for step in self._steps_kept():
            checkpoint, refusals = whole_checkpoint(self.folder, step)
            if refusals or checkpoint is None:
                assert self.damaged
                continue
            _assert_equal(load_file(checkpoint / "model.safetensors"), self.scene.weights[step])
            _assert_equal(moving_average_in(checkpoint), self.scene.averages[step] if self.changing["ema"] else {})
        for path in (self.folder / "checkpoints").glob("*.weights"):
            [left], refusals = whole_weights(self.folder, [step_of(path)])
            assert not refusals or self.damaged
            _assert_equal(load_file(left / "model.safetensors"), self.scene.weights[step_of(path)])

    def _check_records(self) -> None:
        """The metrics and visits of a step are those of the undisturbed run, once."""
        rows = _whole_rows(self.folder / "metrics.jsonl", self.disk_failed)
        losses = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
        assert len(dict(losses)) == len(losses)
        assert all(loss == self.scene.losses[step] for step, loss in losses)
        scores = [(row["step"], score_of(row)) for row in rows if "valid/wer" in row]
        assert len(dict(scores)) == len(scores)
        assert all(score == self.scene.scores[step] for step, score in scores)
        visits = _whole_rows(self.folder / "ledger" / "rank-00000.jsonl", self.disk_failed)
        assert len({row["step"] for row in visits}) == len(visits)
        assert all(row["keys"] == self.scene.visits[row["step"]] for row in visits)

    def _check_model(self) -> Provenance:
        """A model with a card is the best by the newest checkpoint, whose weights it has."""
        state = self._state()
        exported = read_provenance(self.folder / "model")
        assert exported is not None
        if not self.damaged:
            assert list(exported.compared["best"]) == [str(state.best_step)]
        weights = load_file(self.folder / "model" / "model.safetensors")
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[exported.dtype]
        wanted = self._wanted_weights(exported)
        _assert_equal(weights, {name: value.to(dtype) for name, value in wanted.items()})
        return exported

    def _wanted_weights(self, exported: Provenance) -> dict[str, Tensor]:
        """The weights that a model folder says it has, from those of the undisturbed run."""
        if exported.weights == "ema":
            return self.scene.weights[exported.step] | self.scene.averages[exported.step]
        steps = [int(step) for step in exported.compared[exported.weights]]
        assert max(steps) == exported.step
        return mean_of([self.scene.weights[step] for step in steps])

    def _check_complete(self) -> None:
        """What says complete is the best of all evaluations, and has all records."""
        state = self._state()
        exported = self._check_model()
        assert DTYPES[self.changing.get("export_dtype", "fp32")] == getattr(torch, exported.dtype)
        self.reached[f"exported: {exported.weights} of {', '.join(exported.compared)}"] += 1
        average, ema = self.changing.get("average", 0), self.changing["ema"]
        assert exported.compared.keys() == {"best"} | ({"average"} if average else set()) | ({"ema"} if ema else set())
        averaged = [int(step) for step in exported.compared.get("average", {})]
        assert len(averaged) <= average
        assert all(step == state.step or step % self.changing["save_steps"] == 0 for step in averaged)
        patience = self.changing["patience"]
        assert state.step == STEPS or 0 < patience <= state.stale_evaluations
        assert len(rows_of(self.folder / "eval" / "valid.jsonl")) > 0
        if self.disk_failed or self.damaged:
            return
        rows = rows_of(self.folder / "metrics.jsonl")
        assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, state.step + 1))
        scores = {row["step"]: score_of(row) for row in rows if "valid/wer" in row}
        assert exported.compared["best"].keys() == {str(min(scores, key=lambda step: (scores[step], step)))}
        final = [row for row in rows if "final/wer" in row][-1]
        if len(exported.compared) > 1:
            of_kinds = {kind: final_score(final, f"final/{kind}") for kind in exported.compared}
            assert final_score(final, "final") == of_kinds[exported.weights] == min(of_kinds.values())
        visits = rows_of(self.folder / "ledger" / "rank-00000.jsonl")
        assert [row["step"] for row in visits] == list(range(1, state.step + 1))

    def _steps_kept(self) -> list[int]:
        folder = self.folder / "checkpoints"
        return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-????????"))

    def _newest(self) -> int | None:
        newest, _ = whole_checkpoint(self.folder)
        return None if newest is None else step_of(newest)

    def _state(self) -> RunState:
        newest, _ = whole_checkpoint(self.folder)
        assert newest is not None
        return read_state(newest)


def final_score(row: dict[str, Any], prefix: str) -> tuple[float, float, float]:
    """What decides which weights are exported."""
    return row[f"{prefix}/wer"], row[f"{prefix}/cer"], row[f"{prefix}/loss"] or float("inf")


def _assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(found[name].equal(wanted[name]) for name in wanted)


def _whole_rows(path: Path, may_be_torn: bool) -> list[dict[str, Any]]:
    """The rows of a file, whose last line a disk may have cut short."""
    return rows_of(path)


def _kind_of(operation: str) -> str:
    """A file operation without the number of its step."""
    return "".join("N" if letter.isdigit() else letter for letter in operation).replace("NNNNNNNN", "N")


def draw_sequences(scene: Scene, count: int, steps: int) -> Counter[str]:
    """Draws so many sequences of up to so many events; returns what was reached."""
    reached: Counter[str] = Counter()
    machine = type("Drawn", (Sequence,), {"scene": scene, "reached": reached})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=count,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
            database=None,
            derandomize=os.environ.get("ASRSCALE_DRAW") != "anew",
            print_blob=False,
        ),
    )
    return reached


def test_the_undisturbed_run_has_something_to_choose_from(scene: Scene) -> None:
    best = min(scene.scores, key=lambda step: scene.scores[step])
    assert 1 < best < STEPS and len(set(scene.scores.values())) == STEPS


def test_whatever_happens_to_a_run_its_promises_hold(scene: Scene) -> None:
    reached = draw_sequences(scene, count=6, steps=5)
    assert sum(reached.values()) > 12


@pytest.mark.slow
def test_hundreds_of_sequences_keep_the_promises(scene: Scene) -> None:
    reached = draw_sequences(scene, count=int(os.environ.get("ASRSCALE_SEQUENCES", 200)), steps=10)
    for kind, count in sorted(reached.items()):
        print(f"{count:5} {kind}")
