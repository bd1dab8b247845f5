"""Strict command lines: every flag is checked before any work begins. Owns fire.

`fire.Fire(function)` runs the function first and complains about an unknown flag afterwards, and it guesses types
(`--name 1e5` arrives as a float). So fire only splits the command line here. Which flags exist, and the type of each,
is declared by the fields of a frozen dataclass, or by those of the sections that it is made of.
"""

import dataclasses
import difflib
import math
import os
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

import fire
from fire.decorators import SetParseFn
from setproctitle import setproctitle

from asrscale.common.addresses import HOW_TO_WRITE, can_be_cleaned, clean_text, clean_value
from asrscale.common.errors import (
    EXIT_COMPLETE,
    EXIT_FAULT,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    AsrscaleError,
    CliError,
    DataError,
    OneRankError,
)
from asrscale.common.terminal import CleanStream, printable

Schema = TypeVar("Schema")

HELP_FLAGS = {"--help", "-h", "--h"}

_MAX_MESSAGE_CHARACTERS = 4_000


STDIN = "/dev/stdin"  # what the word - means


def setting(
    default: Any = dataclasses.MISSING, *, help: str, words: bool = False, default_text: str | None = None
) -> Any:
    """Declares a dataclass field that is a flag.

    Args:
        default: The value without the flag; where there is none, the flag is required.
        help: What --help shows for it.
        words: The field has no flag and takes the words of the command line that belong to none.
        default_text: What --help shows for the default, where that is chosen later.
    """
    metadata = {"help": help, "words": words, "default_text": default_text}
    return dataclasses.field(default=default, metadata=metadata)


def main(
    schema: type[Schema],
    function: Callable[[Schema], int | None],
    argv: Sequence[str] | None = None,
    build: Callable[..., Schema] | None = None,
) -> NoReturn:
    """Parses the command line into `schema`, calls `function` with it, and exits with its code; None is 0.

    An `AsrscaleError` becomes one line on stderr (on a node's first rank only, except for those of one rank alone) and
    exit code 2 for a `CliError`, 1 for others. Any other exception keeps its traceback.

    Args:
        schema: A frozen dataclass whose fields were made by `setting`, or are sections made of such fields.
        function: Does the work.
        argv: The words after the program's name; by default those of this process.
        build: Makes a `schema` of the flags that were given, where their defaults depend on each other.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if HELP_FLAGS.intersection(words):
        print(usage(schema))
        sys.exit(EXIT_COMPLETE)
    try:
        values = parse(schema, words)
        options = build(**values) if build else compose(schema, values)
        code = function(options)
    except AsrscaleError as error:
        # Every rank raises the same error for a wrong setting, but only one for damaged data and its own memory.
        local_rank = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
        if local_rank == "0" or isinstance(error, DataError | OneRankError):
            message = clean_text(str(error))
            if len(message) > _MAX_MESSAGE_CHARACTERS:  # of data, such as the names of a million columns
                message = f"{message[:_MAX_MESSAGE_CHARACTERS]}…"
            print(printable(f"error: {message}"), file=sys.stderr, flush=True)
        sys.exit(EXIT_USAGE if isinstance(error, CliError) else EXIT_FAULT)
    sys.exit(EXIT_COMPLETE if code is None else code)


def run(
    schema: type[Schema],
    function: Callable[[Schema], int | None],
    argv: Sequence[str] | None = None,
    build: Callable[..., Schema] | None = None,
) -> NoReturn:
    """`main` for a whole process, which it ends without the interpreter's clean-up.

    Native threads (Arrow's, gloo's) that release a Python object during the clean-up abort a process whose work is
    done, with `terminate called without an active exception`: seen in one run of a dozen on a busy machine, Python
    3.11. And a rank that raised would wait there for reader threads that may be stuck.

    From here on all that the process prints is `printable`, and no address in it has a password or a query; nor has the
    command line, as other users of the machine see it.
    """
    _hide_secrets()
    try:
        main(schema, function, argv, build)
    except SystemExit as end:
        code = int(end.code or EXIT_COMPLETE)
    except BaseException as error:
        traceback.print_exc()
        code = EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else EXIT_FAULT
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _hide_secrets() -> None:
    """Cleans what is printed from here on, and the command line that `ps` shows."""
    sys.stdout = typing.cast(typing.TextIO, CleanStream(sys.stdout))
    sys.stderr = typing.cast(typing.TextIO, CleanStream(sys.stderr))
    words = [clean_value(word) for word in sys.orig_argv]
    if words != sys.orig_argv:
        setproctitle(" ".join(words))


@dataclass(frozen=True)
class Flag:
    """One flag of a schema."""

    name: str
    type: Any  # of `X | None`, that is X
    default: Any  # dataclasses.MISSING where it is required
    help: str
    words: bool  # it takes the words without a flag
    default_text: str | None  # what --help shows for the default, where that is chosen later
    section: str  # the first line of its section's docstring; empty for a field of the schema itself


def flags_of(schema: type[Any], section: str = "") -> Iterator[Flag]:
    """Yields the flags of a schema, in the order of its fields; those of a section stand where the section does."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        hint = hints[field.name]
        if field.metadata:
            yield Flag(
                name=field.name,
                type=_without_none(hint),
                default=field.default,
                help=field.metadata["help"],
                words=field.metadata["words"],
                default_text=field.metadata["default_text"],
                section=section,
            )
        elif dataclasses.is_dataclass(hint):
            yield from flags_of(typing.cast(type[Any], hint), _title(hint))


