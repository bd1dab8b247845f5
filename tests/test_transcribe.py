import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import speak

from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.transcribe import TranscribeOptions, run

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_command_leaves_out_what_it_cannot_read(
    tone_recognizer: Recognizer, tmp_path: Path, run_command: Run
) -> None:
    tone_recognizer.save(tmp_path / "model")
    for name, text in (("a,b.wav", "big dog"), ("1e5.wav", "bad bee")):  # fire alone would split one, convert the other
        soundfile.write(tmp_path / name, speak(text, 1), SAMPLE_RATE_HZ)
    (tmp_path / "noise.ogg").write_text("no sound")
    soundfile.write(tmp_path / "nan.wav", np.full(16_000, np.nan, np.float32), SAMPLE_RATE_HZ, subtype="FLOAT")
    names = ["a,b.wav", "noise.ogg", "gone.wav", "nan.wav", "1e5.wav", "1e5.wav"]
    words = ["-m", "asrscale.transcribe", "--model", tmp_path / "model", *names, "--jsonl", "out.jsonl"]
    done = run_command(sys.executable, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == "a,b.wav\tbig dog\n1e5.wav\tbad bee\n"
    uncalibrated, *reasons, _, last = done.stderr.splitlines()
    assert uncalibrated.startswith("confidences are not calibrated: asrscale.evaluate --tune")
    assert [reason.split(": ")[0] for reason in reasons] == [
        "noise.ogg is left out", "gone.wav is left out", "nan.wav is left out",
    ]  # fmt: skip
    assert reasons[1].endswith("missing: no such file") and last == "error: 3 of 5 recordings could not be transcribed"
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["file"], row["text"]) for row in rows] == [("a,b.wav", "big dog"), ("1e5.wav", "bad bee")]
    assert [word["word"] for word in rows[0]["words"]] == ["big", "dog"]
    assert 0 < rows[0]["words"][0]["start_seconds"] < rows[0]["words"][1]["end_seconds"] < rows[0]["seconds"]


def test_a_full_disk_is_one_line_behind_the_text(tone_recognizer: Recognizer, tmp_path: Path, run_command: Run) -> None:
    tone_recognizer.save(tmp_path / "model")
    soundfile.write(tmp_path / "a.wav", speak("big dog", 1), SAMPLE_RATE_HZ)
    words = ["-m", "asrscale.transcribe", "--model", tmp_path / "model", tmp_path / "a.wav", "--jsonl", "/dev/full"]
    done = run_command(sys.executable, *words)
    assert (done.returncode, done.stdout) == (2, "big dog\n")
    assert (
        done.stderr.splitlines()[-1].startswith("error: --jsonl /dev/full: No space left")
        and "Traceback" not in done.stderr
    )


def test_folders_pipes_and_files_of_each_format(tone_recognizer: Recognizer, tmp_path: Path, run_command: Run) -> None:
    tone_recognizer.save(tmp_path / "model")
    for name, text in (("talks/b.wav", "big dog"), ("talks/day 1/a.flac", "bad bee"), ("c.wav", "bee")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, speak(text, 1), SAMPLE_RATE_HZ)
    (tmp_path / "talks" / "notes.txt").write_text("no sound")
    (tmp_path / "talks" / ".hidden.wav").write_text("no sound")
    start = [sys.executable, "-m", "asrscale.transcribe", "--model", tmp_path / "model"]
    done = run_command(*start, "talks", "c.wav", "talks/b.wav", "--format", "srt", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["out/b.srt", "out/day 1/a.srt", "out/c.srt"]
    assert "talks: 2 recordings, 1 other files are left out" in done.stderr
    assert (tmp_path / "out" / "day 1" / "a.srt").read_text().splitlines()[2] == "bad bee"

    piped = (tmp_path / "c.wav").read_bytes()
    words = [*start, "-", "--format", "vtt", "--by_word", "true"]
    piped_done = subprocess.run(list(map(str, words)), input=piped, capture_output=True, cwd=tmp_path, check=True)
    assert piped_done.stdout.decode().startswith("WEBVTT\n\n00:00:00.") and piped_done.stdout.endswith(b"\nbee\n")


def test_channels_of_a_call_are_speakers(
    tone_recognizer: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tone_recognizer.save(tmp_path / "model")
    left, right = speak("big dog", 1), speak("bad bee", 2)
    pause = np.zeros(8_000, np.float32)
    call = np.stack([np.concatenate([left, pause, 0 * right]), np.concatenate([0 * left, pause, right])], axis=1)
    soundfile.write(tmp_path / "call.wav", call, SAMPLE_RATE_HZ)
    soundfile.write(tmp_path / "same.flac", np.stack([left, left], axis=1), SAMPLE_RATE_HZ)
    soundfile.write(tmp_path / "opposite.flac", np.stack([left, -left], axis=1), SAMPLE_RATE_HZ)
    soundfile.write(tmp_path / "one.wav", np.stack([0 * left, left], axis=1), SAMPLE_RATE_HZ)
    files = [str(tmp_path / name) for name in ("call.wav", "same.flac", "opposite.flac", "one.wav")]
    options = TranscribeOptions(model=str(tmp_path / "model"), audio=tuple(files), channels=True)
    run(options)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-5:] == [
        f"{files[0]}\tspeaker 1: big dog", f"{files[0]}\tspeaker 2: bad bee", f"{files[1]}\tspeaker 1: big dog",
        f"{files[2]}\tspeaker 1: big dog", f"{files[3]}\tspeaker 2: big dog",
    ]  # fmt: skip
    for note in (
        "same.flac: channel 2 is the same",
        "opposite.flac: channel 2 is the opp",
        "one.wav: channel 1 is sil",
    ):
        assert note in printed.err
    assert printed.err.splitlines()[-1].startswith("transcribing: 4/4 s in ")

    run(replace(options, audio=(files[0],), format="json"))
    row = json.loads(capsys.readouterr().out)
    assert [(word["word"], word["speaker"][-1]) for word in row["words"]] == [
        ("big", "1"), ("dog", "1"), ("bad", "2"), ("bee", "2"),
    ]  # fmt: skip
    with pytest.raises(CliError, match="1 of 1 recordings"):
        run(replace(options, audio=(files[2],), channels=False))
    assert "cancel each other out: give --channels true" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(audio=()), "no recording is named"),
        (dict(audio=("asrscale",)), "no recording is named, or is in a folder that is"),
        (dict(audio=("a.wav", "b.wav"), format="srt"), "--format srt of several recordings is a file each: give --out"),
        (dict(audio=("a/x.wav", "b/x.mp3"), out="OUT", format="vtt"), r"a/x.wav and b/x.mp3 would both be x\.vtt"),
        (dict(out="pyproject.toml/x"), "--out pyproject.toml/x: Not a directory"),
        (dict(model="nowhere"), "--model nowhere: no such folder"),
        (dict(jsonl="nowhere/x.jsonl"), "--jsonl nowhere/x.jsonl cannot be written: No such file"),
    ],
)
def test_bad_settings_end_before_any_work(given: dict[str, object], message: str, tmp_path: Path) -> None:
    build_recognizer("tiny", "abc").save(tmp_path)
    with pytest.raises(CliError, match=message):
        run(TranscribeOptions(**dict(model=str(tmp_path), audio=("a.wav",)) | given))
