"""Fine-tunes a model: `deepspeed launch/train.py --config ds_configs/zero2.json --train DIR --valid DIR …`.

The same as `python -m asrscale.train`; `--help` lists the flags.
"""

from asrscale.common.import_path import keep_current_folder_out

if __name__ == "__main__":
    keep_current_folder_out()  # before anything else is imported
    from asrscale.train import main

    main()
