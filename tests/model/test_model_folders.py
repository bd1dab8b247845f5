import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import write_letters, write_letters_processor
from helpers.models import noise
from safetensors.torch import save_file

from asrscale.common.errors import CliError
from asrscale.model.building import build_meta_recognizer, build_recognizer
from asrscale.model.forward import count_frames, forward_logits, greedy_texts
from asrscale.model.lora import add_lora
from asrscale.model.model_folders import check_has_weights, find_model
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer


def texts(recognizer: Recognizer) -> list[str]:
    waveforms, lengths = noise(16_000, 24_000)
    recognizer.model.eval()
    with torch.no_grad():
        logits = forward_logits(recognizer.model, recognizer, waveforms, lengths)
    return greedy_texts(recognizer, logits, count_frames(recognizer.model, lengths))


def write_run(run: Path, seeds: dict[int, int], *, lora_rank: int = 0) -> dict[int, Recognizer]:
    """Writes the checkpoints of a run, with weights by the seed of each step; returns their models."""
    run.mkdir(parents=True)
    (run / "config.json").write_text('{"model": "tiny", "train": ["x"]}')
    models = {}
    for step, seed in seeds.items():
        recognizer = models[step] = build_recognizer("tiny", "abc", seed=seed)
        torch.nn.init.normal_(recognizer.model.lm_head.weight, std=2.0)
        if lora_rank:
            add_lora(recognizer.model, lora_rank)
            for name, weight in recognizer.model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(weight, std=0.1)  # as after some training: they begin at 0
        folder = run / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        save_file(recognizer.model.state_dict(), folder / "model.safetensors")
        recognizer.save_settings(run / "checkpoints")
    return models


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_run_and_its_checkpoints_are_models(lora_rank: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    models = write_run(run, {4: 1, 8: 2}, lora_rank=lora_rank)
    (run / "checkpoints" / "best").write_text("step-00000004\n")
    (run / "checkpoints" / "latest").write_text("step-00000008\n")
    expected = {step: texts(model) for step, model in models.items()}
    assert expected[4] != expected[8] and all(expected[4])

    checkpoints = run / "checkpoints"
    for name, step in {
        checkpoints / "step-00000008": 8,
        checkpoints / "latest": 8,
        checkpoints / "best": 4,
        checkpoints: 4,
        run: 4,
    }.items():
        assert texts(load_recognizer(str(name))) == expected[step], name
    assert find_model(str(run)).notes == (
        f"{run} is a run without a finished model: using its best checkpoint, {checkpoints / 'step-00000004'}",
    )
    again = build_recognizer(str(run), "xyz", seed=9)
    assert texts(again) == expected[4] and again.vocabulary == models[4].vocabulary
    assert all(weight.requires_grad for weight in again.model.parameters())
    masked = build_recognizer(str(run), "xyz", mask_time_prob=0.1).model  # a run without SpecAugment has no mask vector
    sketch = build_meta_recognizer(str(run), dtype=torch.float32).model
    assert {name: weight.shape for name, weight in sketch.named_parameters()} == {
        name: weight.shape for name, weight in masked.named_parameters()
    }

    models[8].save(run / "model")
    (run / "model" / "README.md").touch()
    if not lora_rank:  # an export has its matrices merged
        assert texts(load_recognizer(str(run))) == expected[8]
    assert find_model(str(run)).notes == (f"{run} is a run: using its model, {run / 'model'}",)


def test_a_run_that_has_nothing_yet_and_one_of_an_older_version_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {4: 1})
    with pytest.raises(CliError, match="is a run without a model or a checkpoint yet"):
        find_model(str(tmp_path / "run"))
    (tmp_path / "run" / "checkpoints" / "config.json").unlink()
    with pytest.raises(CliError, match=r"has no config\.json, .* an older asrscale began the run: go on with the run"):
        find_model(str(tmp_path / "run" / "checkpoints" / "step-00000004"))
    (tmp_path / "run" / "checkpoints" / "best").write_text("step-00000009\n")
    with pytest.raises(CliError, match=r"step-00000009: there is no such checkpoint"):
        find_model(str(tmp_path / "run"))


def test_a_trainers_checkpoint_has_its_vocabulary_from_the_folder_above(tmp_path: Path) -> None:
    model = write_letters(tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").unlink()
    checkpoint = tmp_path / "out" / "checkpoint-500"
    model.save_pretrained(checkpoint)
    found = load_recognizer(str(checkpoint))
    assert found.notes == (f"{checkpoint} has no vocab.json: using that of {tmp_path / 'out'}",)
    assert found.vocabulary.tokens[:2] == ("'", "a") and texts(found)[0]
    assert torch.equal(build_recognizer(str(checkpoint), "xyz").model.lm_head.weight, model.lm_head.weight)

    with pytest.raises(CliError, match=r"out has no weights itself: give one of its checkpoints, checkpoint-500"):
        load_recognizer(str(tmp_path / "out"))
    (tmp_path / "out" / "config.json").unlink()
    with pytest.raises(CliError, match=r"out has no weights itself: give one of its checkpoints, checkpoint-500"):
        load_recognizer(str(tmp_path / "out"))
    # A vocabulary of its own is nearer.
    write_letters_processor(checkpoint)
    assert not load_recognizer(str(checkpoint)).notes


def test_a_vocabulary_above_that_is_of_another_head_is_refused(tmp_path: Path) -> None:
    model = write_letters(tmp_path)
    model.save_pretrained(tmp_path / "checkpoint-7")
    ids = {token: id for id, token in enumerate(["a", "|", "[UNK]", "[PAD]"])}
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    with pytest.raises(CliError, match="its vocabulary has 4 tokens with blank 3, its head 30 tokens with blank 29"):
        load_recognizer(str(tmp_path / "checkpoint-7"))


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"has no weights: none of model\.safetensors, "):
        load_recognizer(str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CliError, match=r"is no model folder: it has no config\.json"):
        load_recognizer(str(tmp_path))


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """For whom permissions count, unlike for root."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.mark.parametrize("locked", ["", "model.safetensors"])
def test_what_may_not_be_read_is_named_and_does_not_count_as_missing(locked: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:  # pytest's own is for its user alone
        folder = Path(scratch) / "model"
        write_letters(folder)
        Path(scratch).chmod(0o755)
        (folder / locked).chmod(0)
        with (
            as_somebody_else(),
            pytest.raises(CliError, match=rf"cannot be read, permission denied: {folder}") as caught,
        ):
            load_recognizer(str(folder))
        assert "\n" not in str(caught.value)
        folder.chmod(0o755)


@pytest.mark.parametrize("named", ["../../private", "/private", ".", "", "step-1", "\udcff"])
def test_a_pointer_to_what_is_no_checkpoint_beside_it_is_refused(named: str, tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    pointer = tmp_path / "run/checkpoints/best"
    pointer.write_bytes(named.encode("utf-8", "surrogateescape"))
    for name in (tmp_path / "run", pointer):
        with pytest.raises(CliError, match="best is damaged, it names no checkpoint"):
            find_model(str(name))


@pytest.mark.parametrize("content", ['{"weight_map": {"a": "../private/model.safetensors"}}', '{"weight_map": 1}', "["])
def test_an_index_of_weights_leads_to_no_other_folder(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CliError, match=r"index\.json is damaged"):
        check_has_weights(tmp_path)
