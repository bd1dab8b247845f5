from pathlib import Path

import pytest
import torch
from helpers.models import ONE_OF_EACH, noise, stock_model

from asrscale.common.errors import CliError
from asrscale.model.attention import attention_implementation, implementations
from asrscale.model.building import build_meta_recognizer, build_recognizer
from asrscale.model.forward import count_frames, forward_logits
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


@pytest.mark.parametrize("kind", [*ONE_OF_EACH, "conformer rotary"])
def test_each_implementation_that_a_family_has_computes_the_same_and_others_are_refused(
    kind: str, tmp_path: Path
) -> None:
    stock = stock_model(kind)
    stock.base_model.save_pretrained(tmp_path)
    waveforms, lengths = noise(16_000, 9_000, 9_320)
    found = []
    for attention in ("eager", "sdpa", "auto"):
        if attention not in implementations(stock.config):
            message = f"--attention {attention}: {stock.config.model_type} models do not have it: choose auto or eager"
            with pytest.raises(CliError, match=f"^{message}$"):
                build_recognizer(str(tmp_path), "abc", attention=attention, seed=1)
            with pytest.raises(CliError, match=f"^{message}$"):
                build_meta_recognizer(str(tmp_path), dtype=torch.float32, attention=attention)
            continue
        recognizer = build_recognizer(str(tmp_path), "abc", attention=attention, seed=1)
        found.append(forward_logits(recognizer.model.eval(), recognizer, waveforms, lengths))
        used = describe(recognizer)["attention"]
        assert used == {"auto": "eager" if kind == "wavlm" else "sdpa"}.get(attention, attention)
    frames = count_frames(stock, lengths).tolist()
    for logits in found[1:]:
        for row, count in enumerate(frames):
            torch.testing.assert_close(logits[row, :count], found[0][row, :count], atol=1e-5, rtol=0)


def test_a_family_without_flash_attention_says_so() -> None:
    config = stock_model("conformer relative").config
    with pytest.raises(CliError, match="wav2vec2-conformer models do not have it: choose auto or sdpa or eager"):
        attention_implementation("flash_attention_2", config)


def test_flash_attention_without_its_package_is_one_line() -> None:
    with pytest.raises(CliError, match="flash_attention_2 needs a GPU and the flash-attn package"):
        build_recognizer("tiny", "abc", attention="flash_attention_2")
