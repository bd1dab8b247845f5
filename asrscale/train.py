"""Fine-tunes a model: `python -m asrscale.train --config zero2 --train DIR --valid DIR …`, or launch/train.py.

Works the same under `deepspeed`, `torchrun`, `srun` and plain `python`; `--help` lists the flags.
"""

import sys
from pathlib import Path
from typing import NoReturn

from asrscale.common import cli
from asrscale.common.quick_imports import quick_imports
from asrscale.training.config import TrainConfig, train_config
from asrscale.training.run_data import read_run_data
from asrscale.training.stopping import watching


def main() -> NoReturn:
    """Parses the flags and trains."""
    # deepspeed's launcher adds --local_rank=N, and sets LOCAL_RANK as well.
    words = [word for word in sys.argv[1:] if not word.startswith("--local_rank=")]
    cli.run(TrainConfig, run, words, build=train_config)


def run(config: TrainConfig) -> int:
    """Trains under a watch for requests to stop; returns the exit code."""
    with watching(Path(config.general.run)) as watch:
        data = read_run_data(config)
        # Takes seconds to import: wrong flags and folders are reported before, and a signal is already noticed.
        with quick_imports():
            from asrscale.training.run import train

        return train(config, watch, data)


if __name__ == "__main__":
    main()
