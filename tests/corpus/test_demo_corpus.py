"""The demo's corpus as a whole: its shape, and what is made, left alone or refused."""

import csv
import dataclasses
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.demo import needs_espeak

from asrscale.common.errors import CliError
from asrscale.corpus import demo_corpus
from asrscale.corpus.demo_corpus import make_corpus
from asrscale.corpus.demo_plan import plan_corpus

UTTERANCES = 24  # a corpus of 24 + 4 + 4 + 4 clips


def make(out: Path, *, seed: int = 42, workers: int = 2) -> None:
    make_corpus(str(out), seed=seed, utterances=UTTERANCES, workers=workers)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "corpus"
    make(out)
    return out


def csv_rows(corpus: Path, split: str) -> list[dict[str, str]]:
    with (corpus / f"cv-valid-{split}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@needs_espeak
def test_the_corpus_has_the_shape_of_common_voice(corpus: Path) -> None:
    planned = {utterance.filename: utterance for utterance in plan_corpus(42, UTTERANCES)}
    assert sorted(path.name for path in corpus.iterdir() if path.is_file()) == [
        "corpus.json", "cv-valid-dev.csv", "cv-valid-test.csv", "cv-valid-train.csv", "cv-valid-voices.csv",
    ]  # fmt: skip
    assert (corpus / "cv-valid-train.csv").read_text().splitlines()[0] == (
        "filename,text,up_votes,down_votes,age,gender,accent,duration"
    )
    listed = [row for split in ("train", "dev", "test", "voices") for row in csv_rows(corpus, split)]
    assert [row["filename"] for row in listed] == list(planned)
    assert {path.relative_to(corpus).as_posix() for path in corpus.rglob("*.mp3")} == set(planned)
    for row in listed:
        utterance = planned[row["filename"]]
        assert (row["text"], row["accent"], row["age"]) == (utterance.text, utterance.voice, "")
        assert row["gender"] == {"m": "male", "f": "female"}[utterance.voice.split("+")[1][0]]
        assert (row["up_votes"], row["down_votes"]) == ("1", "0")


@needs_espeak
def test_clips_are_48_khz_mp3_of_sane_level_and_length(corpus: Path) -> None:
    for split in ("train", "dev", "test", "voices"):
        for row in csv_rows(corpus, split):
            path = corpus / row["filename"]
            info = soundfile.info(path)
            assert (info.format, info.samplerate, info.channels) == ("MP3", 48_000, 1)
            samples, _ = soundfile.read(path)
            assert row["duration"] == f"{len(samples) / 48_000:.3f}"
            assert 1.0 < len(samples) / 48_000 < 5.0
            assert np.abs(samples).max() < 1.0
            assert -26.0 < 20 * np.log10(np.sqrt(np.mean(samples**2))) < -15.0
            # What precedes and follows the speech is short, and a room rather than digital silence.
            loud = np.flatnonzero(np.abs(samples) > 0.2 * np.abs(samples).max())
            for edge in (samples[: loud[0]], samples[loud[-1] :]):
                assert 0.05 < len(edge) / 48_000 < 0.5
            background = samples[2_400:4_800]  # 0.05 to 0.1 s
            assert 1e-4 < np.sqrt(np.mean(background**2)) < 0.02


@needs_espeak
def test_a_corpus_that_is_already_made_is_left_alone(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    make(corpus, workers=1)
    assert "already made" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    assert [path.name for path in corpus.parent.iterdir()] == [corpus.name]  # no scratch folder is left


@needs_espeak
def test_a_corpus_of_other_options_is_refused(corpus: Path) -> None:
    with pytest.raises(CliError, match="exists and is no demo corpus of these options"):
        make(corpus, seed=7)


def test_a_folder_or_file_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "corpus.json").write_text('{"seed": ')
    for out in (folder, folder / "thesis.txt", torn):
        with pytest.raises(CliError, match=f"--out {re.escape(str(out))} exists and is no demo corpus"):
            make(out)
    assert (folder / "thesis.txt").read_text() == "precious"


@needs_espeak
def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CliError, match="cannot be made"):
        make(tmp_path / "file" / "corpus")


@needs_espeak
def test_nothing_is_left_where_a_clip_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [dataclasses.replace(utterance, voice="nobody") for utterance in plan_corpus(42, UTTERANCES)]
    monkeypatch.setattr(demo_corpus, "plan_corpus", lambda seed, utterances: broken)
    with pytest.raises(RuntimeError, match="as nobody"):
        make(tmp_path / "corpus", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_espeak_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CliError, match=re.escape("pip install 'asrscale[demo]'")):
        make(tmp_path / "new" / "corpus")
    assert list(tmp_path.iterdir()) == []
