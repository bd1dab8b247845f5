"""Weights in every form that a checkpoint has: as stock transformers reads them, or one line."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import LETTERS, sound, speaking_model, stock_logits, write_letters
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCTC, Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2Model

from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer
from asrscale.model.forward import forward_logits
from asrscale.model.pretrained import load_recognizer

WEIGHTS = "model.safetensors"


def old_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names that weight_norm gave before it was a parametrisation."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for name, weight in weights.items():
        for new, old in names.items():
            name = name.replace(new, old)
        renamed[name] = weight
    return renamed


def to_bin(folder: Path, model: Wav2Vec2ForCTC) -> None:
    (folder / WEIGHTS).unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def to_old_bin(folder: Path, model: Wav2Vec2ForCTC) -> None:
    (folder / WEIGHTS).unlink()
    torch.save(old_names(model.state_dict()), folder / "pytorch_model.bin")


def to_old_safetensors(folder: Path, model: Wav2Vec2ForCTC) -> None:
    save_file(old_names(model.state_dict()), folder / WEIGHTS, metadata={"format": "pt"})


def to_shards(folder: Path, model: Wav2Vec2ForCTC) -> None:
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="50KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2


def to_half(folder: Path, model: Wav2Vec2ForCTC) -> None:
    model.half().save_pretrained(folder)


def to_bf16(folder: Path, model: Wav2Vec2ForCTC) -> None:
    model.bfloat16().save_pretrained(folder)


def to_several_architectures(folder: Path, model: Wav2Vec2ForCTC) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings["architectures"] = ["Wav2Vec2ForPreTraining", "Wav2Vec2ForCTC"]
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    "change", [to_bin, to_old_bin, to_old_safetensors, to_shards, to_half, to_bf16, to_several_architectures]
)
def test_weights_are_those_of_stock_transformers(
    change: Callable[[Path, Wav2Vec2ForCTC], None], tmp_path: Path
) -> None:
    change(tmp_path, write_letters(tmp_path))
    stock = AutoModelForCTC.from_pretrained(tmp_path)
    pcm = sound()
    theirs = stock_logits(stock, pcm)
    ours = load_recognizer(str(tmp_path))
    assert ours.model.dtype == stock.dtype
    with torch.no_grad():
        logits = forward_logits(ours.model, ours, torch.from_numpy(pcm)[None], torch.tensor([len(pcm)]))[0]
    tolerance = {torch.float32: 1e-5, torch.float16: 0.01, torch.bfloat16: 0.05}[stock.dtype]
    assert (logits - theirs).abs().max() < tolerance * theirs.abs().max()
    trained = build_recognizer(str(tmp_path), "xyz").model
    assert trained.dtype == torch.float32  # in which it is trained, whatever it was saved in
    own = stock.float().state_dict()
    assert all(weight.equal(own[name]) for name, weight in trained.state_dict().items())


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("harm",))


def break_shards(folder: Path) -> None:
    to_shards(folder, write_letters(folder))
    next(folder.glob("model-00002-*")).unlink()


def break_harmful(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({"lm_head.weight": Harmful()}, folder / "pytorch_model.bin")


def break_plain_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful()))


def break_truncated(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def break_empty(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")


def break_head_size(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text()) | {"vocab_size": 31}
    (folder / "config.json").write_text(json.dumps(settings))
    ids = json.loads((folder / "vocab.json").read_text()) | {"é": 30}
    (folder / "vocab.json").write_text(json.dumps(ids))


def change_layers(folder: Path, layers: int) -> None:
    settings = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": layers}
    (folder / "config.json").write_text(json.dumps(settings))


def break_more_layers(folder: Path) -> None:
    change_layers(folder, 3)


def break_fewer_layers(folder: Path) -> None:
    change_layers(folder, 1)


def break_width(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text()) | {"intermediate_size": 48}
    (folder / "config.json").write_text(json.dumps(settings))


def break_headless(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    Wav2Vec2Model(Wav2Vec2Config.from_pretrained(folder)).save_pretrained(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_shards, "cannot be loaded: .*model-00002"),
        (break_harmful, r"pytorch_model\.bin is damaged, or holds more than weights, which may be harmful"),
        (break_plain_pickle, "cannot be loaded|is damaged"),
        (break_truncated, "cannot be loaded: .*not fully covered"),
        (break_empty, "cannot be loaded: "),
        (break_head_size, "its vocabulary has 31 tokens with blank 29, its head 30 tokens"),
        (break_more_layers, r"its file of weights lacks \d+ weights, such as wav2vec2\.encoder\.layers\.2"),
        (break_fewer_layers, r"config\.json has no place for \d+ weights, such as wav2vec2\.encoder\.layers\.1"),
        (break_width, r"its file of weights has other sizes for \d+ weights, such as wav2vec2\.encoder"),
        (break_headless, "has a vocabulary and no head, so it cannot transcribe"),
    ],
)
def test_what_would_ruin_a_model_is_one_line(
    damage: Callable[[Path], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_letters(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(CliError, match=message) as caught:
        load_recognizer("model")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("--model model")
    assert not (tmp_path / "harm").exists()
    if damage is not break_headless:
        with pytest.raises(CliError, match=message):
            build_recognizer("model", "abc")


def test_a_config_that_is_wrong_about_the_head_is_named(tmp_path: Path) -> None:
    model = write_letters(tmp_path)
    wide = speaking_model(len(LETTERS) + 2, pad_token_id=29)
    weights = model.state_dict() | {name: wide.state_dict()[name] for name in ("lm_head.weight", "lm_head.bias")}
    save_file(weights, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CliError, match="its vocabulary has 30 tokens with blank 29, its head 32 tokens"):
        load_recognizer(str(tmp_path))


def test_a_run_starts_with_a_new_head_where_the_checkpoint_has_a_vocabulary_only(tmp_path: Path) -> None:
    write_letters(tmp_path)
    break_headless(tmp_path)
    recognizer = build_recognizer(str(tmp_path), "xyz")
    assert recognizer.notes == (f"{tmp_path} has a vocabulary and no head: its head is drawn at random",)
    own = load_file(tmp_path / WEIGHTS)["encoder.layers.0.attention.k_proj.weight"]
    assert recognizer.model.wav2vec2.encoder.layers[0].attention.k_proj.weight.equal(own)
