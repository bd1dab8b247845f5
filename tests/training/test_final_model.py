"""The end of a run: when the model counts as complete."""

import json
import re
import resource
import shutil
from pathlib import Path

import pytest
import torch
from helpers.run_attempts import Fault, Harm
from helpers.run_scene import EMA, Scene, listing, moving_average_in, rows_of, start
from helpers.training import metric
from helpers.weights import mean_of
from safetensors.torch import load_file

from asrscale.common.errors import CliError
from asrscale.model.export import has_card, read_provenance
from asrscale.training import final_model
from asrscale.training.checkpoint import read_state, whole_checkpoint
from asrscale.training.config import train_config
from asrscale.training.run import train
from asrscale.training.settings import EvaluationSettings
from asrscale.training.watch import Watch


def test_the_model_is_complete_when_all_is_written_and_uploaded_before_the_ranks_leave(
    tone_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny", wandb="off")
    brief = dict(max_steps=1, warmup_steps=0, eval_utterances=4, push_to_hub="me/speech", export="onnx")
    config, watch, card = (
        train_config(**data, **brief, run=str(tmp_path)),
        Watch(tmp_path),
        tmp_path / "model/README.md",
    )
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setattr(
        "asrscale.training.final_model.plot_metrics",
        lambda folder, metric: (tmp_path / "nowhere" / "metrics.png").touch(),
    )
    with pytest.raises(FileNotFoundError):
        train(config, watch)
    assert len(metric(tmp_path, "final/wer")) == 1 and not card.exists()
    monkeypatch.undo()
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    seen = []

    def pushed(folder: Path, repo_id: str, *, public: bool) -> bool:
        assert watch.hang_seconds == float("inf")  # it may take as long as it likes
        assert not public
        return bool(seen.append(("push", watch.doing, card.exists())))

    def together() -> None:
        seen.append(("barrier", watch.doing, card.exists()))

    def written(folder: Path, settings: EvaluationSettings, language: str) -> None:
        seen.append((settings.export, watch.doing, card.exists()))

    monkeypatch.setattr("asrscale.training.final_model.write_other_formats", written)
    monkeypatch.setattr("asrscale.training.final_model.push_model", pushed)
    monkeypatch.setattr("asrscale.common.distributed.barrier", together)
    for _ in range(2):  # the second finds the run complete
        seen.clear()
        assert train(config, watch) == 0
        steps = [("onnx", "saving", True), ("push", "saving", True), ("barrier", "ending", True)]
        assert seen[-3:] == steps


def test_the_results_of_a_mix_are_those_of_each_data_set_too(
    tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_folder, valid_folder = str(tone_shards / "train"), str(tone_shards / "valid")
    data = dict(train=(f"{train_folder}=0.5", valid_folder), valid=(valid_folder, train_folder))
    config = train_config(**data, model="tiny", wandb="off", max_steps=1, warmup_steps=0, run=str(tmp_path))
    assert train(config, Watch(tmp_path)) == 0
    output, opening = capsys.readouterr()
    assert re.search(
        r"^mix: train [\d.]+ h × 0\.5 = [\d.]+ h, valid [\d.]+ h × 1: [\d.]+ h an epoch$", opening, re.MULTILINE
    )
    [header] = [number for number, line in enumerate(output.splitlines()) if line.startswith("data ")]
    lines = output.splitlines()[header + 1 : header + 4]
    assert [line[:8].strip() for line in lines] == ["valid", "train", "all data"]

    final = json.loads((tmp_path / "results.json").read_text())["final"]
    [logged] = [row for row in rows_of(tmp_path / "metrics.jsonl") if "final/wer" in row]
    card = (tmp_path / "model" / "README.md").read_text()
    assert list(final["by_data_set"]) == ["valid", "train"]
    for name, rates in final["by_data_set"].items():
        assert (logged[f"final/wer/{name}"], logged[f"final/cer/{name}"]) == (rates["wer"], rates["cer"])
        assert f"| word error rate of `{name}` | {rates['wer']:.2%} (" in card
    assert sum(rates["utterances"] for rates in final["by_data_set"].values()) == final["utterances"]
    assert "train` × 0.5, `" in card


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("export_model", "model"),
        ("write_jsonl", "valid.jsonl"),
        ("plot_metrics", "the results"),
        ("write_text", "the results"),
    ],
)
def test_a_full_disk_at_the_end_is_one_line_and_the_same_command_goes_on(
    place: str, what: str, tone_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny", wandb="off")
    config = train_config(**data, max_steps=1, warmup_steps=0, eval_utterances=4, run=str(tmp_path))
    original = getattr(final_model, place)

    def on_a_full_disk(*given: object, **named: object) -> object:
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))  # bytes a file
        try:
            return original(*given, **named)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    with monkeypatch.context() as patched:
        patched.setattr(final_model, place, on_a_full_disk)
        with pytest.raises(CliError, match=rf"{what} cannot be written \(.*\): make room in {tmp_path}, and") as caught:
            train(config, Watch(tmp_path))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("model.partial")) and not (tmp_path / "model" / "README.md").exists()
    assert train(config, Watch(tmp_path)) == 0 and (tmp_path / "model" / "README.md").exists()


