"""Files that are no source: each is named for what it is, with a cure that works."""

import io
import json
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.sources import refusal_of, rows_of, tone, write, write_tar


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def arrow() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"text": ["a"]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def arrow_stream() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"text": ["a"]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", zipped("[Content_Types].xml", "xl/workbook.xml"), "as Excel's xlsx and LibreOffice's ods are: save"),
        ("a.ods", zipped("[Content_Types].xml", "mimetype"), "save the table as CSV"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "an Excel workbook (xls): save the table as CSV"),
        ("a.arrow", arrow(), "an Arrow file: write it as Parquet"),
        ("data-00000-of-00001.arrow", arrow_stream(), "an Arrow stream, as datasets keeps in its cache: write"),
        ("a.pkl", pickle.dumps({"text": ["a"] * 9}), "a pickle, which is never read"),
        ("a.wav", tone(0.1), "a recording: give the table that has its transcript"),
        ("a.csv", "filename,text\n".encode("utf-16-be"), "is not UTF-8 text"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS"),
        ("a.csv", "<!DOCTYPE html><html></html>", "a web page, not the file behind it"),
        ("a.csv", "filename,text\ra.wav,one\rb.wav,two\r", "its lines end in CR alone"),
        ("a.stm", "a 1 ann 0.00 2.50 <o,f0,male> one two\n", "NIST's stm"),
        ("a.txt", "a 1 ann 0.00 2.50 <o,f0,male> one two\n", "NIST's stm"),
        ("a.txt", "a 1 ann 0.00 2.50 one two\n", "NIST's stm"),
        ("a.txt", ";; a comment\na 1 ann 0.00 2.50 one two\n", "NIST's stm"),
        ("a.ctm", "a 1 0.00 0.50 one\n", "NIST's ctm, which has times of words"),
        ("words.txt", "a 1 0.00 0.50 one 0.98\n", "NIST's ctm"),
        ("a.rttm", "SPEAKER a 1 0.00 2.50 <NA> <NA> ann <NA> <NA>\n", "RTTM, which says who speaks when"),
        ("a.txt", "SPEAKER a 1 0.00 2.50 <NA> <NA> ann <NA> <NA>\n", "RTTM"),
        ("a.TextGrid", 'File type = "ooTextFile"\n', "Praat's TextGrid"),
        ("a.srt", "1\n00:00:00,000 --> 00:00:01,000\none\n", "subtitles (srt)"),
        ("text", "utt-1 one two\n", "looks like Kaldi's text, an id and a transcript a line"),
        ("train.txt", "utt-1 one two\n", "looks like Kaldi's text"),
        ("list.txt", "/data/a.wav\n/data/b.wav\n", "looks like a list of files without transcripts"),
        (
            "a.json",
            '[{"audio_filepath": "a.wav", "text": "one"}]',
            "is a JSON array: write an object a line, as with jq",
        ),
        ("a.json", '[\n  {"audio_filepath": "a.wav"}\n]', "is a JSON array"),
        ("a.json", '{\n  "audio_filepath": "a.wav",\n  "text": "one"\n}\n', "is JSON over several lines: write a row"),
        ("a.json", '{"a": {"wav": "a.wav", "words": "one"}}', "is one JSON object for all rows"),
        ("a.json", '{\n "a": {"wav": "a.wav", "words": "one"}}', "is one JSON object for all rows"),
        (
            "a.json",
            '{\n "data": [{"wav": "a.wav", "words": "one"}]}',
            "one JSON object: write one a line, as with jq -c '.data[]'",
        ),
    ],
)
def test_each_is_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    assert message in refusal_of(write(tmp_path / name, content))


def test_the_commands_that_are_told_work(tmp_path: Path) -> None:
    """Those of the messages about JSON and about line ends, run as they stand there."""
    row = {"audio_filepath": "a.wav", "text": "one"}
    contents = {
        "jq -c '.[]'": json.dumps([row, row], indent=1),
        "jq -c .": json.dumps(row, indent=1) + "\n" + json.dumps(row, indent=1),
        "jq -c 'to_entries[] | {id: .key} + .value'": json.dumps({"x": row, "y": row}, indent=1),
        "jq -c '.data[]'": json.dumps({"data": [row, row]}, indent=1),
    }
    has_jq = subprocess.run(["sh", "-c", "command -v jq"], capture_output=True).returncode == 0
    for command, content in contents.items():
        path = write(tmp_path / "a.json", content)
        told = refusal_of(path).rpartition("as with ")[2]
        assert told == f"{command} {path} > NEW.jsonl"
        if has_jq:
            subprocess.run(["sh", "-c", told], cwd=tmp_path, check=True)
            assert [(row.audio, row.text) for row in rows_of(tmp_path / "NEW.jsonl")] == [("a.wav", "one")] * 2
    path = write(tmp_path / "FILE", "filename,text\ra.wav,one\r")
    told = refusal_of(path).rpartition("as with ")[2]
    subprocess.run(["sh", "-c", told], cwd=tmp_path, check=True)
    assert [(row.audio, row.text) for row in rows_of(tmp_path / "NEW")] == [("a.wav", "one")]


@pytest.mark.parametrize(
    "content",
    [
        "filename,text\na 1 0.0 2.0 b.wav,one\n",
        '{"audio_filepath": "a.wav", "text": "one"}\n{"audio_filepath": "b.wav", "text": "[two]"}\n',
        "ID3,filename,text\n1,a.wav,one\n",
        "filename,text\na.wav,one\r\n",
    ],
)
def test_tables_are_not_taken_for_something_else(tmp_path: Path, content: str) -> None:
    assert rows_of(write(tmp_path / "a.csv", content))


def test_a_tar_by_another_name(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.wav": tone(0.1), "a.txt": b"one"})
    tar.rename(tmp_path / "shard")
    assert [row.text for row in rows_of(tmp_path / "shard")] == ["one"]


def test_random_bytes_are_refused_in_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(200):
        content = rng.integers(0, 256, rng.integers(1, 99), dtype=np.uint8).tobytes()
        refusal_of(write(tmp_path / f"{number}.csv", content))
