"""The statistics of data set folders as text."""

import re
from dataclasses import replace
from pathlib import Path

from helpers.sharding import shard, write_clip, write_csv

from asrscale.corpus.statistics import FolderStatistics, SharedContent, Statistics
from asrscale.corpus.statistics_report import format_statistics
from asrscale.data.index import read_index
from asrscale.speech.normalisation import TextRules


def test_what_folders_share_is_printed_by_a_build_and_by_stats(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write_clip(tmp_path / name)
    header = "filename,text,client_id"
    train = [("a.wav", "Same words!", "ann"), ("b.wav", "other words", "bob"), ("a.wav", "said again", "ann")]
    one = write_csv(tmp_path / "t.csv", train, header)
    two = write_csv(tmp_path / "e.csv", [("c.wav", "same words", "bob"), ("b.wav", "new words", "eve")], header)
    out = tmp_path / "out"
    of_build = shard("--csv", f"train={one},test={two}", "--out", out).stdout
    of_stats = shard("stats", "--data", f"{out}/train,{out}/test").stdout
    for printed in (of_build, of_stats):
        assert re.findall(r"repeated audio: (\d+) clips", printed) == ["1", "0"]
        assert "of all utterances: train 60.0%, test 40.0%" in printed
        assert f"{out}/train and {out}/test share 1 sentences and 1 speakers, and 1 recordings" in printed


def test_a_sentence_in_two_named_splits_is_a_warning(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write_clip(tmp_path / name)
    train = write_csv(tmp_path / "t.csv", [("a.wav", "Same words!"), ("b.wav", "other words")])
    test = write_csv(tmp_path / "e.csv", [("c.wav", "same words"), ("c.wav", "new words")])
    out = tmp_path / "out"
    done = shard("--csv", f"train={train},test-clean={test}", "--out", out)
    assert f"warning: 1 sentences of {out}/test-clean are in {out}/train too" in done.stdout
    assert read_index([str(out / "test-clean")]).keys[0].as_py().startswith("test-clean-0000000")


def test_the_lines_of_statistics() -> None:
    train = FolderStatistics(
        path="out/train/",
        utterances=3_000,
        hours=2.5,
        longest_seconds=19.96,
        shards=3,
        shard_bytes=1_234_567_890,
        rows=4_096,
        rejected={"too short": 1_000, "silent": 96},
        characters={" ": 5, "1": 1_200, "a": 2, "é": 1},
        markup={"[noise]": 1_001, "&amp;": 2},
        symbols={"%": 1_001, "&": 1},
        text=TextRules(language="fr", form="none"),
        note="",
        speakers=7,
        repeated_clips=1_001,
    )
    test = replace(train, path="out/test", utterances=1_000, hours=1.0, rows=1_000, rejected={}, repeated_clips=0)
    test = replace(test, markup={}, symbols={}, text=TextRules(form="none"), note="out/test: of another version")
    shared = SharedContent(one=train, other=test, sentences=1_234, speakers=2, recordings=0)
    statistics = Statistics(folders=(train, test), shared=(shared,), random_split_leak=0.1234)
    assert format_statistics(statistics) == [
        "out/train/: 3,000 utterances, 2.50 h, 3 shards, 1,234.6 MB",
        "  length: 3.0 s on average, 20.0 s at most",
        "  rejected: 1,096 of 4,096 rows  silent 96, too short 1,000",
        "  characters: 4  ' 1aé'; digits, kept and not spelled: 1,200",
        "  markup, taken out, entities decoded: 1,003  [noise] ×1,001, &amp; ×2",
        "  symbols, left out though they may be spoken: 1,002  % ×1,001, & ×1",
        "  transcripts: fr, form none: collapse white space",
        "  repeated audio: 1,001 clips are the same as another",
        "out/test: 1,000 utterances, 1.00 h, 3 shards, 1,234.6 MB",
        "  length: 3.6 s on average, 20.0 s at most",
        "  rejected: 0 of 1,000 rows",
        "  characters: 4  ' 1aé'; digits, kept and not spelled: 1,200",
        "  transcripts: any language, form none: collapse white space",
        "  out/test: of another version",
        "  repeated audio: 0 clips are the same as another",
        "of all utterances: train 75.0%, test 25.0%",
        "out/train/ and out/test share 1,234 sentences and 2 speakers, and 0 recordings",
        "warning: 1,234 sentences of out/test are in out/train/ too: errors on out/test will look too few",
        "of clips split at random, 70 to 30, 12.3% of the 30 would have their text in the 70",
    ]
