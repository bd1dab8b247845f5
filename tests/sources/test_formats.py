"""Which format a source has, and where its recordings are looked for."""

from pathlib import Path

import pytest
from helpers.sources import root_of, rows_of, tone, write, write_tar

from asrscale.common.errors import CliError


@pytest.mark.parametrize(
    ("name", "content", "audio", "root"),
    [
        ("a.csv", "filename,text\na.wav,hello\n", "a.wav", ""),
        ("a.csv", "\n\nfilename,text\na.wav,hello\n", "a.wav", ""),
        ("a.csv", "path\ttext\na.wav\thello\n", "a.wav", ""),
        ("a.csv", "client_id\tpath\tsentence\nann\ta.wav\thello\n", "a.wav", "clips"),
        ("a.csv", 'filename,text\n"a|b\t.wav",hello\n', "a|b\t.wav", ""),  # by the header alone
        ("a.csv", ' {"audio_filepath": "a|b.wav", "text": "x"}\n', "a|b.wav", ""),
        ("a.csv", "a|hello|hello\n", "a.wav", "wavs"),
        ("a.trans.txt", "a hello\n", "a.flac", ""),
    ],
)
def test_a_file_is_recognised_by_its_name_or_its_first_line(
    tmp_path: Path, name: str, content: str, audio: str, root: str
) -> None:
    path = write(tmp_path / name, content)
    assert [row.audio for row in rows_of(path)] == [audio]
    assert root_of(path) == str(tmp_path / root)


def test_a_folder_is_recognised_by_its_files(tmp_path: Path) -> None:
    write(tmp_path / "metadata.csv", "file_name,text\na.wav,hello\n")
    assert [row.audio for row in rows_of(tmp_path)] == ["a.wav"]
    (tmp_path / "inner").mkdir()
    write_tar(tmp_path / "inner/a.tar", {"1.wav": tone(0.1)})
    assert [row.audio for row in rows_of(tmp_path)] == ["1.wav"]
    write(tmp_path / "inner/1-2.trans.txt", "1-2-0000 HELLO\n")
    assert [row.audio for row in rows_of(tmp_path)] == ["inner/1-2-0000.flac"]
    assert root_of(tmp_path) == str(tmp_path)


def test_a_folder_of_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(
        CliError, match=r"a folder without \*.trans.txt, metadata.csv, \*.tar,.*: give the file with transcripts"
    ):
        rows_of(tmp_path)
