import os
from pathlib import Path

import pytest

from asrscale.common.cli import STDIN
from asrscale.common.errors import CliError
from asrscale.results.transcript_files import check_outputs, find_recordings, write_transcript

ROW = {"file": "x", "seconds": 1.0, "text": "a", "words": [{"word": "a", "start_seconds": 0.1, "end_seconds": 0.2}]}


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_each_recording_is_found_once_in_the_order_of_names(tmp_path: Path) -> None:
    make(tmp_path, "b.WAV", "a/2.mp3", "a/1.flac", "a/cover.jpg", ".git/x.wav", "a/._1.flac")
    found = find_recordings([str(tmp_path), STDIN, str(tmp_path / "b.WAV"), "elsewhere.opus", "elsewhere.opus"])
    assert [os.path.relpath(file, tmp_path) for file in found.files[:3]] == ["b.WAV", "a/1.flac", "a/2.mp3"]
    assert list(found.files[3:]) == [STDIN, "elsewhere.opus"]
    assert list(map(str, found.outputs)) == ["b", "a/1", "a/2", "stdin", "elsewhere"]
    assert found.notes == (f"{tmp_path}: 3 recordings, 1 other files are left out",)


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt")
    with pytest.raises(CliError, match="no recording is named, or is in a folder that is"):
        find_recordings([str(tmp_path)])


def test_no_transcript_overwrites_another(tmp_path: Path) -> None:
    make(tmp_path, "a/x.wav", "b/x.wav")
    apart = find_recordings([str(tmp_path)])
    check_outputs(str(tmp_path / "out"), apart, "srt")
    named = find_recordings([str(tmp_path / "a" / "x.wav"), str(tmp_path / "b")])
    with pytest.raises(CliError, match=r"a/x\.wav and .*b/x\.wav would both be x\.TextGrid"):
        check_outputs(str(tmp_path / "out"), named, "textgrid")


def test_a_transcript_has_the_place_of_its_recording(tmp_path: Path) -> None:
    path = write_transcript(str(tmp_path), Path("day 1/v1.2 talk"), ROW, "tsv", by_word=False)
    assert path == tmp_path / "day 1" / "v1.2 talk.tsv" and path.read_text() == "start\tend\ttext\n100\t933\ta\n"
