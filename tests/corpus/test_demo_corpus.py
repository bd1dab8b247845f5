import csv
import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asrscale.common.errors import CliError
from asrscale.corpus import demo_corpus
from asrscale.corpus.demo_corpus import plan_corpus, sentences
from asrscale.demo import DemoOptions, run

UTTERANCES = 24  # a corpus of 24 + 4 + 4 + 4 clips

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed"
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "corpus"
    run(DemoOptions(out=str(out), utterances=UTTERANCES, workers=2))
    return out


def rows(corpus: Path, split: str) -> list[dict[str, str]]:
    with (corpus / f"cv-valid-{split}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_grammar_stays_within_its_alphabet_and_size() -> None:
    said = sentences()
    assert len(set(said)) == len(said)
    assert 9_000 < len(said) < 12_000
    assert [text for text in said if not re.fullmatch(r"[a-z']+( [a-z']+)*", text)] == []
    words = {word for text in said for word in text.split()}
    assert 65 <= len(words) <= 75
    assert {"what's", "don't"} <= words


def test_splits_share_no_sentence_and_the_new_voices_are_new() -> None:
    planned = plan_corpus(seed=42, utterances=4000)
    count = dict.fromkeys(("cv-valid-train", "cv-valid-dev", "cv-valid-test", "cv-valid-voices"), 0)
    owner: dict[str, str] = {}
    voices: dict[str, set[str]] = {name: set() for name in count}
    for utterance in planned:
        count[utterance.split] += 1
        voices[utterance.split].add(utterance.voice)
        assert owner.setdefault(utterance.text, utterance.split) == utterance.split
    assert list(count.values()) == [4000, 200, 300, 150]
    assert len(voices["cv-valid-train"]) == 16
    assert voices["cv-valid-dev"] == voices["cv-valid-test"] == voices["cv-valid-train"]
    assert len(voices["cv-valid-voices"]) == 4
    heard = {voice.split("+")[1] for voice in voices["cv-valid-train"]}
    assert not heard & {voice.split("+")[1] for voice in voices["cv-valid-voices"]}
    assert len({utterance.filename for utterance in planned}) == len(planned)


def test_choices_depend_on_the_seed_and_the_number_alone() -> None:
    small, large = (
        {utterance.filename: utterance for utterance in plan_corpus(42, utterances)} for utterances in (40, 400)
    )
    assert len(small) == 40 + 3 * 4
    assert small.items() <= large.items()
    # Fixed here, so that a change of the choices is seen (and CORPUS_VERSION raised).
    first = large["cv-valid-train/sample-000000.mp3"]
    assert (first.text, first.voice, first.pitch, first.words_per_minute, first.noise_seed) == (
        "call maria after six on sunday", "en+m1", 47, 183, 4_075_723_434,
    )  # fmt: skip
    assert (first.level_dbfs, first.snr_db) == pytest.approx((-17.81323, 32.63015), abs=1e-5)
    assert [utterance.text for utterance in plan_corpus(43, 40)] != [utterance.text for utterance in small.values()]


def test_all_training_words_are_heard_often_enough_to_learn() -> None:
    said = [utterance.text.split() for utterance in plan_corpus(42, 4000) if utterance.split == "cv-valid-train"]
    words = {word for text in sentences() for word in text.split()}
    assert min(sum(word in text for text in said) for word in words) >= 50


@needs_espeak
def test_every_voice_is_one_that_espeak_has() -> None:
    # espeak-ng falls back without a word on an unknown variant, so the files are looked at.
    import espeakng_loader

    variants = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    voices = {utterance.voice for utterance in plan_corpus(42, 40)}
    assert len(voices) == 20
    assert [voice for voice in voices if not (variants / voice.split("+")[1]).is_file()] == []


@needs_espeak
def test_an_unknown_voice_is_an_error_not_another_voice(tmp_path: Path) -> None:
    utterance = dataclasses.replace(plan_corpus(42, 20)[0], voice="en-gb")
    with pytest.raises(RuntimeError, match=r"cannot speak .* as en-gb"):
        demo_corpus.record(tmp_path, utterance)


@needs_espeak
def test_the_corpus_has_the_shape_of_common_voice(corpus: Path) -> None:
    planned = {utterance.filename: utterance for utterance in plan_corpus(42, UTTERANCES)}
    assert sorted(path.name for path in corpus.iterdir() if path.is_file()) == [
        "corpus.json", "cv-valid-dev.csv", "cv-valid-test.csv", "cv-valid-train.csv", "cv-valid-voices.csv",
    ]  # fmt: skip
    assert (corpus / "cv-valid-train.csv").read_text().splitlines()[0] == (
        "filename,text,up_votes,down_votes,age,gender,accent,duration"
    )
    listed = [row for split in ("train", "dev", "test", "voices") for row in rows(corpus, split)]
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
        for row in rows(corpus, split):
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
def test_a_corpus_that_is_there_is_left_alone(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    run(DemoOptions(out=str(corpus), utterances=UTTERANCES, workers=1))
    assert "already made" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    assert [path.name for path in corpus.parent.iterdir()] == [corpus.name]  # no scratch folder is left


@needs_espeak
def test_a_corpus_of_other_options_is_refused(corpus: Path) -> None:
    with pytest.raises(CliError, match="exists and is no demo corpus of these options"):
        run(DemoOptions(out=str(corpus), utterances=UTTERANCES, seed=7))


def test_a_folder_or_file_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "corpus.json").write_text('{"seed": ')
    for out in (folder, folder / "thesis.txt", torn):
        with pytest.raises(CliError, match=f"--out {re.escape(str(out))} exists and is no demo corpus"):
            run(DemoOptions(out=str(out), utterances=UTTERANCES))
    assert (folder / "thesis.txt").read_text() == "precious"


@needs_espeak
def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CliError, match="cannot be made"):
        run(DemoOptions(out=str(tmp_path / "file" / "corpus"), utterances=UTTERANCES))


