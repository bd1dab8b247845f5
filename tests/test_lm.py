import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from conftest import Disk

from asrscale.common.errors import CliError
from asrscale.data.index import read_index
from asrscale.lm import LmOptions, run
from asrscale.model.building import build_recognizer
from asrscale.ngrams.storage import open_model, read_description
from asrscale.speech.normalisation import TextRules

Run = Callable[..., subprocess.CompletedProcess[str]]

WORDS = [f"{first}{last}" for first in "abcdefgh" for last in "stuvwxyz"]


def test_the_command_makes_a_model_without_sentences_of_evaluation_sets(
    tone_shards: Path, tmp_path: Path, run_command: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    valid = str(tone_shards / "valid")
    known_sentence = read_index([valid]).texts[0].as_py()
    (tmp_path / "text.txt").write_text(f"Bad dog!\nA word more\n{known_sentence}\n")
    out = tmp_path / "lm"
    words = ["--data", tone_shards / "train", "--text", tmp_path / "text.txt", "--eval", valid, "--out", out]
    refused = run_command(sys.executable, "-m", "asrscale.lm", *words)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "--exclude" in refused.stderr
    assert not out.exists() and {path.name for path in tmp_path.iterdir()} == {"text.txt"}
    text = (str(tmp_path / "text.txt"),)
    run(LmOptions(out=str(out), data=(str(tone_shards / "train"),), text=text, eval=(valid,), exclude=True, order=2))
    printed = capsys.readouterr().out
    assert f"{valid}: perplexity" in printed and "left out of the text" in printed
    assert {path.name for path in out.iterdir()} == {"ngrams.safetensors", "model.arpa.gz", "language_model.json"}
    known = read_description(out)
    assert known["left_out"] > 0 and known["evaluation"][valid]["perplexity"] > 1
    model, from_arpa = open_model(str(out)), open_model(str(out / "model.arpa.gz"))
    assert "more" in model.words and model.log10_sentence(["bad", "dog"]) == from_arpa.log10_sentence(["bad", "dog"])


def test_a_text_is_normalised_as_the_transcripts_of_a_model(tmp_path: Path) -> None:
    recognizer = build_recognizer("tiny", "abc", seed=5)
    recognizer.record_text_rules(TextRules(keep_case=True))
    recognizer.save(tmp_path / "model")
    (tmp_path / "text.txt").write_text("A b, C.\n")
    run(LmOptions(out=str(tmp_path / "lm"), text=(str(tmp_path / "text.txt"),), model=str(tmp_path / "model")))
    assert open_model(str(tmp_path / "lm")).words[3:] == ["A", "b", "C"]
    assert json.loads((tmp_path / "lm" / "language_model.json").read_text())["transcripts"]["keep_case"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "there is no text"),
        ({"text": ("TEXT",), "order": 6}, "--order 6"),
        ({"text": ("TEXT",), "exclude": True}, "--eval"),
        ({"text": ("TEXT",), "prune": (1,)}, "--prune"),
        ({"text": ("TEXT",), "prune": (0, 2, 1)}, "--prune"),
        ({"text": ("TEXT",), "prune": (0, 0, 0, 0)}, "--prune"),
        ({"text": ("TEXT",), "language": "x y"}, "no code of a language"),
        ({"text": ("nowhere",)}, "--text nowhere cannot be read"),
        ({"text": ("EMPTY",)}, "no sentence left"),
        ({"text": ("TEXT",), "out": "FULL"}, "something else"),
    ],
)
def test_what_cannot_be_followed_is_said_at_once(flags: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a b c\n")
    (tmp_path / "empty").write_text("...\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    files = {"TEXT": str(tmp_path / "text"), "EMPTY": str(tmp_path / "empty")}
    if "text" in flags:
        flags = {**flags, "text": tuple(files.get(file, file) for file in flags["text"])}
    out = str(tmp_path / ("full" if "out" in flags else "lm"))
    with pytest.raises(CliError, match=message):
        run(LmOptions(**{**flags, "out": out}))
    assert not (tmp_path / "lm").exists()


def test_a_full_disk_is_one_line_wherever_it_fills_up(disk: Disk, run_command: Run) -> None:
    """Sizes at which different files are the first without room: of counts, of probabilities, of the model."""
    random = Random(1)
    sentences = [" ".join(random.choices(WORDS, k=10)) for _ in range(8_000)]
    (disk.folder / "text.txt").write_text("\n".join(sentences))
    words = ["--text", disk.folder / "text.txt", "--order", 4, "--out", disk.folder / "lm"]
    for megabytes in (3, 9, 13):
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", disk.folder], check=True)
        done = run_command(sys.executable, "-m", "asrscale.lm", *words)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, (megabytes, done.stderr)
        assert "No space left on device: free some room and run it again" in done.stderr
        assert [path.name for path in disk.folder.iterdir()] == ["text.txt"]