SEED = 5  # with which runs get better and worse where these tests need it
EARLY = {"seed": SEED, "eval_steps": 1, "save_steps": 1, "patience": 1}  # steps 1 to 3 get better, and step 4 worse
TO_THE_END = EARLY | {"patience": 0, "max_steps": 6, "eval_steps": 2}  # steps 4 and 6 are evaluated next


def exported_step(run_folder: Path) -> int:
    provenance = read_provenance(run_folder / "model")
    assert provenance is not None
    return provenance.step


def operation_number(scene: Scene, folder: Path, wanted: str) -> int:
    """Which file operation of the attempt that goes on after an early end is `wanted`."""
    ended_early(scene, folder)
    done = start(scene, folder, scene.data("plain"), TO_THE_END, Fault())
    return done.operations.index(wanted) + 1


def ended_early(scene: Scene, folder: Path) -> None:
    """Makes a run that stopped early, with its model."""
    done = start(scene, folder, scene.data("plain"), EARLY, Fault())
    assert done.code == 0 and "stopped early after step 4" in done.output, done.output
    assert exported_step(folder) == 3


@pytest.mark.parametrize("harm", ["kill", "full disk"])
@pytest.mark.parametrize(
    "where", ["shutil.rmtree model.partial", "shutil.rmtree model", "open model/README.md.partial"]
)
def test_a_model_of_an_earlier_end_is_never_taken_for_the_last(
    harm: Harm, where: str, scene: Scene, tmp_path: Path
) -> None:
    """The run goes on after an early end, and its new export is cut short."""
    number = operation_number(scene, tmp_path / "measured", where)
    folder = tmp_path / "run"
    ended_early(scene, folder)
    cut = start(scene, folder, scene.data("plain"), TO_THE_END, Fault(harm, number, lasts=1000))
    assert cut.code != 0 and not has_card(folder / "model")
    done = start(scene, folder, scene.data("plain"), TO_THE_END, Fault())
    assert done.code == 0 and "is complete" not in done.output, done.output
    assert exported_step(folder) == read_state(newest_checkpoint(folder)).best_step
    again = start(scene, folder, scene.data("plain"), TO_THE_END, Fault())
    assert again.code == 0 and "is complete" in again.output, again.output


# The best of all steps is saved, too, and not averaged unless it is one of --save_steps.
AVERAGED = {"eval_steps": 1, "save_steps": 2, "save_total_limit": 1, "patience": 0, "average": 3, "ema": EMA}


