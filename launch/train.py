"""Fine-tunes a model: `deepspeed launch/train.py --config ds_configs/zero2.json --train DIR --valid DIR …`.

Works the same under `torchrun`, `srun` and plain `python`; `--help` lists the flags.
"""

import sys
from pathlib import Path

from asrscale import cli
from asrscale.config import TrainConfig, train_config
from asrscale.watch import watching


def main() -> None:
    """Parses the flags and trains."""
    # deepspeed's launcher adds --local_rank=N, and sets LOCAL_RANK as well.
    words = [word for word in sys.argv[1:] if not word.startswith("--local_rank=")]

    def start(config: TrainConfig) -> int:
        with watching(Path(config.run)) as watch:
            from asrscale.train import train  # takes seconds: a mistyped flag is told before, a signal heard already

            return train(config, watch)

    cli.run(TrainConfig, start, words, build=train_config)


if __name__ == "__main__":
    main()
