"""Fine-tunes a model: `deepspeed launch/train.py --config ds_configs/zero2.json --train DIR --valid DIR …`.

The same as `python -m asrscale.train`; `--help` lists the flags.
"""

from asrscale.train import main

if __name__ == "__main__":
    main()
