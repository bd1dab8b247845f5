"""W&B within a sweep; tests/training/test_tracking.py has it alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
