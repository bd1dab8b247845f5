"""Where a run starts."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.contexts import fit_quietly, make_context
from helpers.run_attempts import Attempt, Fault, attempt
from helpers.run_scene import rows_of
from helpers.training import metric

from asrscale.common import distributed
from asrscale.common.errors import CliError, TransientError
from asrscale.data.epoch_plan import plan_window
from asrscale.data.run_plan import EVEN_STEPS, RunPlan, plan_visit
from asrscale.model.export import read_provenance
from asrscale.model.recognizer import Recognizer
from asrscale.training.checkpoint import RunState
from asrscale.training.config import train_config
from asrscale.training.resume import choose_start
from asrscale.training.run import train
from asrscale.training.run_context import RunContext
from asrscale.training.run_folder import locked_run_folder, write_settings
from asrscale.training.watch import Watch


def test_the_run_folder_is_ours_before_a_checkpoint_is_chosen(
    tone_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is still saving elsewhere also drops old checkpoints; and reading them may hang."""
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny")
    config, watch = train_config(**data, run=str(tmp_path)), Watch(tmp_path)

    def chosen_too_early(folder: Path) -> None:
        raise AssertionError("chosen without the lock")

    with distributed.joined_ranks() as world, locked_run_folder(tmp_path, world), monkeypatch.context() as patched:
        patched.setattr("asrscale.training.checkpoint.whole_checkpoint", chosen_too_early)
        patched.setattr("asrscale.training.engine.joined_ranks", lambda: nullcontext(world))
        with pytest.raises(TransientError, match="is in use by another training, process"):
            train(config, watch)

    def hung(folder: Path) -> None:
        assert watch.rank == 0
        raise TimeoutError

    monkeypatch.setattr("asrscale.training.checkpoint.whole_checkpoint", hung)
    with pytest.raises(TimeoutError):
        train(config, watch)


