"""Common Voice's releases: where tables and clips lie."""

import tarfile
from pathlib import Path

import pytest
from helpers.sources import refusal_of, root_of, tone, write, write_tar

from asrscale.common.errors import CliError
from asrscale.sources.formats import SourceOptions
from asrscale.sources.opening import open_source
from asrscale.sources.recordings import open_audio

HEADER = "client_id\tpath\tsentence\tup_votes\n"
SPLITS = {"train": "a", "dev": "b", "test": "c"}


def release(folder: Path) -> Path:
    """Tables of a release: three splits, and those that a build leaves alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, name in SPLITS.items():
        write(folder / f"{split}.tsv", f"{HEADER}spk-{name}\t{name}.mp3\tsentence {name}\t2\n")
    for name in ("validated", "invalidated", "other", "reported", "clip_durations", "unvalidated_sentences"):
        write(folder / f"{name}.tsv", f"{HEADER}x\tx.mp3\tx\t2\n")
    return folder


def clips(folder: Path, names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.mp3").write_bytes(tone(0.1))


def splits_of(path: object, **options: str) -> list[tuple[str, str, str, int]]:
    """Split, text and speaker of each row, and the bytes of its recording."""
    source = open_source(str(path), options=SourceOptions(**options))
    rows = [*source.read_rows()]
    files = [open_audio(row, source.audio_root) for row in rows]
    sizes = [Path(file).stat().st_size if isinstance(file, str) else len(file.getvalue()) for file in files]
    return [
        (row.extra[source.split_column or ""], row.text, row.speaker or "", size)
        for row, size in zip(rows, sizes, strict=True)
    ]


EXPECTED = [
    ("valid", "sentence b", "spk-b", len(tone(0.1))),
    ("test", "sentence c", "spk-c", len(tone(0.1))),
    ("train", "sentence a", "spk-a", len(tone(0.1))),
]


def test_the_folder_of_a_language(tmp_path: Path) -> None:
    clips(release(tmp_path / "cv-corpus-21.0/en") / "clips", "abc")
    assert splits_of(tmp_path / "cv-corpus-21.0/en") == EXPECTED
    assert splits_of(tmp_path / "cv-corpus-21.0") == EXPECTED
    release(tmp_path / "cv-corpus-21.0/de")
    assert "has de, en: give one, as in --csv" in refusal_of(tmp_path / "cv-corpus-21.0")


def test_the_archive_of_a_language(tmp_path: Path) -> None:
    clips(release(tmp_path / "cv/cv-corpus-21.0/en") / "clips", "abc")
    with tarfile.open(tmp_path / "cv.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "cv/cv-corpus-21.0", "cv-corpus-21.0")
    assert splits_of(tmp_path / "cv.tar.gz", unpack_folder=str(tmp_path / "unpacked")) == EXPECTED
    with pytest.raises(CliError, match="a compressed archive: unpack it and give its folder"):
        open_source(str(tmp_path / "cv.tar.gz"))


def test_numbered_folders(tmp_path: Path) -> None:
    folder = release(tmp_path / "en")
    clips(folder / "en_train_0", "x")
    clips(folder / "en_train_10", "a")
    clips(folder / "en_train_9", "y")
    clips(folder / "en_dev_0", "b")
    clips(folder / "en_test_0", "c")
    assert splits_of(folder) == EXPECTED
    assert root_of(folder / "train.tsv") == tuple(str(folder / f"en_train_{number}") for number in (0, 9, 10))


@pytest.mark.parametrize("are_tars", [False, True])
def test_the_hub_s_layout(tmp_path: Path, are_tars: bool) -> None:
    release(tmp_path / "transcript/en")
    for split, name in SPLITS.items():
        folder = tmp_path / f"audio/en/{split}"
        folder.mkdir(parents=True)
        if are_tars:
            write_tar(folder / f"en_{split}_0.tar", {f"en_{split}_0/{name}.mp3": tone(0.1)})
        else:
            clips(folder / f"en_{split}_0", name)
    assert splits_of(tmp_path) == EXPECTED
    source = open_source(str(tmp_path / "transcript/en/train.tsv"))
    [row] = source.read_rows()
    assert open_audio(row, source.audio_root)
    release(tmp_path / "transcript/de")
    assert "has de, en: give one, as in --csv" in refusal_of(tmp_path)


def test_the_first_release(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("dev", "b"), ("test", "c")):
        write(tmp_path / f"cv-valid-{split}.csv", f"filename,text,up_votes\ncv-valid-{split}/{name}.mp3,{name},1\n")
        write(tmp_path / f"cv-other-{split}.csv", "filename,text,up_votes\nx.mp3,x,0\n")
        clips(tmp_path / f"cv-valid-{split}", name)
    write(tmp_path / "cv-invalid.csv", "filename,text,up_votes\nx.mp3,x,0\n")
    assert [row[:2] for row in splits_of(tmp_path)] == [("valid", "b"), ("test", "c"), ("train", "a")]


def test_only_validated(tmp_path: Path) -> None:
    write(tmp_path / "validated.tsv", f"{HEADER}ann\ta\tone\t2\n")
    write(tmp_path / "other.tsv", f"{HEADER}ann\tb\ttwo\t2\n")
    clips(tmp_path / "clips", "a")
    source = open_source(str(tmp_path))
    [row] = source.read_rows()
    assert source.split_column is None
    assert open_audio(row, source.audio_root) == str(tmp_path / "clips/a.mp3")  # release 1 had no extensions


def test_spontaneous_speech(tmp_path: Path) -> None:
    header = "client_id\taudio_id\taudio_file\tduration_ms\tprompt_id\tprompt\ttranscription\tsplit\n"
    write(tmp_path / "ss-corpus-en.tsv", f"{header}ann\t1\ta.mp3\t100\t2\tWhat?\tone two\ttrain\n")
    clips(tmp_path / "audios", "a")
    source = open_source(str(tmp_path / "ss-corpus-en.tsv"))
    [row] = source.read_rows()
    assert (row.text, row.speaker, row.segment) == ("one two", "ann", (0.0, None))
    assert open_audio(row, source.audio_root) == str(tmp_path / "audios/a.mp3")
