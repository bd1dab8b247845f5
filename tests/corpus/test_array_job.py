"""The parts of an array job and their merge."""

from pathlib import Path

import pytest
from helpers.sharding import checksums, refusal, shard, times

from asrscale.common.errors import CliError
from asrscale.corpus.array_job import merge, part_file


def test_parts_are_disjoint_and_merge_to_the_bytes_of_one_build(corpus: Path, tmp_path: Path) -> None:
    with corpus.open("a") as file:
        file.write("clips/absent.wav,gone,,\n")
    flags = ("--csv", corpus, "--shard_utterances", 3, "--max_rejected", "50%")
    shard(*flags, "--out", tmp_path / "single")

    out = tmp_path / "out"
    for part in (2, 0, 3):
        shard(*flags, "--out", out, "--part", part, "--parts", 4)
    assert "no part-00001-of-00004: build every part" in refusal("merge", "--out", out)
    assert len(list(out.rglob("*.tar"))) < len(list((tmp_path / "single").rglob("*.tar")))

    before = times(out.rglob("*.tar"))
    shard(*flags, "--out", out, "--part", 1, "--parts", 4)
    assert before.items() <= times(out.rglob("*.tar")).items()
    assert not list(out.rglob("dataset.json"))

    done = shard("merge", "--out", out)
    assert "utterances" in done.stdout
    for path in out.glob(".lock*"):
        path.unlink()
    (tmp_path / "single/.lock").unlink()
    assert checksums(out) == checksums(tmp_path / "single")


def test_parts_of_different_builds_do_not_merge(corpus: Path, tmp_path: Path) -> None:
    for part in (0, 1):
        shard("--csv", corpus, "--out", tmp_path / "out", "--part", part, "--parts", 2, "--seed", part)
    assert "built with other options or input than part 0" in refusal("merge", "--out", tmp_path / "out")


@pytest.mark.parametrize(
    "damage",
    [
        '[{"name": "../private", "source": "a.csv", "options": {}, "shards": []}]',
        '[{"name": "train", "source": "a.csv", "options": {}, "shards": ["/private/x.tar"]}]',
        '[{"name": "train"}]',
        "[1]",
        "{",
        "[" * 100_000,
    ],
)
def test_a_part_that_names_other_folders_is_refused(damage: str, tmp_path: Path) -> None:
    part_file(str(tmp_path), 0, 1).write_text(damage)
    with pytest.raises(CliError, match=r"part-00000-of-00001\.json is damaged"):
        merge(str(tmp_path))