def compose(schema: type[Schema], values: dict[str, Any]) -> Schema:
    """Makes a schema, sections included, of the values of flags by their names; a flag without one has its default."""
    hints = typing.get_type_hints(schema)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, schema)):
        if field.metadata:
            if field.name in values:
                arguments[field.name] = values[field.name]
        elif dataclasses.is_dataclass(hints[field.name]):
            arguments[field.name] = compose(typing.cast(type[Any], hints[field.name]), values)
    return schema(**arguments)


def parse(schema: type[Any], argv: Sequence[str]) -> dict[str, Any]:
    """Parses words such as `--epochs 3 --train=a,b --nopin` into the values of flags of `schema`, by their names.

    Raises:
        CliError: A word without a flag where none may be, or a flag that is unknown, missing, repeated or of the wrong
            type.
    """
    flags = {flag.name: flag for flag in flags_of(schema)}
    names = {name for name, flag in flags.items() if not flag.words}
    words_name = next((name for name, flag in flags.items() if flag.words), None)
    if words_name:  # fire would take - for a separator
        argv = [STDIN if word == "-" else word for word in argv]
    _check_flag_names(argv, names)
    captured, words = _split(argv)

    separators = [word for word in argv if word in ("-", "--")]  # fire's own
    single_dashes = [f"-{name}" for name in captured if name not in names]
    stray = separators + single_dashes + ([] if words_name else words)
    if stray:
        raise CliError(f"unexpected word '{clean_value(stray[0])}': every value follows a flag, as in --flag value")

    values = {name: _convert(name, text, flags[name].type) for name, text in captured.items()}
    for name, flag in flags.items():
        if name in names and name not in values and flag.default is dataclasses.MISSING:
            raise CliError(f"missing flag --{name}: {flag.help}")
    if words_name:
        for word in words:
            _check_addresses("an address", word)
        values[words_name] = tuple(words)
    return values


def usage(schema: type[Any]) -> str:
    """Returns the text of --help: the dataclass's docstring, then each flag under the heading of its section."""
    lines = [(schema.__doc__ or "").strip()]
    heading = None
    for flag in flags_of(schema):
        if flag.section != heading:
            heading = flag.section
            lines += ["", heading.lower().rstrip(".") + ":" if heading else "flags:"]
        if flag.words:
            lines.append(f"  {flag.name.upper()} …")
        else:
            lines.append(f"  --{flag.name} {type_name(flag.type)}")
        lines.append(f"        {flag.help} ({default_text(flag)})")
    return "\n".join(lines)


def type_name(hint: Any) -> str:
    """Returns the type of a flag, as --help shows it."""
    if get_origin(hint) is tuple:
        return f"{type_name(get_args(hint)[0])}[,…]"
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    return {int: "N", float: "X", bool: "true|false", str: "TEXT"}[hint]


