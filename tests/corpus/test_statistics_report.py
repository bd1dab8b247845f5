"""The statistics of data set folders as text."""

import re
from pathlib import Path

from helpers.sharding import shard, write_clip, write_csv

from asrscale.data.index import read_index


def test_stats_tell_what_folders_share(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write_clip(tmp_path / name)
    header = "filename,text,client_id"
    train = [("a.wav", "Same words!", "ann"), ("b.wav", "other words", "bob"), ("a.wav", "said again", "ann")]
    one = write_csv(tmp_path / "t.csv", train, header)
    two = write_csv(tmp_path / "e.csv", [("c.wav", "same words", "bob"), ("b.wav", "new words", "eve")], header)
    built = shard("--csv", f"train={one},test={two}", "--out", tmp_path / "out").stdout
    told = shard("stats", "--data", f"{tmp_path}/out/train,{tmp_path}/out/test").stdout
    for said in (built, told):
        assert re.findall(r"repeated audio: (\d+) clips", said) == ["1", "0"]
        assert "of all utterances: train 60.0%, test 40.0%" in said
        assert (
            f"{tmp_path}/out/train and {tmp_path}/out/test share 1 sentences and 1 speakers, and 1 recordings" in said
        )


def test_named_splits_and_sentences_in_two_of_them(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write_clip(tmp_path / name)
    train = write_csv(tmp_path / "t.csv", [("a.wav", "Same words!"), ("b.wav", "other words")])
    test = write_csv(tmp_path / "e.csv", [("c.wav", "same words"), ("c.wav", "new words")])
    done = shard("--csv", f"train={train},test-clean={test}", "--out", tmp_path / "out")
    assert f"warning: 1 sentences of {tmp_path}/out/test-clean are in {tmp_path}/out/train too" in done.stdout
    assert read_index([str(tmp_path / "out/test-clean")]).keys[0].as_py().startswith("test-clean-0000000")
