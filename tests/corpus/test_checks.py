"""Checks of recordings and transcripts."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.sources import SHARED, needs_shared_data

from asrscale.common.errors import AudioError, CliError
from asrscale.corpus import checks
from asrscale.corpus.checks import Rules, check_audio, check_length, check_text, read_rules, text_length
from asrscale.sources.opening import open_source
from asrscale.sources.recordings import open_audio
from asrscale.speech import decoding, pcm
from asrscale.speech.frames import WAV2VEC2, Convolution, FrameGeometry
from asrscale.speech.normalisation import normalise
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.speech.vocabulary import build_vocabulary

RULES = Rules(0.1, 20.0)


def write_checkpoint(folder: Path, tokens: list[str], **config: object) -> Path:
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def speech(seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE_HZ))
    return (level * np.clip(noise / 3, -1, 1)).astype(np.float32)


def reason(check: object, *arguments: object) -> str:
    with pytest.raises(AudioError) as caught:
        check(*arguments)
    name, colon, detail = str(caught.value).partition(": ")
    assert colon
    assert detail
    return name


def test_what_is_wrong_with_a_recording() -> None:
    check_audio(speech())
    check_audio(speech(level=0.002))
    nan = speech()
    nan[100] = np.nan
    assert reason(check_audio, nan) == "non-finite"
    assert reason(check_audio, speech(level=0.0009)) == "silent"
    assert reason(check_audio, speech(level=0) + 0.5) == "silent"  # a constant
    assert reason(check_audio, np.clip(speech(level=3.0), -1, 1)) == "clipped"


def test_clipping_is_a_share_of_the_samples() -> None:
    waveform = speech(level=0.5)
    waveform[: len(waveform) // 100] = 1.0  # 1.0 %: still kept
    check_audio(waveform)
    waveform[len(waveform) // 100] = -1.0
    assert reason(check_audio, waveform) == "clipped"


def check_pair(text: str, num_samples: int, rules: Rules) -> None:
    check_length(text_length(text, rules), num_samples, rules)


def test_lengths_and_speed() -> None:
    check_pair("a" * 3, 16_000, RULES)
    assert reason(check_pair, "a", 1_599, RULES) == "too short"
    words = "ab" * 20  # 40 characters
    check_pair(words, 16_000, RULES)
    assert reason(check_pair, words + "a", 16_000, RULES) == "too fast"


def test_ctc_needs_a_frame_a_label_and_one_between_equal_ones() -> None:
    rules = Rules(
        0.01, 20.0, geometry=FrameGeometry((Convolution(kernel=400, stride=800),))
    )  # 20 frames of 16,000 samples
    check_pair("ab" * 10, 16_000, rules)
    assert reason(check_pair, "ab" * 10 + "a", 16_000, rules) == "too short for its transcript"
    check_pair("aab" * 5, 16_000, rules)  # 15 labels and 5 repeats
    assert reason(check_pair, "aab" * 5 + "b", 16_000, rules) == "too short for its transcript"


def test_ctc_agrees_with_torch_on_what_is_infeasible() -> None:
    import torch

    rules = Rules(0.01, 20.0, geometry=FrameGeometry((Convolution(kernel=400, stride=800),)))
    ids = {"a": 1, "b": 2}
    rng = np.random.default_rng(0)
    for _ in range(60):
        text = "".join(rng.choice(["a", "b"], size=rng.integers(10, 22)))
        log_probs = torch.zeros(20, 1, 3).log_softmax(-1)
        labels = torch.tensor([[ids[letter] for letter in text]])
        loss = torch.nn.functional.ctc_loss(log_probs, labels, torch.tensor([20]), torch.tensor([len(text)]))
        try:
            check_pair(text, 16_000, rules)
            feasible = True
        except AudioError:
            feasible = False
        assert feasible == bool(torch.isfinite(loss)), text


def test_transcripts() -> None:
    check_text("schön 3", RULES)
    assert reason(check_text, "", RULES) == "empty transcript"
    rules = Rules(0.1, 20.0, build_vocabulary(""))
    check_text("it's fine", rules)
    with pytest.raises(AudioError, match=r"^unknown characters: '3ö' not in the vocabulary$"):
        check_text("schön 3", rules)


@pytest.mark.parametrize("special", [["<pad>", "<s>", "</s>", "<unk>", "|"], ["[PAD]", "[UNK]", "|"]])
def test_rules_of_a_checkpoint(tmp_path: Path, special: list[str]) -> None:
    folder = write_checkpoint(tmp_path / "model", [*special, *"ABC'"], conv_kernel=[400], conv_stride=[800])
    rules = read_rules(0.1, 20.0, str(folder))
    assert rules.geometry == FrameGeometry((Convolution(kernel=400, stride=800),))
    check_text("a b c", rules)  # in the vocabulary's own case
    assert reason(check_text, "abcd", rules) == "unknown characters"
    assert read_rules(0.1, 20.0, str(folder / "vocab.json")) == rules
    (folder / "config.json").write_text("[]")
    with pytest.raises(CliError, match=r"cannot be read \(config\.json holds no JSON object\)"):
        read_rules(0.1, 20.0, str(folder))
    (folder / "config.json").unlink()
    assert read_rules(0.1, 20.0, str(folder)).geometry == WAV2VEC2
    assert read_rules(0.1, 20.0, None) == RULES


def test_an_adapter_and_stacked_windows_make_fewer_frames(tmp_path: Path) -> None:
    """A second of audio is 49 frames of wav2vec2, and 7 behind the three layers that add_adapter has by default."""
    tokens = ["[PAD]", "[UNK]", "|", *"ABC"]
    settings: dict[str, dict[str, object]] = {
        "wav2vec2": {},
        "adapted": {"add_adapter": True},
        "kernel 5": {"add_adapter": True, "adapter_kernel_size": 5},
        "bert": {"model_type": "wav2vec2-bert"},
        "wide": {"model_type": "wav2vec2-bert", "feature_projection_input_dim": 320},
    }
    rules = {
        name: read_rules(0.1, 20.0, str(write_checkpoint(tmp_path / name, tokens, **own)))
        for name, own in settings.items()
    }
    longest = {"wav2vec2": 49, "adapted": 7, "kernel 5": 5, "bert": 49, "wide": 24}
    for name, labels in longest.items():
        text = ("abc" * 17)[: min(labels, 40)]  # no more than 40 characters a second are speech
        check_pair(text, 16_000, rules[name])
        if labels < 40:
            with pytest.raises(AudioError, match=f"too short for its transcript: {labels} frames where CTC needs"):
                check_pair(text + "c" * 2, 16_000, rules[name])
    assert len({one.fingerprint for one in rules.values()}) == len({repr(one) for one in rules.values()}) == 5


@pytest.mark.parametrize("content", [None, "", "[]", '{"a": 0}', '{"[PAD]": 0, "[UNK]": 5, "|": 1}', '{"a": {"b": 0}}'])
def test_a_checkpoint_without_a_usable_vocabulary_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(CliError) as caught:
        read_rules(0.1, 20.0, str(tmp_path))
    assert "\n" not in str(caught.value)


@needs_shared_data
def test_every_real_recording_passes() -> None:
    """The bounds leave room: nothing real is near them (measured in docs/experiments/data.md)."""
    for name in ("orders/cv-valid-dev.csv", "an4/an4_train.json", "ljspeech/manifest.json", "digits/dev.csv"):
        source = open_source(str(SHARED / name))
        for row in source.read_rows():
            waveform, rate = decoding.decode(open_audio(row, source.audio_root), 20, *row.segment)
            text, samples = normalise(row.text), len(pcm.resample(waveform, rate))
            check_text(text, RULES)
            check_audio(waveform)
            check_pair(text, samples, RULES)
            assert len(text) / samples * SAMPLE_RATE_HZ < checks.MAX_CHARACTERS_PER_SECOND / 1.5
