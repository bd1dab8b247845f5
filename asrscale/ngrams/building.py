"""Builds a language model in a folder of its own, and measures it."""

import gzip
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from asrscale.common.atomic_files import remove_folder, write_json
from asrscale.common.errors import CliError
from asrscale.common.output_folder import disk_errors_as_cli_errors
from asrscale.ngrams.arpa import write_arpa
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import Corpus, write_corpus
from asrscale.ngrams.kneser_ney import Discounts
from asrscale.ngrams.leaks import EvaluationSentences, Leaks, without_leaks
from asrscale.ngrams.model import NgramModel
from asrscale.ngrams.perplexity import Perplexity, measure
from asrscale.ngrams.sentences import sentences_of_data_sets, sentences_of_files
from asrscale.ngrams.storage import DESCRIPTION_FILE, MODEL_FILE, write_model
from asrscale.speech.normalisation import TextRules

ARPA_FILE = "model.arpa.gz"


@dataclass(frozen=True)
class Text:
    """What a language model is made of, and what it is measured on.

    Attributes:
        data: Data set folders.
        files: Text files, a sentence on a line.
        rules: How the lines of files are normalised, and the transcripts are.
        evaluation: Data set folders to measure on.
        leaves_out: Whether lines that hold a sentence of these are left out; else they are an error.
    """

    data: tuple[str, ...]
    files: tuple[str, ...]
    rules: TextRules
    evaluation: tuple[str, ...]
    leaves_out: bool


@dataclass(frozen=True)
class Built:
    """A finished model and what was found while it was made.

    Attributes:
        sizes: How many n-grams each order has.
        sentences: Of the text, without those left out.
        running_words: Of these.
        left_out: How many sentences of the text held one of an evaluation set.
        discounts: Of each order.
        perplexities: Of each evaluation set, by its folder.
    """

    sizes: tuple[int, ...]
    sentences: int
    running_words: int
    left_out: int
    discounts: tuple[Discounts, ...]
    perplexities: Mapping[str, Perplexity]


def build(text: Text, *, order: int, prune: Sequence[int], out: Path, arpa: bool) -> Built:
    """Builds a language model and writes it to the folder `out`, which is replaced.

    Args:
        text: What it is made of.
        order: The most words of an n-gram, from 2 on.
        prune: For each order, the largest count that is left out, as for `estimate_orders`.
        out: A new folder, or one with a language model.
        arpa: Whether an ARPA file is written, too.

    Raises:
        CliError: The folder holds something else or cannot be written to, a source cannot be read, no sentence is left,
            or sentences of evaluation sets are in the text.
    """
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and not (out / MODEL_FILE).is_file():
        raise CliError(f"--out {out} holds something else than a language model: give a new folder")
    with disk_errors_as_cli_errors("--out", str(out)):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            leaks = Leaks()
            corpus = _read_text(text, leaks, Path(scratch, "ids"))
            model, discounts = build_model(corpus, order, prune, Path(scratch))
            perplexities = {folder: measure(model, sentences_of_data_sets([folder])) for folder in text.evaluation}
            built = _describe(model, corpus, leaks, discounts, perplexities)
            finished = Path(scratch, "finished")
            _write_folder(model, built, text, finished, arpa=arpa)
            remove_folder(out)
            finished.rename(out)
    return built


def _read_text(text: Text, leaks: Leaks, path: Path) -> Corpus:
    """Writes the text to a file of word ids; raises CliError where it holds sentences of evaluation sets."""
    of_evaluation = EvaluationSentences(sentences_of_data_sets(text.evaluation))
    sources = (sentences_of_data_sets(text.data), sentences_of_files(text.files, text.rules))
    sentences = (sentence for source in sources for sentence in source)
    corpus = write_corpus(without_leaks(sentences, of_evaluation, leaks), path)
    if leaks.left_out and not text.leaves_out:
        raise CliError(
            f"{leaks.left_out:,} sentences of the text are in --eval {','.join(text.evaluation)}, too, such as "
            f"'{leaks.examples[0]}': --exclude leaves them out"
        )
    return corpus


def _describe(
    model: NgramModel,
    corpus: Corpus,
    leaks: Leaks,
    discounts: tuple[Discounts, ...],
    perplexities: Mapping[str, Perplexity],
) -> Built:
    return Built(model.sizes, corpus.sentences, corpus.running_words, leaks.left_out, discounts, perplexities)


def _write_folder(model: NgramModel, built: Built, text: Text, folder: Path, *, arpa: bool) -> None:
    """Writes the folder of a model, which is new."""
    folder.mkdir()
    write_model(model, folder / MODEL_FILE)
    if arpa:
        with gzip.open(folder / ARPA_FILE, "wb", compresslevel=3) as file:
            write_arpa(model, cast(BinaryIO, file))
    write_json(folder / DESCRIPTION_FILE, _description(built, text))


def _description(built: Built, text: Text) -> dict[str, Any]:
    """Returns what is worth knowing of a model, for its DESCRIPTION_FILE."""
    return {
        "order": len(built.sizes),
        "ngrams": built.sizes,
        "data": text.data,
        "text": text.files,
        "transcripts": text.rules.to_json(),
        "sentences": built.sentences,
        "running_words": built.running_words,
        "left_out": built.left_out,
        "discounts": [asdict(discounts) for discounts in built.discounts],
        "evaluation": {
            folder: {**asdict(found), "unknown_rate": found.unknown_rate}
            for folder, found in built.perplexities.items()
        },
    }
