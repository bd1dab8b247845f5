"""Files that operating systems leave."""

import pytest

from asrscale.common.system_files import is_system_file


@pytest.mark.parametrize(
    "path",
    [
        "._a.tar", "x/._a.wav", "Thumbs.db", "@eaDir/a.wav", "__MACOSX/x/a.wav", "a/.DS_Store", "x/.AppleDouble/a.wav",
        "$RECYCLE.BIN/S-1-5-21/$R2F4.wav", ".Trashes/501/a.wav", ".Trash-1000/files/a.wav", "#recycle/a.wav",
    ],
)  # fmt: skip
def test_what_they_leave_is_known(path: str) -> None:
    assert is_system_file(path)


@pytest.mark.parametrize(
    "path", ["a.tar", "_a.wav", ".hidden.wav", "x/a._b.wav", "thumbs/db.wav", "../a.wav", "./a.wav", ".Trash-can/a.wav"]
)
def test_what_a_user_has_is_not_taken_for_it(path: str) -> None:
    assert not is_system_file(path)
