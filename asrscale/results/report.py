"""Evaluates data sets with a model, and writes for each its predictions, its rates and a page."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from asrscale.common.addresses import clean_value
from asrscale.common.atomic_files import write_json, write_jsonl
from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.common.shard_cache import Cache
from asrscale.data.index import Index
from asrscale.decoding.decoder import Decoder
from asrscale.model.recognizer import Recognizer
from asrscale.results.beside import Beside
from asrscale.results.breakdown import break_down
from asrscale.results.breakdown_text import format_breakdown
from asrscale.results.calibration import format_confidence, summarise
from asrscale.results.deciding_metric import MetricChoice, choose_metric, describe_choice
from asrscale.results.evaluation import Evaluation, evaluate
from asrscale.results.evaluation_page import write_evaluation_page
from asrscale.results.frame_texts import text_reader
from asrscale.results.metrics import UNITS, Metric
from asrscale.results.predictions import TOGETHER, Row, predictions_with_confidences, print_damaged, row_of, table
from asrscale.results.word_checks import check_words, describe_oracle


@dataclass(frozen=True)
class ReportFiles:
    """Where the results of a model go."""

    model: str  # what the model is called in them
    folder: Path  # for NAME.jsonl and NAME.json of each data set
    page: str | None  # the HTML page of the one data set; None writes none

    def of(self, data_set: str) -> tuple[Path, Path]:
        """Returns the files of a data set folder's predictions and of its rates."""
        name = data_set_name(data_set)
        return self.folder / f"{name}.jsonl", self.folder / f"{name}.json"


@dataclass(frozen=True)
class Report:
    """What an evaluation found, on rank 0; empty on others.

    Attributes:
        text: For people.
        unwritten: Why files were not written, a line each.
    """

    text: str = ""
    unwritten: tuple[str, ...] = ()


def evaluate_data_sets(
    recognizer: Recognizer,
    indexes: Mapping[str, Index],
    world: World,
    files: ReportFiles,
    *,
    metric: MetricChoice,
    beside: Beside,
    memory_cap_seconds: float,
    threads: int,
    cache: Cache | None,
    decoder: Decoder | None = None,
) -> Report:
    """Transcribes data sets, by their folders, and writes the results on rank 0; a collective.

    Args:
        recognizer: Its model is moved to the device of this rank.
        indexes: The utterances of each folder.
        world: The ranks.
        files: What is written.
        metric: Which error rate decides; `auto` takes what suits each data set.
        beside: What else is counted.
        memory_cap_seconds: As for `evaluate`.
        threads: As for `evaluate`.
        cache: As for `evaluate`.
        decoder: Finds the texts; by default they are those of the best paths.

    Returns:
        The results, also where files of theirs could not be written.

    Raises:
        CliError: No utterance of a data set can be read.
    """
    model = recognizer.model.to(device=world.device)
    rows: dict[str, Row] = {}
    found: dict[str, dict[str, Any]] = {}
    unwritten: list[str] = []
    for folder, index in indexes.items():
        result = evaluate(
            model,
            recognizer,
            index,
            world,
            memory_cap_seconds=memory_cap_seconds,
            threads=threads,
            title=f"transcribing {folder}",
            cache=cache,
            read_texts=text_reader(recognizer, decoder),
        )
        if world.is_main:
            print_damaged(index, result)
            rows[folder] = row_of(index, result)
            found[folder] = break_down(index, result.hypotheses(), choose_metric(metric, index), beside)
            found[folder] |= _of_words(index, result, recognizer, decoder)
            unwritten += _write_results(folder, index, result, files, found[folder], beside)
    if not world.is_main:
        return Report()
    breakdowns = [f"{folder}: {format_breakdown(of_folder)}" for folder, of_folder in found.items()]
    sureness = [f"{folder}: {line}" for folder, of_folder in found.items() for line in _describe_words(of_folder)]
    place = f"predictions and all rates: {files.folder}/*.jsonl and *.json"
    text = "\n".join([*_tables(rows, found), *_choices(indexes, metric), *breakdowns, *sureness, place])
    return Report(text, tuple(unwritten))


