"""The Python API: what it returns, and that it neither prints nor ends the process nor changes other libraries."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import flip_bit, speak

import asrscale
from asrscale import AsrscaleError, Model
from asrscale.api import load_model, read_index
from asrscale.model.recognizer import Recognizer

TEXT = "bad dog god big age"


@pytest.fixture(scope="module")
def folder(tone_recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model"
    tone_recognizer.save(path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model(folder, device="cpu")


def test_a_file_is_transcribed_with_the_times_of_its_words(model: Model, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", speak(TEXT, seed=3), 16_000)
    transcript = model.transcribe(tmp_path / "clip.wav")
    assert transcript.text == TEXT
    assert [word.text for word in transcript.words] == TEXT.split()
    assert transcript.duration_seconds == pytest.approx(len(speak(TEXT, seed=3)) / 16_000)
    times = [(word.start_seconds, word.end_seconds) for word in transcript.words]
    assert all(start < end for start, end in times) and times == sorted(times)


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "stereo", "48 kHz"])
def test_samples_of_any_kind_are_transcribed(model: Model, kind: str) -> None:
    samples = speak(TEXT, seed=4)
    rate_hz = 16_000
    if kind == "float64":
        samples = samples.astype(np.float64)
    elif kind == "int16":
        samples = (samples * 32_767).astype(np.int16)
    elif kind == "stereo":
        samples = np.stack([samples, samples], axis=1)
    elif kind == "48 kHz":
        samples = np.repeat(samples, 3)
        rate_hz = 48_000
    assert model.transcribe(samples, rate_hz).text == TEXT


@pytest.mark.parametrize(
    ("audio", "rate_hz", "message"),
    [
        ("nowhere.wav", None, "nowhere.wav: no such file"),
        (np.zeros(16_000, np.float32), None, "samples need their sample_rate_hz"),
        (np.zeros(16_000, np.int32), 16_000, "samples of type int32: give float"),
        (np.zeros((2, 3, 4), np.float32), 16_000, r"samples of shape \(2, 3, 4\)"),
        (np.zeros(0, np.float32), 16_000, r"samples of shape \(0,\)"),
        (np.full(16_000, np.nan, np.float32), 16_000, "non-finite"),
        (np.zeros((100, 0), np.float32), 16_000, r"samples of shape \(100, 0\)"),
        (np.zeros((2, 16_000), np.float32), 16_000, "more channels than samples: give them transposed"),
        (np.zeros(16_000, np.float32), 0, "sample_rate_hz 0: give a rate from 1,000"),
        (np.zeros(16_000, np.float32), -16_000, "sample_rate_hz -16000"),
        (np.zeros(16_000, np.float32), float("nan"), "sample_rate_hz nan"),
        (np.zeros(16_000, np.float32), 8_000_000_000, "sample_rate_hz 8000000000"),
    ],
)
def test_what_cannot_be_transcribed_is_an_error_of_one_line(
    model: Model, audio: object, rate_hz: int | None, message: str
) -> None:
    with pytest.raises(AsrscaleError, match=message) as caught:
        model.transcribe(audio, rate_hz)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_pass_of_less_than_nothing_is_refused(model: Model, seconds: float, tone_shards: Path) -> None:
    calls = [
        lambda: model.transcribe(np.zeros(16_000, np.float32), 16_000, memory_cap_seconds=seconds),
        lambda: model.transcribe_files(["nowhere.wav"], memory_cap_seconds=seconds),
        lambda: model.evaluate(tone_shards / "valid", memory_cap_seconds=seconds),
    ]
    for call in calls:
        with pytest.raises(AsrscaleError, match=rf"^memory_cap_seconds {seconds}: give seconds, or 0"):
            call()


def test_several_files_are_transcribed_in_their_order(model: Model, tmp_path: Path) -> None:
    texts = ["bad", "dog bee", TEXT]
    for number, text in enumerate(texts):
        soundfile.write(tmp_path / f"{number}.wav", speak(text, seed=number), 16_000)
    found = model.transcribe_files(tmp_path / f"{number}.wav" for number in (2, 0, 1))
    assert [transcript.text for transcript in found] == [TEXT, "bad", "dog bee"]
    assert model.transcribe_files([]) == []
    with pytest.raises(AsrscaleError, match=r"nowhere\.wav: no such file"):
        model.transcribe_files([tmp_path / "0.wav", tmp_path / "nowhere.wav"])


def test_a_data_set_is_evaluated_as_the_command_does(
    model: Model,
    folder: Path,
    tone_shards: Path,
    tmp_path: Path,
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = model.evaluate(tone_shards / "valid")
    index = read_index(tone_shards / "valid")
    assert len(result.predictions) == result.errors.utterances == len(index)
    assert result == model.evaluate(index)
    words = ["--model", folder, "--data", tone_shards / "valid", "--out", tmp_path]
    done = run_command(sys.executable, "-m", "asrscale.evaluate", *words)
    assert done.returncode == 0, done.stderr
    assert f"{result.wer:.2%}  {result.cer:>6.2%}" in done.stdout
    assert [row.reference for row in result.predictions] == index.texts.to_pylist()


def test_damaged_utterances_are_listed(model: Model, own_shards: Path, capfd: pytest.CaptureFixture[str]) -> None:
    index = read_index(own_shards / "valid")
    flip_bit(index, 2)
    result = model.evaluate(index)
    assert len(result.predictions) == len(index) - 1
    [line] = result.damaged
    assert line.startswith(f"{index.name(2)}: checksum")
    assert capfd.readouterr() == ("", "")


def test_a_program_that_uses_it_sees_no_output_and_no_other_change(folder: Path, tone_shards: Path) -> None:
    program = f"""
import logging, os, sys
import asrscale
assert "torch" not in sys.modules, "import asrscale is light"
environment = dict(os.environ)
root = logging.getLogger().level
from transformers.utils import logging as transformers_logging
before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
model = asrscale.load_model({str(folder)!r})
result = model.evaluate({str(tone_shards / "valid")!r})
import asrscale.evaluate, asrscale.transcribe
assert asrscale.load_model and asrscale.read_index
assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before
assert logging.getLogger().level == root
changed = {{name for name in os.environ if os.environ[name] != environment.get(name)}}
assert changed <= {{"PYTORCH_CUDA_ALLOC_CONF"}}, changed
assert "deepspeed" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_names_of_the_package_are_documented() -> None:
    for name in set(asrscale.__all__) - {"__version__"}:
        assert getattr(asrscale, name).__doc__, name
    assert set(asrscale.__all__) <= set(dir(asrscale))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = asrscale.nothing
