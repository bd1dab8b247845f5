import json
import pickle
import re
import struct
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import write_letters

from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer
from asrscale.model.checkpoints import load_config
from asrscale.model.pretrained import load_recognizer


@pytest.mark.parametrize("name", ["nosuchmodel", "./nosuch/folder", "/nosuch"])
def test_an_unknown_model_is_named(name: str) -> None:
    with pytest.raises(CliError, match=f"--model {name}: no such folder"):
        build_recognizer(name, "abc")


def test_a_hub_model_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CliError, match="--model nobody/nothing cannot be loaded") as caught:
        build_recognizer("nobody/nothing", "abc")
    assert "\n" not in str(caught.value)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "vocab_size": 5}')
    with pytest.raises(CliError, match="is a bert model: choose one of wav2vec2"):
        build_recognizer(str(tmp_path), "abc")


def test_a_model_without_a_vocabulary_cannot_be_loaded_to_transcribe(tmp_path: Path) -> None:
    build_recognizer("tiny", "abc").model.save_pretrained(tmp_path)
    with pytest.raises(CliError, match=r"has no vocabulary \(vocab\.json\), so it cannot transcribe"):
        load_recognizer(str(tmp_path))


def test_a_loaded_model_is_frozen_where_it_can_compute_in_slices_and_ready_to_transcribe(tmp_path: Path) -> None:
    build_recognizer("tiny", "abc").save(tmp_path)
    model = load_recognizer(str(tmp_path)).model
    assert not model.training
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if "feature_extractor" in name}


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize(
    "name",
    [
        "lm_head.bias",
        "wav2vec2.feature_extractor.conv_layers.0.conv.weight",
        "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
    ],
)
def test_a_weight_that_is_not_finite_is_named_whatever_loads_it(name: str, value: float, tmp_path: Path) -> None:
    recognizer = build_recognizer("tiny", "abc")
    with torch.no_grad():
        recognizer.model.get_parameter(name).flatten()[-1] = value
    recognizer.save(tmp_path)
    message = f"--model {tmp_path}: its weight {name} holds NaN or infinity"
    with pytest.raises(CliError, match=message):
        build_recognizer(str(tmp_path), "abc")
    with pytest.raises(CliError, match=message):
        load_recognizer(str(tmp_path))


def test_a_head_that_is_not_kept_may_hold_anything(tmp_path: Path) -> None:
    recognizer = build_recognizer("tiny", "abc")
    torch.nn.init.constant_(recognizer.model.lm_head.weight, float("nan"))
    recognizer.model.save_pretrained(tmp_path)  # without a vocabulary, the head is not kept
    assert torch.isfinite(build_recognizer(str(tmp_path), "abc", new_head=True).model.lm_head.weight).all()


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("conv_stride", [5, 0, 2, 2, 2, 2, 2], "a convolution of kernel 3 and stride 0 makes no frames"),
        ("conv_kernel", [-3, 3, 3, 3, 3, 2, 2], "a convolution of kernel -3 and stride 5 makes no frames"),
        ("conv_kernel", [10**9, 3, 3, 3, 3, 2, 2], "makes no frame of 0.5 s of audio"),
        ("conv_stride", "5", "Field 'conv_stride' with value '5'"),
        ("adapter_stride", 0, "a convolution of kernel 3 and stride 0 makes no frames"),
        ("num_adapter_layers", 10**9, "num_adapter_layers 1,000,000,000: no model has so many"),
        ("num_hidden_layers", 10**9, "its config.json says num_hidden_layers 1,000,000,000, which no model has"),
        ("hidden_size", {"a": [1]}, "Field 'hidden_size' expected int"),
    ],
)
def test_sizes_that_no_model_has_are_one_line_and_cost_nothing(
    setting: str, value: object, reason: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "wav2vec2", "add_adapter": True, setting: value}))
    with pytest.raises(CliError, match=rf"^--model .*{re.escape(reason)}") as error:
        load_config(str(config))
    assert "\n" not in str(error.value)


ODD = {
    "empty": b"",
    "list": b"[]",
    "number": b"1",
    "null": b"null",
    "torn": b'{"a": ',
    "bytes": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "odd values": b'{"a": [[]], "vocab_size": [], "conv_stride": 0, "pad_token": {}, "sampling_rate": {}}',
    "zeros": b'{"model_type": "wav2vec2", "conv_stride": [0, 0], "conv_kernel": [], "num_attention_heads": 0}',
    "infinite": b'{"model_type": "wav2vec2", "hidden_size": 1e999, "vocab_size": -1}',
    "pickle": pickle.dumps({"a": 1}),
    "header": struct.pack("<Q", 2**62) + b"{}",
}
FILES = (
    "config.json", "vocab.json", "tokenizer_config.json", "preprocessor_config.json", "special_tokens_map.json",
    "added_tokens.json", "model.safetensors",
)  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_whatever_a_file_of_a_checkpoint_holds_it_is_one_line(file: str, tmp_path: Path) -> None:
    write_letters(tmp_path)
    before = (tmp_path / file).read_bytes() if (tmp_path / file).exists() else None
    for name, content in ODD.items():
        (tmp_path / file).write_bytes(content)
        try:
            load_recognizer(str(tmp_path))
        except CliError as error:
            assert str(error).startswith(("--model ", str(tmp_path))) and "\n" not in str(error), (name, error)
    if before is not None:
        (tmp_path / file).write_bytes(before)
        load_recognizer(str(tmp_path))


@pytest.mark.parametrize("setting", ["attn_implementation", "_attn_implementation"])
def test_a_configuration_names_no_code(setting: str, tmp_path: Path) -> None:
    write_letters(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    hostile = {setting: "somebody/attention:kernel", "auto_map": {"AutoModelForCTC": "somebody/code--x.Y"}}
    (tmp_path / "config.json").write_text(json.dumps(config | hostile))
    recognizer = load_recognizer(str(tmp_path))
    assert recognizer.model.config._attn_implementation == "sdpa"
    recognizer.save(tmp_path / "saved")
    assert "somebody" not in (tmp_path / "saved/config.json").read_text()
