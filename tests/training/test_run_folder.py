"""The lock of a run folder."""

import os
import stat
from pathlib import Path

import pytest

from asrscale.common import distributed
from asrscale.common.errors import CliError, TransientError
from asrscale.training.run_folder import locked_run_folder


def test_one_run_folder_has_one_training(tmp_path: Path) -> None:
    with distributed.joined_ranks() as world:
        with (
            locked_run_folder(tmp_path / "run", world),
            pytest.raises(
                TransientError,
                match=rf"is in use by another training, process {os.getpid()} on .*: choose another --run",
            ),
            locked_run_folder(tmp_path / "run", world),
        ):
            pass
        with locked_run_folder(tmp_path / "run", world):  # free again
            pass
        (tmp_path / "file").touch()
        with (
            pytest.raises(CliError, match=r"--run .*file.* cannot be used"),
            locked_run_folder(tmp_path / "file" / "run", world),
        ):
            pass


def test_the_lock_of_a_run_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("of an older version, which left it open to readers\n")
    (tmp_path / "lock").chmod(0o644)
    with distributed.joined_ranks() as world, locked_run_folder(tmp_path, world):
        assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")
