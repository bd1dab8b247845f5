"""WER and CER of a model on data sets.

python -m asrscale.evaluate --model runs/demo/model --data data/demo/shards/test,data/demo/shards/voices
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from asrscale.common import cli
from asrscale.common.checkpoint_files import at_revision
from asrscale.common.errors import CliError
from asrscale.common.out_of_memory import memory_errors_explained
from asrscale.common.output_folder import check_writable
from asrscale.common.quick_imports import quick_imports
from asrscale.common.shard_cache import Cache
from asrscale.data.index import Index, read_index
from asrscale.decoding.decoder import Decoder
from asrscale.decoding.options import DecodingOptions, open_decoder
from asrscale.model.model_folders import find_model
from asrscale.results.beside import Beside
from asrscale.results.deciding_metric import choose_metric
from asrscale.results.english import check_english, english_normalizer
from asrscale.results.other_evaluation import read_others
from asrscale.speech.normalisation import name_rules

if TYPE_CHECKING:
    from asrscale.common.distributed import World
    from asrscale.model.recognizer import Recognizer
    from asrscale.results.report import ReportFiles


@dataclass(frozen=True)
class EvaluateOptions:
    """Transcribes data sets with a fine-tuned model and prints its word and character error rates.

    `torchrun -m asrscale.evaluate …` deals the utterances to several processes.
    """

    model: str = cli.setting(help="model folder, run folder or Hugging Face id")
    data: tuple[str, ...] = cli.setting(help="data set folders, one line of the table each")
    metric: Literal["auto", "wer", "cer"] = cli.setting(
        "auto",
        help="error rate that comes first: of words or of characters; auto: cer where most letters of a data set are "
        "of scripts without spaces, such as Chinese or Thai",
    )
    normalizer: Literal["english"] | None = cli.setting(
        None,
        help="a second pair of rates after Whisper's English normaliser, as in the Open ASR Leaderboard; needs pip "
        "install 'asrscale[english]'",
    )
    compare: tuple[str, ...] = cli.setting(
        (),
        help="OTHER/eval/NAME.jsonl of another model on the same data, or several: the difference with interval and p",
    )
    seeds: tuple[str, ...] = cli.setting(
        (), help="RUN/eval/NAME.jsonl of the same model trained with other seeds: mean and scatter of all"
    )
    revision: str | None = cli.setting(None, help="branch, tag or commit of a Hugging Face id; none: its main branch")
    language: str | None = cli.setting(None, help="which language of a model of many, such as MMS, as tr or tur")
    out: str | None = cli.setting(None, help="folder for predictions and rates; default: eval beside the model folder")
    memory_cap_seconds: float = cli.setting(
        0.0, help="padded audio that one GPU holds at once; 0: what fits, and on a CPU 40"
    )
    threads: int = cli.setting(2, help="threads of each rank that read and decode")
    html: str | None = cli.setting(
        None, help="file for a page of one data set's rates, with its worst utterances to listen to"
    )
    cache_dir: str | None = cli.setting(None, help="folder on the node's own disk for copies of shards")
    cache_bytes: int = cli.setting(100_000_000_000, help="most that --cache_dir may hold")
    tune: bool = cli.setting(
        False,
        help="calibrate confidences on --data, of best paths and of the search that is asked for, and with --lm find "
        "the best --lm_weight and --word_bonus; kept with the model and beside --lm",
    )
    decoding: DecodingOptions = field(default_factory=DecodingOptions)


def run(options: EvaluateOptions) -> None:
    """Evaluates the model and prints the rates.

    Raises:
        CliError: The model or a data set cannot be used, or results cannot be written; which they are printed before.
        OneRankError: Memory ran out.
        TransientError: Another rank has ended.
    """
    _check(options)
    indexes = {folder: read_index([folder]) for folder in options.data}
    with quick_imports():  # of seconds, which neither --help nor a mistyped flag waits for
        from asrscale.common import distributed
        from asrscale.model.pretrained import load_recognizer
        from asrscale.model.recognizer import print_notes
        from asrscale.results.report import evaluate_data_sets

    files = _places(options, indexes)
    beside = _read_beside(options, indexes)
    recognizer = load_recognizer(at_revision(options.model, options.revision), options.language or "")
    decoder, notes = open_decoder(
        options.decoding, recognizer.vocabulary, recognizer.text_rules, recognizer.search_temperature
    )
    with distributed.joined_ranks() as world, distributed.lost_ranks_explained():
        if world.is_main:
            print_notes(recognizer)
            print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
        options = _with_memory_cap(options, recognizer, world)
        with memory_errors_explained(options.memory_cap_seconds):
            if options.tune:
                recognizer, decoder = tune_for(options, recognizer, decoder, indexes[options.data[0]], world)
            report = evaluate_data_sets(
                recognizer,
                indexes,
                world,
                files,
                metric=options.metric,
                beside=beside,
                memory_cap_seconds=options.memory_cap_seconds,
                threads=options.threads,
                cache=cache_of(options),
                decoder=decoder,
            )
    if world.is_main:
        for folder, index in indexes.items():
            for note in [*index.notes, *_other_rules(recognizer, folder, index)]:
                print(note, file=sys.stderr)
        print(report.text, flush=True)
        if report.unwritten:
            raise CliError("; ".join(report.unwritten))


def _with_memory_cap(options: EvaluateOptions, recognizer: "Recognizer", world: "World") -> EvaluateOptions:
    """Returns options with a cap that fits all ranks, to whose devices the model has moved; a collective."""
    from asrscale.common import distributed
    from asrscale.memory.inference import move_to_device

    own_seconds = move_to_device(recognizer, world.device, options.memory_cap_seconds)
    return replace(options, memory_cap_seconds=min(distributed.gather_objects(own_seconds, world)))


def _places(options: EvaluateOptions, folders: Iterable[str]) -> "ReportFiles":
    """Returns where results of the different folders of --data are written.

    Raises:
        CliError: There they cannot be written.
    """
    from asrscale.results.report import ReportFiles, data_set_name

    file_names = {data_set_name(folder) for folder in folders}
    if len(file_names) < len(options.data):
        raise CliError("--data: two folders would write their predictions to one file: evaluate them one at a time")
    beside_model = Path(find_model(options.model).settings).absolute().parent / "eval"
    out = Path(options.out) if options.out else beside_model
    files = ReportFiles(model=options.model, folder=out, page=options.html)
    for folder in folders:
        for file in files.of(folder):
            check_writable("--out", file)
    if options.html:
        check_writable("--html", Path(options.html))
    return files


def cache_of(options: EvaluateOptions) -> Cache | None:
    """Returns the copies of remote shards that options ask for."""
    return Cache(options.cache_dir, options.cache_bytes) if options.cache_dir else None


def tune_for(
    options: EvaluateOptions, recognizer: "Recognizer", decoder: Decoder | None, index: Index, world: "World"
) -> "tuple[Recognizer, Decoder | None]":
    """Returns recognizer and decoder as tuned, which is written and printed on rank 0; a collective."""
    from asrscale.results.tuned_files import keep_search, keep_temperatures
    from asrscale.results.tuning import tune, with_weights

    metric = choose_metric(options.metric, index)
    tuned = tune(
        recognizer,
        decoder,
        index,
        metric,
        world,
        memory_cap_seconds=options.memory_cap_seconds,
        threads=options.threads,
        cache=cache_of(options),
    )
    if world.is_main:
        lm, data = options.decoding.lm, options.data[0]
        lines = keep_temperatures(options.model, data, tuned, has_language_model=lm is not None)
        if decoder is not None and lm is not None:
            lines += keep_search(options.model, data, lm, decoder, tuned, metric)
        print(*lines, sep="\n", flush=True)
    # Where none could be fitted, that of the model's folder stays; of other weights than before there is none.
    calibrated = replace(recognizer, temperature=tuned.temperature or recognizer.temperature)
    if decoder is None or tuned.search is None:
        return calibrated, None
    known = decoder.temperature if options.decoding.lm is None else 1.0
    weighted = with_weights(decoder, tuned.search.weights)
    return calibrated, replace(weighted, temperature=tuned.search.temperature or known)


def _read_beside(options: EvaluateOptions, indexes: Mapping[str, Index]) -> Beside:
    """Returns what is counted beside the model's own errors.

    Raises:
        CliError: The data are not in English, or another evaluation cannot be read or is of other data.
    """
    if options.normalizer is not None:
        for folder, index in indexes.items():
            check_english(folder, index)
    [index] = list(indexes.values())[:1]
    return Beside(
        english=english_normalizer() if options.normalizer is not None else None,
        compared=read_others("--compare", options.compare, index),
        seeds=read_others("--seeds", options.seeds, index),
    )


def _other_rules(recognizer: "Recognizer", folder: str, index: Index) -> list[str]:
    """Returns a line where the model was trained on transcripts that were normalised in another way than these."""
    trained_on = recognizer.text_rules
    if trained_on is None or set(index.text_rules) == {trained_on}:
        return []
    of_data = "; ".join(dict.fromkeys(map(name_rules, index.text_rules)))
    return [
        f"{folder}: its transcripts are normalised as {of_data}, those that the model was trained on as "
        f"{name_rules(trained_on)}: some errors may be these differences"
    ]


def _check(options: EvaluateOptions) -> None:
    """Raises CliError where options are out of range or contradict each other."""
    if min(options.threads, options.cache_bytes) <= 0:
        raise CliError("--threads and --cache_bytes must be above 0")
    if options.memory_cap_seconds < 0:
        raise CliError("--memory_cap_seconds must be 0 or more")
    if options.tune and len(options.data) > 1:
        raise CliError("--tune takes one data set, of validation: give one --data")
    if options.html and len(options.data) > 1:
        raise CliError("--html is a page of one data set: give one --data")
    if (options.compare or options.seeds) and len(options.data) > 1:
        raise CliError("--compare and --seeds are about one data set: give one --data")


if __name__ == "__main__":
    cli.run(EvaluateOptions, run)
