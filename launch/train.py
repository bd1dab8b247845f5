"""Fine-tunes a model: `deepspeed launch/train.py --config ds_configs/zero2.json --train DIR --valid DIR …`.

Works the same under `torchrun` and plain `python`; `--help` lists the flags.
"""

import sys

from asrscale import cli
from asrscale.config import TrainConfig, train_config


def main() -> None:
    """Parses the flags and trains."""
    # deepspeed's launcher adds --local_rank=N, and sets LOCAL_RANK as well.
    words = [word for word in sys.argv[1:] if not word.startswith("--local_rank=")]

    def start(config: TrainConfig) -> int:
        from asrscale.train import train  # takes seconds: a mistyped flag is told before

        return train(config)

    cli.run(TrainConfig, start, words, build=train_config)


if __name__ == "__main__":
    main()