@needs_espeak
def test_nothing_is_left_where_a_clip_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [dataclasses.replace(utterance, voice="nobody") for utterance in plan_corpus(42, UTTERANCES)]
    monkeypatch.setattr(demo_corpus, "plan_corpus", lambda seed, utterances: broken)
    with pytest.raises(RuntimeError, match="as nobody"):
        run(DemoOptions(out=str(tmp_path / "corpus"), utterances=UTTERANCES, workers=1))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_espeak_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CliError, match=re.escape("pip install 'asrscale[demo]'")):
        run(DemoOptions(out=str(tmp_path / "new" / "corpus"), utterances=UTTERANCES))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [["--utterances", "19"], ["--workers", "0"], ["--utterance", "100"]])
def test_bad_flags_exit_with_2_and_one_line(tmp_path: Path, flags: list[str]) -> None:
    out = tmp_path / "corpus"
    command = [sys.executable, "-m", "asrscale.demo", "--out", str(out), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert flags[0] in done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_espeak
def test_the_command_makes_a_corpus_and_says_what_comes_next(tmp_path: Path) -> None:
    out = tmp_path / "new" / "corpus"
    command = [sys.executable, "-m", "asrscale.demo", "--out", str(out), "--utterances", "20", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert f"32 clips, 20 voices in {out}" in done.stdout
    assert (
        f"python -m asrscale.shard --csv train={out}/cv-valid-train.csv,valid={out}/cv-valid-dev.csv,"
        f"test={out}/cv-valid-test.csv,voices={out}/cv-valid-voices.csv --audio_root {out} --out data/demo/shards"
    ) in done.stdout
    assert "speaking: 32/32 clips" in done.stderr
    assert json.loads((out / "corpus.json").read_text()) == {"corpus_version": 1, "seed": 3, "utterances": 20}