def default_text(flag: Flag) -> str:
    """Returns the default of a flag, as --help shows it."""
    if flag.default_text is not None:
        return f"default {flag.default_text}"
    if flag.default is dataclasses.MISSING:
        return "required"
    if isinstance(flag.default, bool | None):
        return f"default {str(flag.default).lower()}"
    if flag.default == ():
        return "default: none of these"
    return f"default {flag.default}"


def _check_flag_names(argv: Sequence[str], names: set[str]) -> None:
    """Raises CliError for a flag that does not exist or is given twice."""
    given = [word[2:].split("=")[0].replace("-", "_") for word in argv if word.startswith("--") and word != "--"]
    for name in given:
        is_negation = name.startswith("no") and name[2:] in names
        if name not in names and not is_negation:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean --{near[0]}?" if near else "--help lists the flags"
            raise CliError(f"unknown flag --{name}: {hint}")
        if given.count(name) > 1:
            raise CliError(f"--{name} is given twice: give it once")


def _split(argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Has fire split a command line into the texts of flags by their names, and the words without a flag."""
    captured: dict[str, str] = {}
    words: list[str] = []

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def capture(*positional: str, **flags: str) -> None:
        words.extend(positional)
        captured.update(flags)

    if not {"-", "--"}.intersection(argv):
        fire.Fire(capture, command=list(argv), name="asrscale")
    return captured, words


def _convert(name: str, text: str, hint: Any) -> Any:
    """Converts the text of a flag to its type.

    Raises:
        CliError: It is no such value; names the flag.
    """
    if get_origin(hint) is tuple:
        parts = _split_at_commas(text)
        if not parts:
            raise CliError(f"--{name} is empty: give one value or several joined by commas")
        item_type = get_args(hint)[0]
        return tuple(_convert(name, part, item_type) for part in parts)
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
        _check_addresses(f"--{name}", text)
        return text
    return _convert_number(name, text, hint)


def _check_addresses(what: str, text: str) -> None:
    """Raises CliError, without the text, for an address that cannot be written down without its password."""
    if not can_be_cleaned(text):
        raise CliError(f"{what}: user and password cannot be told from the rest of the address: {HOW_TO_WRITE}")


def _split_at_commas(text: str) -> list[str]:
    """Returns the values that commas join, spaces around them removed; a comma in the path of a file stays there.

    A path may follow a name and an equals sign, as in `train=FILE`, or stand before one, as in `FOLDER=0.3`.
    """
    parts = text.split(",")
    values: list[str] = []
    while parts:
        # The longest path that exists, or else what stands before the next comma.
        for num_parts in range(len(parts), 0, -1):
            value = ",".join(parts[:num_parts]).strip()
            if num_parts == 1 or _has_path(value):
                break
        del parts[:num_parts]
        if value:
            values.append(value)
    return values


def _has_path(value: str) -> bool:
    """Whether a value is a path that exists, or one with a name or a number beside it."""
    before, _, after = value.rpartition("=")
    is_numbered = "," not in after and os.path.exists(before)
    return is_numbered or os.path.exists(value) or os.path.exists(value.partition("=")[2])


def _convert_number(name: str, text: str, hint: type[int] | type[float]) -> int | float:
    """Converts a finite number; a float may be a percentage."""
    try:
        is_percentage = hint is float and text.endswith("%")
        value = float(text[:-1]) / 100 if is_percentage else hint(text)
        if math.isfinite(value):
            return value
    except (ValueError, OverflowError):
        pass
    kind = "a whole number" if hint is int else "a number"
    raise CliError(f"--{name} {text[:40]}: give {kind}")


def _without_none(hint: Any) -> Any:
    """Returns X of `X | None`, and any other type as it is."""
    if get_origin(hint) in (types.UnionType, typing.Union):
        return get_args(hint)[0]
    return hint


def _title(section: Any) -> str:
    """Returns the first line of a section's docstring."""
    return (section.__doc__ or "").strip().splitlines()[0]