@pytest.mark.parametrize(("name", "kind"), [("checkpoint", TransientError), ("seed", CliError)])
def test_a_checkpoint_that_some_ranks_do_not_see_yet_may_be_tried_again(
    name: str, kind: type[Exception], tone_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny")

    def with_another(value: object, world: distributed.World) -> list[object]:
        return [value, value | {name: 7} if isinstance(value, dict) else value]

    monkeypatch.setattr("asrscale.common.distributed.gather_objects", with_another)
    with pytest.raises(kind, match=f"the ranks do not agree on {name}: "):
        train(train_config(**data, run=str(tmp_path)), Watch(tmp_path))


BRIEF = {
    "max_steps": 3, "warmup_steps": 0, "learning_rate": 0.03, "batch_seconds": 3.0, "units_per_step": 1,
    "eval_steps": 1, "eval_utterances": 8, "patience": 0, "log_steps": 1, "wandb": "off",
    "config": "ds_configs/zero0.json", "decode_threads": 1, "mask_time_prob": 0.0, "mask_feature_prob": 0.0,
}  # fmt: skip


def attempt_at(run_folder: Path, shards: Path, model: Path, fault: Fault) -> Attempt:
    """One attempt at a run that gets worse from its first step on."""
    flags = BRIEF | {"train": shards / "train", "valid": shards / "valid", "model": model, "run": run_folder}
    return attempt([str(word) for name, value in flags.items() for word in (f"--{name}", value)], run_folder, fault)


def test_a_run_that_is_killed_around_its_step_0_ends_as_if_nothing_had_happened(
    tone_recognizer: Recognizer, tone_shards: Path, tmp_path: Path
) -> None:
    model = tmp_path / "tones"
    tone_recognizer.save(model)
    undisturbed = tmp_path / "undisturbed"
    done = attempt_at(undisturbed, tone_shards, model, Fault())
    assert done.code == 0, done.output
    assert "the best model is the one it began with" in done.output
    assert done.output.count("evaluations in a row were worse") == 1
    exported = read_provenance(undisturbed / "model")
    assert exported is not None and exported.step == 0
    assert "best, of step 0, with which the run began" in (undisturbed / "model" / "README.md").read_text()

    first = next(n for n, what in enumerate(done.operations, start=1) if "eval/step-00000000" in what)
    saved = next(n for n, what in enumerate(done.operations, start=1) if "checkpoints/best" in what)
    results = json.loads((undisturbed / "results.json").read_text())
    assert results["while_training"]["best"] == results["while_training"]["before"] and results["metric"] == "wer"
    assert results["while_training"]["last"]["wer"] == metric(undisturbed, "valid/wer")[3]
    assert results["final"]["wer"] == metric(undisturbed, "final/wer")[3]

    faults = [Fault("kill", first - 1), Fault("stop", first), Fault("kill", saved - 4), Fault("kill", saved + 1)]
    for fault in faults:
        folder = tmp_path / f"{fault.harm}-{fault.operation}"
        cut = attempt_at(folder, tone_shards, model, fault)
        assert cut.code == (-9 if fault.harm == "kill" else 75), cut.output
        again = attempt_at(folder, tone_shards, model, Fault())
        assert again.code == 0, again.output
        for name in ("train/loss", "valid/wer", "valid/loss", "valid/wer_before"):
            assert metric(folder, name) == metric(undisturbed, name), fault
        evaluations = [row for row in rows_of(folder / "metrics.jsonl") if "valid/wer" in row]
        assert [row["step"] for row in evaluations] == [0, 1, 2, 3]


def test_a_run_keeps_the_weights_of_its_data_sets(tone_shards: Path, tmp_path: Path, world: distributed.World) -> None:
    a, b = str(tone_shards / "train"), str(tone_shards / "valid")

    def context(*train: str, **settings: object) -> RunContext:
        settings |= dict(max_steps=1, warmup_steps=0, run=str(tmp_path))
        return replace(make_context(tone_shards, train=train, **settings), world=world, folder=tmp_path)

    def resume(own: RunContext) -> int:
        return choose_start(own.config, own.plan, own.content, own.recognizer, world)[1].step

    began = context(a, f"{b}=0.5")
    fit_quietly(began, RunState())
    write_settings(began, {})
    assert resume(context(a, f"{b}=0.50")) == 1
    message = r"was started with the weights 1, 0\.5, not 1, 0\.7 of train, valid \(--train\): go on with the old ones"
    with pytest.raises(CliError, match=message):
        resume(context(a, f"{b}=0.7"))
    with pytest.raises(CliError, match=r"weights 1, 0\.5, not 1, 1 of train, valid"):
        resume(context(a, b))
    with pytest.raises(CliError, match=r"was started with --mix_temperature 1\.0, not 2\.0: go on with the old value"):
        resume(context(a, b, mix_temperature=2.0))

    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["weights"], settings["mix_temperature"]  # as older versions wrote it
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert resume(context(a, b)) == 1
    with pytest.raises(CliError, match=r"weights 1, 1, not 1, 0\.5 of"):
        resume(began)


@pytest.mark.parametrize("older", [{"equal_frames": True}, {}], ids=["equal frames", "by length"])
def test_a_run_that_an_older_version_began_keeps_the_order_of_its_utterances(
    older: dict[str, bool],
    tone_shards: Path,
    tmp_path: Path,
    world: distributed.World,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = dict(max_steps=1, warmup_steps=0, run=str(tmp_path), batch_seconds=2.0)
    own = replace(make_context(tone_shards, **settings), world=world, folder=tmp_path)
    fit_quietly(own, RunState())
    write_settings(own, {})

    def plan_to_go_on_with() -> RunPlan:
        return choose_start(own.config, own.plan, own.content, own.recognizer, world)[2]

    assert plan_to_go_on_with() == own.plan
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert recorded.pop("plan_rules") == EVEN_STEPS and recorded.pop("equal_frames")
    (tmp_path / "config.json").write_text(json.dumps(recorded | older))  # as older versions wrote it
    plan = plan_to_go_on_with()
    assert "an older asrscale began this run" in capsys.readouterr().err
    assert plan.fingerprint != own.plan.fingerprint

    # Its steps are those of then, and stay so when it is interrupted again.
    visit = plan_visit(plan, 0)
    before = plan_window(
        visit.computed_samples, seed=plan.seed, epoch=0, window=0, steps=int(plan.steps[0]),
        units_per_step=plan.units_per_step, frames=visit.computed_frames if older else None, even_steps=False,
    )  # fmt: skip
    assert np.array_equal(visit.plan.utterances, before.utterances)
    assert not np.array_equal(plan_visit(own.plan, 0).plan.utterances, before.utterances)
    write_settings(replace(own, plan=plan), {})
    assert plan_to_go_on_with().rules == plan.rules < EVEN_STEPS

    for unknown in (EVEN_STEPS + 1, "even", None):
        (tmp_path / "config.json").write_text(json.dumps(recorded | {"plan_rules": unknown}))
        with pytest.raises(CliError, match="was begun by a newer asrscale"):
            plan_to_go_on_with()
