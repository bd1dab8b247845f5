"""Folders: what is recognised in them, and which split their rows are of."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers.sharding import refusal_in_process, shard, write_clip
from helpers.sources import refusal_of, rows_of, tone, write, write_tar

from asrscale.data.index import read_index
from asrscale.sources.opening import open_source
from asrscale.sources.recordings import open_audio


def audio_folder(folder: Path, names: tuple[str, ...], metadata: str = "metadata.csv") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(folder / name)
    if metadata.endswith(".csv"):
        lines = ["file_name,transcription", *(f"{name},text of {Path(name).stem}" for name in names)]
    else:
        lines = [f'{{"file_name": "{name}", "transcription": "text of {Path(name).stem}"}}' for name in names]
    write(folder / metadata, "\n".join(lines) + "\n")
    return folder


def found(folder: Path) -> list[tuple[str, str, str | None]]:
    """Path from the folder and text of each recording, which is opened, and its split."""
    source = open_source(str(folder))
    rows = [*source.read_rows()]
    paths = [open_audio(row, source.audio_root) for row in rows]
    names = [str(Path(path).relative_to(folder)) for path in paths if isinstance(path, str)]
    splits = [row.extra.get(source.split_column or "") for row in rows]
    return list(zip(names, [row.text for row in rows], splits, strict=True))


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.jsonl"])
def test_an_audio_folder_with_a_table_for_each_split(tmp_path: Path, metadata: str) -> None:
    for split, name in (("train", "a.wav"), ("validation", "b.wav"), ("test", "c.wav")):
        audio_folder(tmp_path / split, (name,), metadata)
    assert found(tmp_path) == [
        ("test/c.wav", "text of c", "test"),
        ("train/a.wav", "text of a", "train"),
        ("validation/b.wav", "text of b", "valid"),
    ]
    assert [row.line for row in rows_of(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.jsonl"])
def test_an_audio_folder_with_one_table(tmp_path: Path, metadata: str) -> None:
    audio_folder(tmp_path, ("train/a.wav", "test/b.wav"), metadata)
    assert found(tmp_path) == [("train/a.wav", "text of a", "train"), ("test/b.wav", "text of b", "test")]
    alone = audio_folder(tmp_path / "alone", ("clips/a.wav",), metadata)
    assert found(alone) == [("clips/a.wav", "text of a", None)]


def test_a_folder_of_data_only_in_a_folder(tmp_path: Path) -> None:
    audio_folder(tmp_path / "corpus-1.0/data", ("a.wav",))
    assert [name for name, _, _ in found(tmp_path)] == ["corpus-1.0/data/a.wav"]


def test_tables_of_splits_with_other_extensions(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("dev", "b")):
        write_clip(tmp_path / f"{name}.wav")
        write(tmp_path / f"{split}.jsonl", f'{{"audio_filepath": "{name}.wav", "text": "{name}"}}\n')
    assert found(tmp_path) == [("b.wav", "b", "valid"), ("a.wav", "a", "train")]
    write(tmp_path / "dev_other.csv", "filename,text\nb.wav,b\n")  # another set, which is left alone
    write(tmp_path / "validation.csv", "filename,text\nb.wav,b\n")
    assert "dev.jsonl and validation.csv are both for valid: give the one to use" in refusal_of(tmp_path)


def test_the_only_table_of_a_folder_counts_where_there_is_nothing_else(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav")
    write(tmp_path / "train.csv", "filename,text\na.wav,one\n")
    assert found(tmp_path) == [("a.wav", "one", None)]
    write(tmp_path / "metadata.csv", "filename,text\na.wav,from metadata\n")
    write(tmp_path / "test.csv", "filename,text\na.wav,two\n")
    assert found(tmp_path) == [("a.wav", "from metadata", None)]
    write_tar(tmp_path / "0.tar", {"b.wav": b"x"})
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "test.csv").unlink()
    assert [row.audio for row in rows_of(tmp_path)] == ["b.wav"]


def test_tars_in_folders_are_one_source_as_ever(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        write_tar(tmp_path / split / "0.tar", {f"{split}.wav": b"x"})
    assert open_source(str(tmp_path)).split_column is None


def test_a_build_keeps_the_splits_of_its_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, name in (("train", "a.wav"), ("validation", "b.wav")):
        audio_folder(tmp_path / "set" / split, (name,))
    shard("--csv", tmp_path / "set", "--out", tmp_path / "out")
    for split, text in (("train", "text of a"), ("valid", "text of b")):
        index = read_index([str(tmp_path / "out" / split)])
        assert index.texts.to_pylist() == [text]
    line = refusal_in_process(capsys, "--csv", f"train={tmp_path / 'set'}", "--out", tmp_path / "other")
    assert "has splits of its own" in line
    shard("--csv", tmp_path / "set", "--out", tmp_path / "drawn", "--split_by", "sentence", "--valid_fraction", 0)
    assert [path.name for path in sorted((tmp_path / "drawn").iterdir()) if path.is_dir()] == ["train"]


def test_a_split_column_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "a.wav")
    write_clip(tmp_path / "b.wav")
    table = write(tmp_path / "a.csv", "clip,said,part\na.wav,one,train\nb.wav,two,heldout\n")
    flags = ("--csv", table, "--audio_column", "clip", "--text_column", "said", "--split_column", "part")
    shard(*flags, "--out", tmp_path / "out")
    assert [path.name for path in sorted((tmp_path / "out").iterdir()) if path.is_dir()] == ["heldout", "train"]
    line = refusal_in_process(capsys, *flags, "--split_by", "sentence", "--out", tmp_path / "other")
    assert "--split_by and --split_column both say" in line


def test_recordings_with_a_text_beside_each_are_packed_as_the_message_says(tmp_path: Path) -> None:
    for name in ("s1/a", "s2/b"):
        (tmp_path / f"corpus/{name}").parent.mkdir(parents=True)
        write(tmp_path / f"corpus/{name}.wav", tone(0.1))
        write(tmp_path / f"corpus/{name}.txt", name.encode())
    message = refusal_of(tmp_path / "corpus")
    command = re.search(r"pack them, as with (tar cf NEW.tar -C .* \.), and give NEW.tar$", message)
    assert command, message
    subprocess.run(shlex.split(command[1]), cwd=tmp_path, check=True)
    assert sorted(row.text for row in rows_of(tmp_path / "NEW.tar")) == ["s1/a", "s2/b"]