def _of_words(
    index: Index, result: Evaluation, recognizer: Recognizer, decoder: Decoder | None
) -> dict[str, dict[str, Any]]:
    """Returns how sure the model was of its words, and, where several texts were asked for, how good the best is."""
    checks = check_words(index, result.details())
    temperature = recognizer.temperature if decoder is None else decoder.temperature
    of_words = {"confidence": summarise(checks.calibrated, checks.uncalibrated, temperature)}
    of_words["confidence"]["uncounted_utterances"] = checks.uncounted
    if decoder is not None and decoder.alternatives:
        of_words["oracle"] = describe_oracle(checks, decoder.alternatives)
    return of_words


def _describe_words(found: Mapping[str, Any]) -> Iterator[str]:
    """Yields what `_of_words` found as lines."""
    yield format_confidence(found["confidence"])
    if "oracle" in found:
        oracle = found["oracle"]
        yield f"the best of {oracle['nbest']} texts: WER {oracle['wer']:.2%}, CER {oracle['cer']:.2%}"


def _tables(rows: Mapping[str, Row], found: Mapping[str, dict[str, Any]]) -> list[str]:
    """Returns the table of the data sets; where different error rates decide, one for each of these.

    The last line of several data sets is of all utterances together.
    """
    english = {folder: of_folder["english"] for folder, of_folder in found.items() if "english" in of_folder}
    by_metric: dict[Metric, dict[str, Row]] = {}
    for folder, row in rows.items():
        by_metric.setdefault(found[folder]["metric"], {})[folder] = row
    tables = []
    for metric, of_metric in by_metric.items():
        of_english = {folder: english[folder] for folder in of_metric if folder in english}
        if len(of_metric) > 1:
            of_english |= {TOGETHER: _join_rates(of_english.values())} if of_english else {}
            of_metric |= {TOGETHER: reduce(add, of_metric.values())}
        tables.append(table(of_metric, metric, of_english))
    return tables


def _join_rates(rates: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Returns the rates of data sets together, by the sizes of their references; {} where all are empty."""
    counted = [one for one in rates if "wer" in one]
    joined = {}
    for metric, unit in UNITS.items():
        size = sum(one[f"{unit}s"] for one in counted)
        if size:
            joined[str(metric)] = sum(one[metric] * one[f"{unit}s"] for one in counted) / size
    return joined


def _choices(indexes: Mapping[str, Index], metric: MetricChoice) -> list[str]:
    """Returns which error rate decides and why: a line, or one for each data set where they differ."""
    choices = {folder: describe_choice(metric, index) for folder, index in indexes.items()}
    if len(set(choices.values())) == 1:
        return list(choices.values())[:1]
    return [f"{folder}: {choice}" for folder, choice in choices.items()]


def _write_results(
    folder: str, index: Index, result: Evaluation, files: ReportFiles, found: dict[str, Any], beside: Beside
) -> Iterator[str]:
    """Writes the predictions, rates and page of one data set, which `break_down` found; yields why one is not."""
    predictions_file, rates_file = files.of(folder)
    damaged = [index.unique_key(one.utterance) for one in result.damaged]
    rates = {"data": folder, "model": files.model, **found, "damaged": damaged}
    try:
        write_jsonl(predictions_file, predictions_with_confidences(index, result.details()))
        write_json(rates_file, rates)
    except OSError as error:
        yield f"{error.filename or files.folder}: {error.strerror or error}"
    if files.page:
        try:
            title = f"{files.model} on {folder}"
            write_evaluation_page(files.page, title, index, found, result.hypotheses, beside)
        except CliError as error:
            yield str(error)


def data_set_name(folder: str) -> str:
    """Returns a file name for a data set folder: its last two parts, so that cv/test and orders/test stay apart."""
    return "-".join(Path(clean_value(folder)).absolute().parts[-2:])
