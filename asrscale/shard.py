"""Shards of speech: `python -m asrscale.shard [build] --csv FILE --out DIR`, and what else is done with shards."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from asrscale.common import cli
from asrscale.common.addresses import clean_value
from asrscale.common.cli import setting
from asrscale.common.errors import EXIT_USAGE
from asrscale.common.terminal import printable
from asrscale.corpus.array_job import merge
from asrscale.corpus.build import build
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.index_tars import IndexOptions, index
from asrscale.corpus.statistics_report import print_statistics
from asrscale.corpus.verify import verify


@dataclass(frozen=True)
class VerifyOptions:
    """Checks every byte of data set folders: shards against their checksums, records against the index."""

    data: tuple[str, ...] = setting(help="data set folders")


@dataclass(frozen=True)
class StatsOptions:
    """Prints what data set folders hold, and which sentences, speakers and recordings they share."""

    data: tuple[str, ...] = setting(help="data set folders")
    html: str | None = setting(None, help="file for a page with plots and sound; a few of the recordings are in it")


@dataclass(frozen=True)
class MergeOptions:
    """Joins the parts of an array job (`--part I --parts N`): the same bytes as one build makes."""

    out: str = setting(help="the --out that the parts were built with, or a folder that their outputs were copied to")


def run_verify(options: VerifyOptions) -> None:
    """The verb `verify`."""
    verify(options.data)


def run_stats(options: StatsOptions) -> None:
    """The verb `stats`."""
    print_statistics(options.data, options.html)


def run_merge(options: MergeOptions) -> None:
    """The verb `merge`."""
    folders = merge(options.out)
    print_statistics(folders)


# The options of each verb, and the function that does its work with them.
VERBS: dict[str, tuple[type[Any], Callable[[Any], int | None]]] = {
    "build": (ShardOptions, build),
    "verify": (VerifyOptions, run_verify),
    "index": (IndexOptions, index),
    "stats": (StatsOptions, run_stats),
    "merge": (MergeOptions, run_merge),
}


def main(words: list[str]) -> NoReturn:
    """Runs the verb that the words begin with, by default `build`."""
    has_verb = bool(words) and not words[0].startswith("-")
    if has_verb:
        verb, *flags = words
    else:
        verb = "build"
        flags = words
    if verb not in VERBS:
        shown = printable(clean_value(verb))
        print(f"error: no verb '{shown}': choose one of {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    schema, function = VERBS[verb]
    cli.run(schema, function, flags)


if __name__ == "__main__":
    main(sys.argv[1:])
