"""Which weights may be exported, and what averages are; test_final_model.py has whole runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.contexts import make_context
from safetensors.torch import save_file

from asrscale.common.atomic_files import write_json
from asrscale.model.building import build_recognizer
from asrscale.training import checkpoint
from asrscale.training.candidates import (
    Candidate,
    averaged_steps,
    averages_are_those_of,
    find_candidates,
    load_candidate,
)
from asrscale.training.checkpoint import RunState
from asrscale.training.run_context import RunContext


def test_averaged_are_the_last_step_and_those_on_schedule_before_it() -> None:
    assert averaged_steps(1000, save_steps=100, count=3) == [1000, 900, 800]
    assert averaged_steps(1050, save_steps=100, count=3) == [1050, 1000, 900]
    assert averaged_steps(250, save_steps=100, count=9) == [250, 200, 100]  # nothing is averaged that is not saved
    assert averaged_steps(40, save_steps=100, count=3) == [40]
    assert averaged_steps(1000, save_steps=100, count=1) == [1000]
    assert averaged_steps(1000, save_steps=100, count=0) == []


def test_the_steps_that_a_later_end_averages_are_among_those_that_were_kept() -> None:
    for step in range(1, 60):
        for end in range(step, step + 15):
            wanted = {one for one in averaged_steps(end, save_steps=7, count=4) if one <= step and one % 7 == 0}
            assert wanted <= set(averaged_steps(step, save_steps=7, count=4))


def write_checkpoint(folder: Path, step: int, context: RunContext, *, suffix: str = "") -> None:
    """A checkpoint whose trained weights are all its step, whose others are as they are, and whose average is -step."""
    target = folder / "checkpoints" / f"step-{step:08d}{suffix}"
    target.mkdir(parents=True)
    weights = {name: weight.detach().clone() for name, weight in context.recognizer.model.named_parameters()}
    trained = {name for name, weight in context.recognizer.model.named_parameters() if weight.requires_grad}
    values = {name: torch.full_like(weights[name], step) for name in trained}
    save_file(weights | values, target / "model.safetensors")
    save_file({f"weight_average/{name}": -value for name, value in values.items()}, target / "optimizer.safetensors")
    write_json(target / "state.json", {"step": step})
    manifest = {name: checkpoint._fingerprint(target / name) for name in checkpoint.FILES}
    write_json(target / "manifest.json", manifest)


@pytest.fixture
def context(tone_shards: Path, tmp_path: Path) -> RunContext:
    """Of a run with a frozen stem that averages three checkpoints, and has some."""
    made = replace(make_context(tone_shards, average=3, ema=0.9, save_steps=10), folder=tmp_path)
    made.recognizer.model.freeze_feature_encoder()
    write_checkpoint(tmp_path, 20, made, suffix=".weights")
    for step in (30, 35, 40):
        write_checkpoint(tmp_path, step, made)
    return made


END = RunState(step=40, best_step=35, evaluated_step=40)


def test_the_best_and_both_averages_may_be_exported(context: RunContext) -> None:
    candidates = find_candidates(context, END)
    names = ["best, of step 35", "average of 3, of steps 20, 30, 40", "moving average 0.9, at step 40"]
    assert [str(candidate) for candidate in candidates] == names
    assert [list(candidate.sources) for candidate in candidates] == [["35"], ["20", "30", "40"], ["40"]]
    for candidate, value in zip(candidates, (35, 30, -40), strict=True):
        loaded = build_recognizer("tiny", "", seed=5)
        load_candidate(loaded, candidate, context)
        initial = dict(context.recognizer.model.named_parameters())
        for name, weight in loaded.model.named_parameters():
            expected = torch.full_like(weight, value) if initial[name].requires_grad else initial[name]
            assert weight.equal(expected), (str(candidate), name)


def test_only_what_is_whole_is_averaged_and_the_rest_is_named(
    context: RunContext, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = context.folder / "checkpoints" / "step-00000020.weights" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert str(find_candidates(context, END)[1]) == "average of 2, of steps 30, 40"
    printed = capsys.readouterr().err
    assert f"{damaged.parent} are not whole: model.safetensors" in printed and "averaging 2 of 3 checkpoints" in printed


def test_what_was_compared_counts_as_long_as_the_same_would_be_compared(context: RunContext) -> None:
    compared = {candidate.kind: candidate.sources for candidate in find_candidates(context, END)}
    assert averages_are_those_of(context, END, compared)
    (context.folder / "checkpoints" / "step-00000030" / "manifest.json").unlink()
    assert averages_are_those_of(context, END, compared)  # it was whole when it was averaged
    less = {"average": {step: sha256 for step, sha256 in compared["average"].items() if step != "40"}}
    for other in (less, {"average": compared["average"] | {"10": ""}}, {"ema": {"40": ""}}, {"ema": {"30": ""}}):
        assert not averages_are_those_of(context, END, compared | other), other
    assert not averages_are_those_of(context, END, {"best": compared["best"]})
    assert not averages_are_those_of(context, replace(END, step=35), compared)


def test_a_long_average_is_named_by_its_ends() -> None:
    folders = tuple(Path(f"step-{step:08d}") for step in range(500, 3000, 500))
    assert str(Candidate("average", folders)) == "average of 5, of steps 500, 1,000, …, 2,500"
