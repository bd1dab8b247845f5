"""Shards of speech: `python -m asrscale.shard [build] --csv FILE --out DIR`, and what else is done with shards."""

import sys
from dataclasses import dataclass
from typing import Any, NoReturn

from asrscale import cli
from asrscale.assemble import merge
from asrscale.build import ShardOptions, build
from asrscale.cli import setting
from asrscale.errors import EXIT_USAGE
from asrscale.shardtools import print_stats, verify


@dataclass(frozen=True)
class VerifyOptions:
    """Checks every byte of data set folders: shards against their checksums, records against the index."""

    data: tuple[str, ...] = setting(help="data set folders")


@dataclass(frozen=True)
class StatsOptions:
    """Tells what is in data set folders, and whether they share sentences or speakers."""

    data: tuple[str, ...] = setting(help="data set folders")


@dataclass(frozen=True)
class MergeOptions:
    """Joins the parts of an array job (`--part I --parts N`): the same bytes as one build makes."""

    out: str = setting(help="the --out that the parts were built with, or a folder that their outputs were copied to")


VERBS: dict[str, tuple[type[Any], Any]] = {
    "build": (ShardOptions, build),
    "verify": (VerifyOptions, lambda options: verify(options.data)),
    "stats": (StatsOptions, lambda options: print_stats(options.data)),
    "merge": (MergeOptions, lambda options: print_stats(merge(options.out))),
}


def main(words: list[str]) -> NoReturn:
    """Runs the verb that the words begin with, by default `build`."""
    verb, flags = (words[0], words[1:]) if words and not words[0].startswith("-") else ("build", words)
    if verb not in VERBS:
        print(f"error: no verb '{verb}': choose one of {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    cli.run(*VERBS[verb], flags)


if __name__ == "__main__":
    main(sys.argv[1:])
