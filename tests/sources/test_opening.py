"""Opening a source: its rows, and the folder that their recordings lie below."""

from pathlib import Path

import pytest
from helpers.sources import SHARED, needs_shared_data, root_of, rows_of, write

from asrscale.sources.opening import open_source
from asrscale.sources.recordings import open_audio
from asrscale.speech import decoding


def test_a_chosen_audio_root_takes_the_place_of_the_format_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tsv", "client_id\tpath\tsentence\nab\tx.mp3\thello\n")
    assert root_of(path) == str(tmp_path / "clips")
    assert open_source(path, "elsewhere").audio_root == "elsewhere"
    write(tmp_path / "a.csv", "filename,text\nx.mp3,hello\n")
    monkeypatch.chdir(tmp_path)
    assert root_of("a.csv") == "."


def test_the_rows_can_be_read_again_and_again(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "a.csv", "filename,text\na.wav,x\nb.wav,y\n"))
    first = [row.audio for row in source.read_rows()]
    assert first == ["a.wav", "b.wav"]
    assert [row.audio for row in source.read_rows()] == first


@needs_shared_data
def test_real_common_voice_rows() -> None:
    rows = rows_of(SHARED / "common_voice_v1/cv-valid-dev.csv")
    assert len(rows) == 4_076
    assert rows[0].audio == "cv-valid-dev/sample-000000.mp3"
    assert rows[0].extra == {"up_votes": "1", "down_votes": "0"}
    assert any("age" in row.extra for row in rows)


@needs_shared_data
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("an4/an4_train.json", 30),
        ("an4/an4_val.json", 10),
        ("an4/tarred_an4/tarred_audio_manifest.json", 32),
        ("an4/tarred_an4/tarred_duplicate_audio_manifest.json", 6),
        ("an4/tarred_an4", 32),
        ("ljspeech/manifest.json", 5),
        ("orders/cv-valid-dev.csv", 50),
    ],
)
def test_real_corpora_as_they_are(name: str, count: int) -> None:
    source = open_source(str(SHARED / name))
    recordings = [(open_audio(row, source.audio_root), row.segment) for row in source.read_rows()]
    lengths = [len(decoding.decode(recording, 20, *segment)[0]) for recording, segment in recordings]
    assert len(lengths) == count
    assert min(lengths) > 0
