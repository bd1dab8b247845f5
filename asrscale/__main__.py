"""All commands in one: `asrscale shard …` is `python -m asrscale.shard …`, and so with the others.

The command `asrscale` never imports anything of the folder that one stands in.
"""

import runpy
import sys
from typing import NoReturn

from asrscale.common.import_path import keep_current_folder_out

# What each command does, as the help has it.
COMMANDS = {
    "shard": "recordings and transcripts to shards; verify, stats, index, merge",
    "plan": "which configuration of a run fits, and which is fastest",
    "train": "train a model on shards",
    "evaluate": "a model's error rates on shards",
    "transcribe": "recordings to text",
    "align": "when each word of a text is spoken in a recording of it",
    "export": "a model to ONNX",
    "lm": "a language model of transcripts and other text",
    "demo": "speak a small corpus to try everything with",
}


def main() -> NoReturn:
    """Runs the command that the first word names, with the others."""
    keep_current_folder_out()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h"):
        lines = [f"  asrscale {command:11} {what}" for command, what in COMMANDS.items()]
        print("\n".join(["Each has --help:", "", *lines]))
        sys.exit(0)
    if name not in COMMANDS:
        from asrscale.common.addresses import clean_value  # imports others, which must not be of that folder

        print(f"error: no command {clean_value(name)[:40]!r}: choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    runpy.run_module(f"asrscale.{name}", run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    main()
