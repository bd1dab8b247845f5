"""Writes docs/reference.md, every command with its flags, from the code that declares them.

make reference    refreshes the page
make check        fails where the page is stale (docs/make_reference.py --check)
"""

import dataclasses
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from asrscale.align import AlignOptions
from asrscale.common.cli import Flag, default_text, flags_of, type_name
from asrscale.demo import DemoOptions
from asrscale.evaluate import EvaluateOptions
from asrscale.export import ExportOptions
from asrscale.lm import LmOptions
from asrscale.shard import VERBS
from asrscale.training.config import TrainConfig
from asrscale.training.plan_options import PlanOptions
from asrscale.transcribe import TranscribeOptions

PAGE = Path(__file__).with_name("reference.md")

HEADER = """\
# Reference: every command and flag

<!-- Made by docs/make_reference.py from the code: do not edit, run `make reference`. -->

Each command prints the same with `--help`. `asrscale shard …` is the same as `python -m asrscale.shard …`, and so with
all of them; it imports nothing of the folder that you stand in. How flags are written:

- `--flag value` or `--flag=value`; `--some-flag` is `--some_flag`. A flag is given once.
- A list is joined by commas: `--train data/cv/train,data/other/train`.
- `--flag` alone, or `--flag true`, switches on; `--noflag`, or `--flag false`, switches off.
- `N` is a whole number and `X` any number, which may be a percentage: `--max_rejected 5%` is 0.05. `TEXT[,…]` is one
  text or several.
- An unknown flag, or a value of the wrong kind, ends the command with exit code 2 before any work.

[Exit codes](guide/training.md#exit-codes) are the same for all commands: 0 is success, 2 is wrong input or settings,
75 is a training run that was stopped on request and can go on.
"""


@dataclass(frozen=True)
class Command:
    """A command of the reference.

    Attributes:
        title: Heading, such as `shard build`.
        start: How it is started, without flags.
        schema: The dataclass that declares its flags.
        guide: Page of docs/guide that explains it.
        hidden: Section schemas that are described elsewhere, and the sentence that says where.
    """

    title: str
    start: str
    schema: type[Any]
    guide: str
    hidden: type[Any] | None = None
    hidden_note: str = ""


def commands() -> list[Command]:
    """Every command, in the order in which they are used."""
    shard_verbs = [
        Command(title=f"shard {verb}", start=f"python -m asrscale.shard {verb}", schema=schema, guide="data")
        for verb, (schema, _) in VERBS.items()
    ]
    return [
        *shard_verbs,
        Command(
            title="plan",
            start="python -m asrscale.plan",
            schema=PlanOptions,
            guide="memory",
            hidden=TrainConfig,
            hidden_note="And every flag of [train](#train).",
        ),
        Command(title="train", start="deepspeed -q launch/train.py", schema=TrainConfig, guide="training"),
        Command(title="evaluate", start="python -m asrscale.evaluate", schema=EvaluateOptions, guide="evaluation"),
        Command(
            title="transcribe", start="python -m asrscale.transcribe", schema=TranscribeOptions, guide="transcription"
        ),
        Command(title="align", start="python -m asrscale.align", schema=AlignOptions, guide="alignment"),
        Command(title="export", start="python -m asrscale.export", schema=ExportOptions, guide="onnx"),
        Command(title="lm", start="python -m asrscale.lm", schema=LmOptions, guide="language-models"),
        Command(title="demo", start="python -m asrscale.demo", schema=DemoOptions, guide="data"),
    ]


def reference() -> str:
    """The text of the page."""
    return "\n".join([HEADER, *map(describe, commands())])


def describe(command: Command) -> str:
    """The part of one command: its description and a table of its flags for each of its sections."""
    words = "".join(f" {flag.name.upper()} …" for flag in flags_of(command.schema) if flag.words)
    lines = [f"## {command.title}", "", f"    {command.start} --flag value …{words}", ""]
    lines += [_escaped(inspect.cleandoc(command.schema.__doc__ or "")), ""]
    lines += [f"Guide: [{command.guide}](guide/{command.guide}.md).", ""]
    flags = [flag for flag in flags_of(command.schema) if flag.name not in _hidden_names(command)]
    for section, of_section in groupby(flags, key=lambda flag: flag.section):
        if section:
            lines += [f"### {section.rstrip('.')}", ""]
        lines += [*table(of_section), ""]
    if command.hidden_note:
        lines += [command.hidden_note, ""]
    return "\n".join(lines)


def _hidden_names(command: Command) -> set[str]:
    """The flags of a command that another command describes."""
    return {flag.name for flag in flags_of(command.hidden)} if command.hidden else set()


def table(flags: Iterable[Flag]) -> list[str]:
    """The lines of a table of flags."""
    lines = ["| flag | value | default | meaning |", "|---|---|---|---|"]
    for flag in flags:
        name = f"`{flag.name.upper()} …`" if flag.words else f"`--{flag.name}`"
        lines.append(f"| {name} | {_value(flag)} | {_default(flag)} | {_escaped(flag.help)} |")
    return lines


def _value(flag: Flag) -> str:
    """What may be given for a flag: its choices, or the kind of value."""
    if flag.words:
        return "`FILE …`"
    if get_origin(flag.type) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(flag.type))
    if flag.type is bool:
        return "`true`, `false`"
    return f"`{type_name(flag.type)}`"


def _default(flag: Flag) -> str:
    """The default of a flag, as it would be written on the command line."""
    if flag.default is dataclasses.MISSING or flag.words:
        return "**required**"
    if isinstance(flag.default, tuple):
        return f"`{','.join(map(str, flag.default))}`"
    if isinstance(flag.default, int) and not isinstance(flag.default, bool):
        return f"`{flag.default:_}`"
    text = default_text(flag).removeprefix("default ")
    return text if text == "none" else f"`{text}`"


def _escaped(text: str) -> str:
    """Text without the characters that Markdown and its tables give a meaning."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def main() -> int:
    """Writes the page, or with --check says whether it is up to date; returns the exit code."""
    text = reference()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/reference.md is not what the code says: run 'make reference' and commit it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