@pytest.fixture(scope="module")
def averaged(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """An undisturbed run whose best is compared with averages, and its file operations."""
    folder = tmp_path_factory.mktemp("averaged") / "run"
    done = start(scene, folder, scene.data("plain"), AVERAGED, Fault())
    assert done.code == 0 and re.search(r"  exported\n", done.output), done.output
    return folder, done.operations


def test_averages_are_evaluated_beside_the_best_and_the_best_of_all_is_exported(
    averaged: tuple[Path, list[str]], scene: Scene
) -> None:
    folder, _ = averaged
    provenance = read_provenance(folder / "model")
    assert provenance is not None
    best = min(scene.scores, key=lambda step: scene.scores[step])
    assert [list(steps) for steps in provenance.compared.values()] == [[str(best)], ["2", "4", "6"], ["6"]]
    expected = {
        "best": scene.weights[best],
        "average": mean_of([scene.weights[step] for step in (2, 4, 6)]),
        "ema": scene.weights[6] | scene.averages[6],
    }
    [row] = [row for row in rows_of(folder / "metrics.jsonl") if "final/wer" in row]
    scores = {kind: tuple(row[f"final/{kind}/{name}"] for name in ("wer", "cer", "loss")) for kind in expected}
    assert len(set(scores.values())) == 3
    assert provenance.weights == min(scores, key=lambda kind: scores[kind])
    assert tuple(row[f"final/{name}"] for name in ("wer", "cer", "loss")) == scores[provenance.weights]
    weights = load_file(folder / "model" / "model.safetensors")
    assert all(weights[name].equal(value) for name, value in expected[provenance.weights].items())
    word = {"best": "best, of", "average": "average of 3,", "ema": "moving average 0.2,"}[provenance.weights]
    assert f"| weights | {word}" in (folder / "model" / "README.md").read_text()
    assert not (folder / "compared").exists()


# Rates at which the steps overshoot: the weights of a step are far worse than averages.
@pytest.mark.parametrize(("learning_rate", "seed", "kind"), [(0.8, 3, "ema"), (3.0, SEED, "average")])
def test_an_average_that_is_better_than_the_best_is_exported(
    learning_rate: float, seed: int, kind: str, scene: Scene, tmp_path: Path
) -> None:
    settings = {"seed": seed, "learning_rate": learning_rate, "eval_steps": 6, "save_steps": 1}
    settings |= {"save_total_limit": 9, "patience": 0}
    settings |= {"average": 3, "ema": 0.7}
    done = start(scene, tmp_path, scene.data("plain"), settings, Fault())
    assert done.code == 0, done.output
    provenance = read_provenance(tmp_path / "model")
    assert provenance is not None and provenance.weights == kind
    [row] = [row for row in rows_of(tmp_path / "metrics.jsonl") if "final/wer" in row]
    assert row["final/loss"] == row[f"final/{kind}/loss"] < row["final/best/loss"]

    folders = [tmp_path / "checkpoints" / f"step-{step:08d}" for step in (4, 5, 6)]
    saved = [load_file(folder / "model.safetensors") for folder in folders]
    expected = mean_of(saved) if kind == "average" else saved[-1] | moving_average_in(folders[-1])
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert all(weights[name].equal(value) for name, value in expected.items())
    again = start(scene, tmp_path, scene.data("plain"), settings, Fault())
    assert again.code == 0 and "is complete" in again.output


@pytest.mark.parametrize(
    ("harm", "where"),
    [
        ("kill", "step-00000004.partial/manifest"),
        ("kill", ".weights"),
        ("kill", "compared"),
        ("stop", "step-00000002.partial/manifest"),
        ("full disk", "step-00000004.partial/manifest"),
    ],
)
def test_averages_of_a_run_that_was_disturbed_are_those_of_one_that_was_not(
    harm: Harm, where: str, averaged: tuple[Path, list[str]], scene: Scene, tmp_path: Path
) -> None:
    """A request to stop saves another checkpoint, and a kill none: neither changes what is averaged."""
    undisturbed, operations = averaged
    number = next(n for n, name in enumerate(operations, start=1) if where in name)
    folder = tmp_path / "run"
    cut = start(scene, folder, scene.data("plain"), AVERAGED, Fault(harm, number))
    assert (cut.code == 0) == (harm == "full disk"), cut.output
    done = start(scene, folder, scene.data("plain"), AVERAGED, Fault())
    assert done.code == 0 and not list(folder.glob("*.partial")) and not (folder / "compared").exists()
    if harm == "full disk":
        assert "averaging 2 of 3 checkpoints" in cut.output  # step 4 could not be saved
        return
    for name in ("model.safetensors", "provenance.json"):
        assert (folder / "model" / name).read_bytes() == (undisturbed / "model" / name).read_bytes()


def test_another_average_is_exported_from_what_is_kept(
    averaged: tuple[Path, list[str]], scene: Scene, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(averaged[0], tmp_path / "run"))
    for average, steps in ((3, ["2", "4", "6"]), (2, ["4", "6"]), (9, ["2", "4", "6"]), (0, [])):
        changed = start(scene, folder, scene.data("plain"), AVERAGED | {"average": average}, Fault())
        assert changed.code == 0 and ("is complete" in changed.output) == (average == 3), changed.output
        provenance = read_provenance(folder / "model")
        assert provenance is not None and list(provenance.compared.get("average", {})) == steps
        again = start(scene, folder, scene.data("plain"), AVERAGED | {"average": average}, Fault())
        assert again.code == 0 and "is complete" in again.output
    refused = start(scene, folder, scene.data("plain"), AVERAGED | {"ema": 0.0}, Fault())
    assert refused.code == 2 and f"was started with --ema {EMA}, not 0.0" in refused.output


def test_matrices_of_lora_are_averaged_before_they_are_added_to_the_weights(scene: Scene, tmp_path: Path) -> None:
    settings = AVERAGED | {"lora_rank": 2, "save_steps": 1, "save_total_limit": 9}  # all are kept
    done = start(scene, tmp_path, scene.data("plain"), settings, Fault())
    assert done.code == 0, done.output
    provenance = read_provenance(tmp_path / "model")
    assert provenance is not None
    last = tmp_path / "checkpoints" / "step-00000006"
    saved = {step: load_file(last.with_name(f"step-{step:08d}") / "model.safetensors") for step in range(1, 7)}
    moving = moving_average_in(last)
    trained = {name for name in saved[1] if "lora_" in name or name.startswith("lm_head.")}
    assert moving.keys() == trained
    assert all(one[name].equal(saved[1][name]) for one in saved.values() for name in one.keys() - trained)
    [best] = provenance.compared["best"]
    expected = {
        "best": saved[int(best)],
        "average": mean_of([saved[step] for step in (4, 5, 6)]),
        "ema": saved[6] | moving,
    }[provenance.weights]
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert weights["lm_head.weight"].equal(expected["lm_head.weight"])
    name = "wav2vec2.encoder.layers.0.attention.q_proj"
    [a] = [value for key, value in expected.items() if f"{name}.lora_A" in key]
    [b] = [value for key, value in expected.items() if f"{name}.lora_B" in key]
    added = weights[f"{name}.weight"] - saved[1][f"{name}.base_layer.weight"]
    assert torch.allclose(added, b @ a, atol=1e-6)
    assert bool(added.any())


def test_weights_that_were_replaced_are_exported_again(scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ended_early(scene, folder)
    weights = folder / "model" / "model.safetensors"
    right = weights.read_bytes()
    weights.write_bytes(right[:-4] + b"1234")
    done = start(scene, folder, scene.data("plain"), EARLY, Fault())
    assert done.code == 0 and "is complete" not in done.output
    assert weights.read_bytes() == right


def test_a_finished_run_without_checkpoints_is_not_trained_over(scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ended_early(scene, folder)
    shutil.rmtree(folder / "checkpoints")
    before = listing(folder)
    done = start(scene, folder, scene.data("plain"), EARLY, Fault())
    assert done.code == 2 and "holds a finished model, and no checkpoint to go on from" in done.output
    assert listing(folder) == before


def test_a_complete_run_is_not_to_be_started_again(scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ended_early(scene, folder)
    (folder / "PREEMPTED").touch()  # as a start that was stopped has left it
    done = start(scene, folder, scene.data("plain"), EARLY, Fault())
    assert done.code == 0 and "is complete" in done.output
    assert not (folder / "PREEMPTED").exists()


def test_the_same_data_elsewhere_go_on_and_other_data_do_not(scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = start(scene, folder, scene.data("plain"), TO_THE_END, Fault("kill", 60))
    assert first.code == -9 and newest_checkpoint(folder)
    for split in ("train", "valid"):
        refused = start(scene, folder, scene.data(split), TO_THE_END, Fault())
        assert refused.code == 2 and f"(--{split}) has now" in refused.output, refused.output
    copied = shutil.copytree(scene.data("plain"), tmp_path / "copied")
    done = start(scene, folder, f"{copied}/.", TO_THE_END, Fault())
    assert done.code == 0 and "--train is" in done.output, done.output


def newest_checkpoint(run_folder: Path) -> Path:
    newest, _ = whole_checkpoint(run_folder)
    assert newest is not None
    return newest
