"""Paths of recordings that were written on another machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sources import row_of, rows_of, write

from asrscale.sources.moved_paths import SAMPLED_ROWS, moved_prefixes
from asrscale.sources.opening import open_source
from asrscale.sources.rows import Row


def prefixes_of(names: list[str], root: Path, *, is_chosen: bool = False) -> tuple[str, ...]:
    def read_rows() -> Iterator[Row]:
        return (row_of(name) for name in names)

    return moved_prefixes(read_rows, str(root), is_chosen=is_chosen)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_moved_manifest_is_found_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path / "wavs/a.wav", tmp_path / "b.wav")
    path = write(tmp_path / "a.csv", "filename,text\n/old/place/wavs/a.wav,x\n/old/place/wavs/b.wav,y\nc.wav,z\n")
    for root in (None, str(tmp_path), (str(tmp_path), "/elsewhere")):
        source = open_source(path, root)
        for _ in range(2):
            assert [row.audio for row in source.read_rows()] == ["wavs/a.wav", "wavs/b.wav", "c.wav"]
        assert capsys.readouterr().err.count("no /old/place/ here") == 1


def test_the_folder_s_own_name_stays(tmp_path: Path) -> None:
    """Common Voice v1 has the same file names in every split."""
    touch(tmp_path / "1.wav", tmp_path / "b.wav")
    path = write(tmp_path / "b.csv", "filename,text\ncv-valid-test/b.wav,x\n")
    assert rows_of(path)[0].audio == "cv-valid-test/b.wav"
    assert prefixes_of(["/d/train/1.wav", "/d/test/1.wav"], tmp_path, is_chosen=True) == ()
    assert prefixes_of(["/d/train/1.wav"], tmp_path) == ()
    assert prefixes_of(["cv-valid-test/b.wav"], tmp_path, is_chosen=True) == ()


@pytest.mark.parametrize("folder", ["/home/me/corpus/", "C:\\Users\\me\\corpus\\", "D:/corpus/"])
def test_with_a_chosen_root_one_absolute_folder_is_replaced(tmp_path: Path, folder: str) -> None:
    touch(tmp_path / "a.wav", tmp_path / "b.wav")
    assert prefixes_of([f"{folder}a.wav", f"{folder}b.wav"], tmp_path, is_chosen=True) == (folder,)


@pytest.mark.parametrize("variable", ["$data_root/", "{data_root}/", "${DATA}/"])
def test_a_variable_of_a_recipe_is_no_folder(tmp_path: Path, variable: str) -> None:
    touch(tmp_path / "a.wav", tmp_path / "sub/b.wav")
    assert prefixes_of([f"{variable}a.wav", f"{variable}sub/b.wav"], tmp_path) == (variable,)
    assert prefixes_of([f"{variable}a.wav"], tmp_path) == (variable,)


def test_windows_folders_below_the_prefix(tmp_path: Path) -> None:
    touch(tmp_path / "clips/a.wav")
    assert prefixes_of(["E:\\cv\\clips\\a.wav"], tmp_path) == ("E:\\cv\\",)


def test_a_first_recording_that_is_missing_decides_nothing(tmp_path: Path) -> None:
    touch(*(tmp_path / f"wav/{number}.wav" for number in range(1, 20)))
    names = [f"/data/other/wav/{number}.wav" for number in range(20)]
    assert prefixes_of(names, tmp_path) == ("/data/other/",)
    behind_missing = [f"/data/other/wav/x{number}.wav" for number in range(15)] + names
    assert prefixes_of(behind_missing, tmp_path) == ("/data/other/",)


def test_recordings_far_behind_the_first_decide_too(tmp_path: Path) -> None:
    touch(tmp_path / "wav/a.wav")
    num_in_place = 3 * SAMPLED_ROWS
    (tmp_path / "here").mkdir()
    touch(tmp_path / "here/b.wav")
    names = ["absent.wav"] + ["here/b.wav"] * num_in_place + ["/old/wav/a.wav"] * num_in_place
    assert prefixes_of(names, tmp_path) == ("/old/",)


def test_corpora_of_two_machines(tmp_path: Path) -> None:
    touch(tmp_path / "one/a.wav", tmp_path / "two/b.wav")
    assert set(prefixes_of(["/x/one/a.wav", "/y/z/two/b.wav"], tmp_path)) == {"/x/", "/y/z/"}


def test_a_chance_hit_is_no_prefix(tmp_path: Path) -> None:
    touch(tmp_path / "wav/1.wav")
    assert prefixes_of([f"/old/wav/{number}.wav" for number in range(1, 9)], tmp_path) == ()


def test_what_is_in_its_place_is_never_renamed(tmp_path: Path) -> None:
    touch(tmp_path / "x/y/a.wav", tmp_path / "y/b.wav")
    assert prefixes_of(["x/y/a.wav", "x/y/b.wav"], tmp_path) == ()
