"""W&B within a sweep, and settings for it that came with data; tests/training/test_tracking.py has it alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asrscale.common.errors import CliError
from asrscale.training.tracking import open_tracker
from asrscale.training.wandb_tracker import refuse_settings_of_folder

PROGRAM = """
import json, sys
from pathlib import Path
from asrscale.training.tracking import open_tracker

config = {"optimisation": {"learning_rate": 1e-4}}
with open_tracker(Path(sys.argv[1]), project="speech", config=config, wandb_mode="offline") as tracker:
    tracker.log(1, {"train/loss": 1.0})
    import wandb
    found = [wandb.run.id, wandb.run.sweep_id, dict(wandb.run.config)]
print(json.dumps(found))
"""


def test_a_run_of_a_sweep_keeps_the_id_that_its_agent_has_chosen(tmp_path: Path) -> None:
    # Other tests leave the address of a service of W&B behind that they have killed.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "chosen1"}
    words = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert json.loads(done.stdout) == ["chosen1", "sweep1", {"optimisation": {"learning_rate": 1e-4}}]
    assert list(tmp_path.glob("wandb/offline-run-*-chosen1/run-chosen1.wandb"))


@pytest.mark.parametrize("wandb_mode", ["auto", "offline", "online"])
def test_settings_in_the_folder_that_one_stands_in_are_refused_before_wandb_has_the_key(
    wandb_mode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nbase_url = http://127.0.0.1:9\nentity = them\n")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.chdir(tmp_path)
    run = open_tracker(tmp_path / "run", project="test", config={}, wandb_mode=wandb_mode)
    with pytest.raises(CliError, match="wandb/settings in this folder sets base_url, entity") as caught, run:
        pass
    assert "\n" not in str(caught.value) and "--wandb off" in str(caught.value)
    with open_tracker(tmp_path / "run", project="test", config={}, wandb_mode="off"):
        pass


@pytest.mark.parametrize(
    "text", ["[default]\napi_key=x", "[DEFAULT]\nentity=x\n[default]", "no section", "\0[", "é=\xe9"]
)
def test_no_settings_pass_that_wandb_might_read(text: str, tmp_path: Path) -> None:
    (tmp_path / ".wandb").mkdir()
    (tmp_path / ".wandb" / "settings").write_bytes(text.encode("latin-1"))
    with pytest.raises(CliError, match=r"\.wandb/settings in this folder"):
        refuse_settings_of_folder(tmp_path)


@pytest.mark.parametrize("text", ["", "[default]\n\n", "# nothing\n[default]\n"])
def test_what_wandb_leaves_behind_is_no_setting(text: str, tmp_path: Path) -> None:
    refuse_settings_of_folder(tmp_path)
    (tmp_path / "wandb" / "run-20260101_000000-abcdef").mkdir(parents=True)
    (tmp_path / "wandb" / "settings").write_text(text)
    refuse_settings_of_folder(tmp_path)
