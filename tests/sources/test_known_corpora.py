"""Corpora whose layout is known: what their downloads look like, as files that are made here."""

import json
from pathlib import Path

import pytest
from helpers.sources import rows_of, tone, write

from asrscale.sources.opening import open_source
from asrscale.sources.recordings import open_audio


def make(folder: Path, *recordings: str, **tables: str) -> Path:
    for name in recordings:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(tone(0.1))
    for name, content in tables.items():
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / name.replace("__", "."), content)
    return folder


def found(path: object) -> list[tuple[str, str, str | None, str | None]]:
    """Text, speaker and split of each row; and the recording's path below the folder, which is opened for that."""
    source = open_source(str(path))
    rows = [*source.read_rows()]
    opened = [open_audio(row, source.audio_root) for row in rows]
    split_column = source.split_column or ""
    names = [Path(file).name for file in opened if isinstance(file, str)]
    assert len(names) == len(rows)
    return [(row.text, row.speaker, row.extra.get(split_column), name) for row, name in zip(rows, names, strict=True)]


def test_fleurs(tmp_path: Path) -> None:
    line = "{}\t{}.wav\tRaw, text.\traw text\tr a w\t1600\tFEMALE\n"
    tables = {"train__tsv": line.format(1, "a"), "dev__tsv": line.format(2, "b"), "test__tsv": line.format(2, "c")}
    make(tmp_path, "audio/train/a.wav", "audio/dev/b.wav", "audio/test/c.wav", **tables)
    assert found(tmp_path) == [
        ("raw text", None, "valid", "b.wav"),
        ("raw text", None, "test", "c.wav"),
        ("raw text", None, "train", "a.wav"),
    ]
    make(tmp_path / "data", "train/a.wav", **tables)
    assert found(tmp_path / "data/train.tsv") == [("raw text", None, None, "a.wav")]
    assert rows_of(tmp_path / "data/train.tsv")[0].extra["gender"] == "FEMALE"


def test_mls(tmp_path: Path) -> None:
    for split, name in (("train", "1_2_000000"), ("dev", "3_4_000001")):
        make(tmp_path / split, f"audio/{name[0]}/{name[2]}/{name}.flac", transcripts__txt=f"{name}\tone two\n")
    assert found(tmp_path) == [
        ("one two", "3", "valid", "3_4_000001.flac"),
        ("one two", "1", "train", "1_2_000000.flac"),
    ]


def test_voxpopuli(tmp_path: Path) -> None:
    header = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender\n"
    row = "20100101-0900-PLENARY-{}-en\tOne.\tone\t7\ttrain\tfemale\n"
    make(tmp_path, "2010/20100101-0900-PLENARY-3-en.ogg", asr_train__tsv=header + row.format(3))
    assert found(tmp_path / "asr_train.tsv") == [("one", "7", None, "20100101-0900-PLENARY-3-en.ogg")]


def test_covost(tmp_path: Path) -> None:
    table = "path\tsentence\ttranslation\tclient_id\na.mp3\tone\tzwei\tann\n"
    make(tmp_path, "clips/a.mp3", **{"covost_v2__en_de__train__tsv": table})
    assert found(tmp_path / "covost_v2.en_de.train.tsv") == [("one", "ann", None, "a.mp3")]


@pytest.mark.parametrize(
    "line",
    [
        {"key": "a", "source": "a.wav", "source_len": 90, "target": "one", "target_len": 1},  # FunASR
        {"key": "a", "wav": "a.wav", "txt": "one"},  # WeNet
        {"audio": {"path": "a.wav"}, "sentence": "one"},
    ],
)
def test_json_lines_of_other_toolkits(tmp_path: Path, line: dict[str, object]) -> None:
    make(tmp_path, "a.wav", data__list=json.dumps(line) + "\n")
    assert found(tmp_path / "data.list") == [("one", None, None, "a.wav")]


def test_a_placeholder_of_speechbrain_is_taken_off(tmp_path: Path) -> None:
    table = "ID,duration,wav,spk_id,wrd\n1,0.1,$data_root/train/a.wav,ann,one\n2,0.1,$data_root/train/b.wav,bo,two\n"
    make(tmp_path, "train/a.wav", "train/b.wav", all__csv=table)
    assert found(tmp_path / "all.csv") == [("one", "ann", None, "a.wav"), ("two", "bo", None, "b.wav")]
