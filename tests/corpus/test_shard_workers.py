"""Shards built by several processes."""

from pathlib import Path

from helpers.sharding import checksums, refusal, rejected, shard

from asrscale.data.index import read_index


def test_output_is_the_same_for_one_worker_and_many(corpus: Path, tmp_path: Path) -> None:
    with corpus.open("a") as file:
        file.write("clips/absent.wav,gone,,\n")
    for workers in (1, 3):
        flags = ("--shard_utterances", 4, "--workers", workers)
        shard("--csv", corpus, "--out", tmp_path / f"out{workers}", *flags)
    assert checksums(tmp_path / "out1") == checksums(tmp_path / "out3")
    assert "train/train-000003.tar" in checksums(tmp_path / "out1")


def test_too_many_rejects_end_the_build_with_their_reasons(corpus: Path, tmp_path: Path) -> None:
    for number in range(0, 20, 4):
        (tmp_path / f"clips/{number}.wav").write_bytes(b"damaged")
    flags = ("--csv", corpus, "--out", tmp_path / "out", "--valid_fraction", 0)
    line = refusal(*flags, "--max_rejected", "20%")
    assert "more than --max_rejected 0.2 of 23 rows were rejected (unreadable 5)" in line
    assert {row["reason"] for row in rejected(tmp_path / "out")} == {"unreadable"}
    assert not (tmp_path / "out/train/dataset.json").exists()
    shard(*flags, "--max_rejected", "25%")
    assert len(read_index([str(tmp_path / "out/train")])) == 18
