"""Rows that are in no shard."""

import json
from pathlib import Path

import numpy as np
import soundfile
from helpers.sharding import rejected, shard, write_clip, write_csv

from asrscale.corpus.rejects import Reject, format_counts, reject_row
from asrscale.data.index import read_index
from asrscale.sources.rows import Row


def test_every_kind_of_reject_is_listed_with_its_reason(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    for name in ("good1.wav", "good2.wav", "blank.wav"):
        write_clip(clips / name)
    write_clip(clips / "cut.mp3", 2)
    (clips / "cut.mp3").write_bytes((clips / "cut.mp3").read_bytes()[:5_000])
    (clips / "noise.mp3").write_bytes(b"this is no mp3")
    write_clip(clips / "none.wav", 0)
    write_clip(clips / "short.wav", 0.05)
    write_clip(clips / "long.wav", 3)
    write_clip(clips / "silent.wav", level=1e-4)
    soundfile.write(clips / "constant.wav", np.full(8_000, 0.25, np.float32), 16_000)
    broken = np.full(8_000, 0.1, np.float32)
    broken[100] = np.nan
    soundfile.write(clips / "nan.wav", broken, 16_000, subtype="FLOAT")
    write_clip(tmp_path / "outside.wav")
    expected = {
        "cut.mp3": "truncated",
        "noise.mp3": "unreadable",
        "none.wav": "empty",
        "short.wav": "too short",
        "long.wav": "too long",
        "silent.wav": "silent",
        "constant.wav": "silent",
        "nan.wav": "non-finite",
        "blank.wav": "empty transcript",
        "absent.wav": "missing file",
        "../outside.wav": "path outside the audio root",
    }
    rows = [("good1.wav", "One."), *((name, "!?" if name == "blank.wav" else "Two") for name in expected)]
    csv = write_csv(tmp_path / "a.csv", [*rows, ("good2.wav", "three")])
    flags = ("--audio_root", clips, "--valid_fraction", 0, "--max_seconds", 2.5, "--max_rejected", "100%")
    done = shard("--csv", csv, "--out", tmp_path / "out", *flags)

    rejects = rejected(tmp_path / "out")
    assert {reject["audio"]: reject["reason"] for reject in rejects} == expected
    assert [reject["line"] for reject in rejects] == list(range(3, 14))
    assert rejects[0]["text"] == "Two"
    assert all(reject["source"] == str(csv) and reject["detail"] for reject in rejects)
    assert read_index([str(tmp_path / "out/train")]).texts.to_pylist() in (["one", "three"], ["three", "one"])
    dataset = json.loads((tmp_path / "out/train/dataset.json").read_text())
    assert dataset["rejected"]["silent"] == 2
    assert dataset["rows"] == dataset["utterances"] + sum(dataset["rejected"].values()) == 13
    assert "rejected: 11 of 13 rows  empty 1, empty transcript 1, missing file 1" in done.stdout


def test_a_reason_and_its_detail() -> None:
    row = Row(line=3, source="a.csv", audio="b.wav", text="Two", extra={"age": "40"})
    where = {"split": "train", "source": "a.csv", "line": 3, "audio": "b.wav", "text": "Two"}
    assert reject_row("train", row, "silent") == Reject(**where, reason="silent", detail="")
    assert reject_row("train", row, "fault: KeyError: 5") == Reject(**where, reason="fault", detail="KeyError: 5")


def test_counts_are_in_the_order_of_the_reasons() -> None:
    assert format_counts({"too short": 1_024, "silent": 2}) == "silent 2, too short 1,024"
    assert format_counts({}) == ""
