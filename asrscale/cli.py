"""Strict command lines: every flag is checked before any work begins.

`fire.Fire(function)` runs the function first and complains about an unknown flag afterwards, and it
guesses types (`--name 1e5` arrives as a float). So fire only splits the command line here; the fields
of a frozen dataclass say which flags exist and what type each has.
"""

import dataclasses
import difflib
import math
import os
import sys
import traceback
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

import fire
from fire.decorators import SetParseFn

from asrscale.errors import EXIT_COMPLETE, EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USAGE, AsrscaleError, CliError, DataError

Schema = TypeVar("Schema")


def setting(default: Any = dataclasses.MISSING, *, help: str, words: bool = False) -> Any:
    """A dataclass field that is a flag; without a default it is required. `words` has none and takes words without."""
    return dataclasses.field(default=default, metadata={"help": help, "words": words})


def main(
    schema: type[Schema], function: Callable[[Schema], int | None], argv: Sequence[str] | None = None,
    build: Callable[..., Schema] | None = None,
) -> NoReturn:  # fmt: skip
    """Parses the command line into `schema`, calls `function` with it, exits with its code; None is 0.

    An `AsrscaleError` becomes one line on stderr (of a node's first rank only, but for a `DataError`) and exit code 2
    for a `CliError`, 1 for others; any other exception keeps its traceback.

    Args:
        schema: A frozen dataclass whose fields were made by `setting`.
        function: Does the work.
        argv: The words after the program's name; by default those of this process.
        build: Makes a `schema` of the flags that were given, where their defaults depend on each other.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if set(words) & {"--help", "-h", "--h"}:
        print(usage(schema))
        sys.exit(EXIT_COMPLETE)
    try:
        code = function((build or schema)(**parse(schema, words)))
    except AsrscaleError as error:
        # Wrong settings are met by every rank alike, damage by one.
        local_rank = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
        if local_rank == "0" or isinstance(error, DataError):
            print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(EXIT_USAGE if isinstance(error, CliError) else EXIT_FAULT)
    sys.exit(EXIT_COMPLETE if code is None else code)


def run(*arguments: Any, **named: Any) -> NoReturn:
    """`main` for a process of its own, which it ends without the interpreter's clean-up.

    Native threads (Arrow's, gloo's) that release a Python object meanwhile abort a process whose work is done, with
    `terminate called without an active exception`: seen in one run of a dozen on a busy machine, Python 3.11. And a
    rank that throws would wait there for readers that may be stuck.
    """
    try:
        main(*arguments, **named)
    except SystemExit as end:
        code = int(end.code or EXIT_COMPLETE)
    except BaseException as error:
        traceback.print_exc()
        code = EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else EXIT_FAULT
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def parse(schema: type[Any], argv: Sequence[str]) -> dict[str, Any]:
    """Parses words such as `--epochs 3 --train=a,b --nopin` into the values of those fields of `schema`.

    Raises:
        CliError: A word that is no flag where none may be, a flag that is unknown, missing or of the wrong type.
    """
    takers = {field.name for field in dataclasses.fields(schema) if field.metadata.get("words")}
    names = {field.name for field in dataclasses.fields(schema) if field.metadata} - takers  # those of `setting`
    given = [word[2:].split("=")[0].replace("-", "_") for word in argv if word.startswith("--") and word != "--"]
    for name in given:
        if name not in names and not (name.startswith("no") and name[2:] in names):
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean --{near[0]}?" if near else "--help lists the flags"
            raise CliError(f"unknown flag --{name}: {hint}")
        if given.count(name) > 1:
            raise CliError(f"--{name} is given twice: give it once")
    captured: dict[str, str] = {}
    words: list[str] = []
    stray: list[str] = [word for word in argv if word in ("-", "--")]  # fire's own separators

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def capture(*positional: str, **flags: str) -> None:
        words.extend(positional)
        captured.update(flags)

    if not stray:
        fire.Fire(capture, command=list(argv), name="asrscale")
    stray += [f"-{name}" for name in captured if name not in names]  # a single dash
    stray += [] if takers else words
    if stray:
        raise CliError(f"unexpected word '{stray[0]}': every value follows a flag, as in --flag value")
    hints = _types(schema)
    values = {name: _convert(name, text, hints[name]) for name, text in captured.items()}
    for field in dataclasses.fields(schema):
        if field.name not in values and field.default is dataclasses.MISSING:
            raise CliError(f"missing flag --{field.name}: {field.metadata['help']}")
    return values | {name: tuple(words) for name in takers if words}


def usage(schema: type[Any]) -> str:
    """The text of --help: the dataclass's docstring, then a line a flag."""
    hints = _types(schema)
    lines = [(schema.__doc__ or "").strip(), "", "flags:"]
    for field in (one for one in dataclasses.fields(schema) if one.metadata):
        name, kind = field.name, _type_name(hints[field.name])
        shown = str(field.default).lower() if isinstance(field.default, bool | None) else field.default
        default = "required" if field.default is dataclasses.MISSING else f"default {shown}"
        lines.append(f"  {name.upper()} …" if field.metadata["words"] else f"  --{name} {kind}")
        lines.append(f"        {field.metadata['help']} ({default})")
    return "\n".join(lines)


def _types(schema: type[Any]) -> dict[str, Any]:
    """The type of each field; of `X | None`, that is X."""
    optional = (types.UnionType, typing.Union)
    hints = typing.get_type_hints(schema).items()
    return {name: get_args(hint)[0] if get_origin(hint) in optional else hint for name, hint in hints}


def _convert(name: str, text: str, hint: Any) -> Any:
    """`text` as the type `hint`; raises CliError naming the flag."""
    if get_origin(hint) is tuple:
        parts = tuple(part.strip() for part in text.split(",") if part.strip())
        if not parts:
            raise CliError(f"--{name} is empty: give one value or several joined by commas")
        return tuple(_convert(name, part, get_args(hint)[0]) for part in parts)
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise CliError(f"--{name} {text}: choose one of {', '.join(map(str, get_args(hint)))}")
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise CliError(f"--{name} {text}: give true or false")
        return text.lower() == "true"
    if text in ("", "True"):  # fire's value for a flag that stands alone
        raise CliError(f"--{name} needs a value")
    if hint is str:
        return text
    try:
        value = float(text[:-1]) / 100 if hint is float and text.endswith("%") else hint(text)
        if math.isfinite(value):
            return value
    except (ValueError, OverflowError):
        pass
    raise CliError(f"--{name} {text[:40]}: give {'a whole number' if hint is int else 'a number'}")


def _type_name(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"{_type_name(get_args(hint)[0])}[,…]"
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    return {int: "N", float: "X", bool: "true|false", str: "TEXT"}[hint]
