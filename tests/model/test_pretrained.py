from pathlib import Path

import pytest
import torch

from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer
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
