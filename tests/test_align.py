import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from conftest import speak

from asrscale.align import AlignOptions, run
from asrscale.common.errors import CliError
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_command_aligns_each_recording_with_the_text_beside_it(
    tone_recognizer: Recognizer, tmp_path: Path, run_command: Run
) -> None:
    tone_recognizer.save(tmp_path / "model")
    (tmp_path / "talks").mkdir()
    for name, text in (("a b.wav", "Big dog."), ("c.flac", "Bad, bad bee!")):
        path = tmp_path / "talks" / name
        soundfile.write(path, speak(text.lower().strip(".!").replace(",", ""), 1), SAMPLE_RATE_HZ)
        path.with_suffix(".txt").write_text(f"\ufeff{text}\n", encoding="utf-8")
    (tmp_path / "talks" / "d.wav").write_text("no sound")
    (tmp_path / "talks" / "d.txt").write_text("bee")
    start = [sys.executable, "-m", "asrscale.align", "--model", tmp_path / "model"]
    done = run_command(*start, "talks", "--format", "json", "--out", "times", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: 1 of 3 recordings could not be aligned"
    assert "talks/c.flac: 3 words, 0 with a score below 0.05" in done.stderr and "d.wav is left out: " in done.stderr
    found = json.loads((tmp_path / "times" / "c.json").read_text())
    assert [word["word"] for word in found["words"]] == ["Bad,", "bad", "bee!"]

    words = ["talks/a b.wav", "--text", "talks/c.txt", "--min_score", "0.5"]
    done = run_command(*start, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [(line[0], line[1], line[4]) for line in lines] == [("a_b", "1", word) for word in ("Bad,", "bad", "bee!")]
    assert all(len(line) == 6 and 0 <= float(line[5]) <= 1 for line in lines)
    assert "with a score below 0.5: 'Bad,' at " in done.stderr  # another recording's text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(audio=()), "no recording is named"),
        (dict(audio=("a.wav",)), r"a\.txt, the text of a recording, cannot be read: No such file"),
        (dict(audio=("a.wav", "b.wav"), text="LATIN"), "--text is of one recording"),
        (dict(audio=("a.wav",), text="LATIN"), "is not in UTF-8: convert it"),
        (dict(audio=("a.wav",), text="GOOD.txt", min_score=2.0), "--min_score must be from 0 to 1"),
        (dict(audio=("a.wav",), text="GOOD.txt", memory_cap_seconds=-1.0), "--memory_cap_seconds must be 0 or more"),
        (dict(audio=("GOOD.wav", "OTHER.wav")), "several recordings make a file each: give --out FOLDER"),
    ],
)
def test_bad_settings_end_before_any_work(
    given: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("LATIN").write_bytes("caf\u00e9".encode("latin1"))
    for name in ("GOOD.txt", "OTHER.txt"):
        Path(name).write_text("abc")
    with pytest.raises(CliError, match=message):
        run(AlignOptions(model="nowhere", **given))
