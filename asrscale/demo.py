"""Speaks the demo's corpus: `python -m asrscale.demo --out DIR`."""

from dataclasses import dataclass

from asrscale.common import cli
from asrscale.common.workers import usable_cores
from asrscale.corpus.demo_corpus import make_corpus
from asrscale.corpus.demo_plan import MIN_UTTERANCES


@dataclass(frozen=True)
class DemoOptions:
    """Makes a small spoken corpus in the shape of Common Voice v1, with no download."""

    out: str = cli.setting("data/demo/corpus", help="folder to make; it must not exist yet")
    seed: int = cli.setting(42, help="decides the sentences, voices, pitches and speeds")
    utterances: int = cli.setting(4000, help=f"training clips, at least {MIN_UTTERANCES}; the other splits get a share")
    workers: int | None = cli.setting(None, help="processes; by default one a usable core")


def run(options: DemoOptions) -> None:
    """Makes the corpus, or prints that it is already made.

    Raises:
        CliError: A bad flag, an `out` that is something else, or espeakng-loader is not installed.
    """
    workers = usable_cores() if options.workers is None else options.workers
    make_corpus(options.out, seed=options.seed, utterances=options.utterances, workers=workers)


if __name__ == "__main__":
    cli.main(DemoOptions, run)
