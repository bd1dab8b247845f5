"""The verb `verify`."""

from pathlib import Path

from helpers.sharding import shard

from asrscale.data.index import read_index


def test_verify_names_what_is_damaged(corpus: Path, tmp_path: Path) -> None:
    shard("--csv", corpus, "--out", tmp_path / "out", "--valid_fraction", 0, "--shard_utterances", 8)
    folder = tmp_path / "out/train"
    assert "23 utterances in 3 shards are as they were built" in shard("verify", "--data", folder).stdout
    index = read_index([str(folder)])
    tar = folder / "train-000001.tar"
    sound = bytearray(tar.read_bytes())
    payload = int(index.offsets[9]) + int(index.sizes[9]) // 2
    text = sound.index(b"sentence")
    header = int(index.offsets[12]) - 512
    for place, found in (
        (payload, [f"{index.keys[9]}: the checksum is not that of the index"]),
        (text, []),
        (header, ["no header and no end at byte"]),
    ):
        damaged = sound.copy()
        damaged[place] ^= 1
        tar.write_bytes(damaged)
        done = shard("verify", "--data", folder, expect=2)
        assert "faults in" in done.stderr
        for words in ["the checksum is not that of dataset.json" if not found or place == payload else "", *found]:
            assert words in done.stdout
        assert str(tar) in done.stdout and "train-000000.tar" not in done.stdout
    tar.write_bytes(sound[:-20_000])
    assert "train-000001.tar: the shard has" in shard("verify", "--data", folder, expect=2).stdout
