"""Shards of speech: `python -m asrscale.shard [build] --csv FILE --out DIR`, and what else is done with shards."""

import sys
from dataclasses import dataclass
from typing import Any, NoReturn

from asrscale.common import cli
from asrscale.common.cli import setting
from asrscale.common.errors import EXIT_USAGE
from asrscale.corpus.assemble import merge
from asrscale.corpus.build import build
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.index_tars import IndexOptions, index
from asrscale.corpus.statistics import print_stats
from asrscale.corpus.verify import verify


@dataclass(frozen=True)
class VerifyOptions:
    """Checks every byte of data set folders: shards against their checksums, records against the index."""

    data: tuple[str, ...] = setting(help="data set folders")


@dataclass(frozen=True)
class StatsOptions:
    """Tells what is in data set folders, and whether they share sentences or speakers."""

    data: tuple[str, ...] = setting(help="data set folders")
    html: str | None = setting(None, help="file for a page with plots and sound; a few of the recordings are in it")


@dataclass(frozen=True)
class MergeOptions:
    """Joins the parts of an array job (`--part I --parts N`): the same bytes as one build makes."""

    out: str = setting(help="the --out that the parts were built with, or a folder that their outputs were copied to")


VERBS: dict[str, tuple[type[Any], Any]] = {
    "build": (ShardOptions, build),
    "verify": (VerifyOptions, lambda options: verify(options.data)),
    "index": (IndexOptions, index),
    "stats": (StatsOptions, lambda options: print_stats(options.data, options.html)),
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
