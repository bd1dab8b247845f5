"""Tars of recordings and transcripts to rows."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.sources import refusal_of, rows_of, tone, write_tar

from asrscale.corpus.recordings import open_audio


def test_foreign_tars(tmp_path: Path) -> None:
    wav = tone(0.5)
    about = json.dumps({"text": "from json", "speaker": "bo"}).encode()
    first = write_tar(tmp_path / "a.tar", {"x/1.wav": wav, "x/1.txt": b"one", "2.flac": b"?", "2.json": about})
    second = write_tar(tmp_path / "b.tar", {"../../3.wav": wav, "4.cls": b"7", "5.wav": wav})
    rows = rows_of(tmp_path)
    assert [(row.line, row.source, row.audio, row.text) for row in rows] == [
        (1, str(first), "x/1.wav", "one"),
        (2, str(first), "2.flac", "from json"),
        (3, str(second), "../../3.wav", ""),
        (4, str(second), "5.wav", ""),
    ]
    assert rows[1].speaker == "bo"
    content = open_audio(rows[2], str(tmp_path))
    assert isinstance(content, io.BytesIO)
    assert content.getvalue() == wav
    assert rows_of(second) == [replace(row, line=row.line - 2) for row in rows[2:]]


def test_two_recordings_of_one_key_are_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.wav": b"x", "1.flac": b"y"})
    assert "1.flac is the second recording with the key 1" in refusal_of(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: 8 * 512], "no header and no end"),  # cut between two members: tarfile reports nothing
        (lambda data: data[:1024] + b"\xff" * 512 + data[1536:], "no header and no end"),
        (lambda data: data[:700], "unexpected end of data"),
        (lambda data: b"", "empty file"),
        (lambda data: b"no tar" * 200, "not a tar|invalid header|bad checksum|truncated header"),
    ],
)
def test_a_damaged_tar_never_loses_its_rest_silently(
    tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{n}.txt": b"x" for n in range(4)} | {"0.wav": b"y"})
    data = path.read_bytes()[: 10 * 512 + 1024]  # less the padding to a whole record
    path.write_bytes(data)
    assert len(rows_of(path)) == 1
    path.write_bytes(damage(data))
    refusal = refusal_of(path)
    assert any(part in refusal for part in message.split("|"))
