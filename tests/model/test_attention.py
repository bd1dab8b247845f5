from pathlib import Path

import pytest
import torch
from helpers.models import noise

from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer
from asrscale.model.forward import forward_logits
from asrscale.model.recognizer import describe


def test_attention_implementations_agree_and_are_recorded(tmp_path: Path) -> None:
    build_recognizer("tiny", "abc", seed=3).save(tmp_path)
    waveforms, lengths = noise(16_000, 9_000)
    found = {}
    for attention in ("auto", "sdpa", "eager"):
        recognizer = build_recognizer(str(tmp_path), "abc", attention=attention)  # type: ignore[arg-type]
        recognizer.model.eval()
        found[describe(recognizer)["attention"]] = forward_logits(recognizer.model, recognizer, waveforms, lengths)
    assert found.keys() == {"sdpa", "eager"}
    assert torch.allclose(found["sdpa"], found["eager"], atol=1e-5)


def test_flash_attention_without_its_package_is_one_line() -> None:
    with pytest.raises(CliError, match="flash_attention_2 needs a GPU and the flash-attn package"):
        build_recognizer("tiny", "abc", attention="flash_attention_2")
