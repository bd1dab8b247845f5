"""WER and CER of a model on data sets.

python -m asrscale.evaluate --model runs/demo/model --data data/demo/shards/test,data/demo/shards/voices
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asrscale.common import cli, distributed
from asrscale.common.atomic_files import write_json, write_jsonl
from asrscale.common.errors import CliError
from asrscale.common.shard_cache import Cache
from asrscale.data.index import Index, read_index
from asrscale.model.pretrained import load_recognizer
from asrscale.results.breakdown import break_down, format_breakdown
from asrscale.results.evaluation import Evaluation, evaluate
from asrscale.results.evaluation_page import write_evaluation_page
from asrscale.results.predictions import predictions, table


@dataclass(frozen=True)
class EvaluateOptions:
    """Transcribes data sets with a fine-tuned model and prints its word and character error rates.

    `torchrun -m asrscale.evaluate …` deals the utterances to several processes.
    """

    model: str = cli.setting(help="model folder or Hugging Face id")
    data: tuple[str, ...] = cli.setting(help="data set folders, one line of the table each")
    out: str | None = cli.setting(None, help="folder for predictions and rates; default: eval beside the model folder")
    memory_cap_seconds: float = cli.setting(40.0, help="padded audio that one GPU holds at once")
    threads: int = cli.setting(2, help="threads of each rank that read and decode")
    html: str | None = cli.setting(None, help="file for a page of one data set's rates, worst utterances to hear")
    cache_dir: str | None = cli.setting(None, help="folder on the node's own disk for copies of shards")
    cache_bytes: int = cli.setting(100_000_000_000, help="most that --cache_dir may hold")


def run(options: EvaluateOptions) -> None:
    """What the command does.

    Raises:
        CliError: The model or a data set cannot be used.
    """
    indexes = {folder: read_index([folder]) for folder in options.data}
    if min(options.memory_cap_seconds, options.threads, options.cache_bytes) <= 0:
        raise CliError("--memory_cap_seconds, --threads and --cache_bytes must be above 0")
    if len(set(map(data_set_name, indexes))) < len(options.data):
        raise CliError("--data: two folders would write their predictions to one file: evaluate them one at a time")
    if options.html and len(indexes) > 1:
        raise CliError("--html is a page of one data set: give one --data")
    recognizer = load_recognizer(options.model)
    out = Path(options.out) if options.out else Path(options.model).absolute().parent / "eval"
    cache = Cache(options.cache_dir, options.cache_bytes) if options.cache_dir else None
    how = dict[str, Any](memory_cap_seconds=options.memory_cap_seconds, threads=options.threads, cache=cache)
    rows: dict[str, tuple[Index, Evaluation]] = {}
    details = []
    with distributed.joined_ranks() as world:
        model = recognizer.model.to(device=world.device)
        for folder, index in indexes.items():
            result = evaluate(model, recognizer, index, world, title=f"transcribing {folder}", **how)
            if not world.is_main:
                continue
            rows[folder], name = (index, result), data_set_name(folder)
            found = break_down(index, result.hypotheses())
            details.append(f"{folder}: {format_breakdown(found)}")
            write_jsonl(out / f"{name}.jsonl", predictions(index, result.hypotheses()))
            write_json(out / f"{name}.json", {"data": folder, "model": options.model} | found)
            if options.html:
                write_evaluation_page(options.html, f"{options.model} on {folder}", index, found)
    if world.is_main:
        print("\n".join([table(rows), *details, f"predictions and all rates: {out}/*.jsonl and *.json"]))


def data_set_name(folder: str) -> str:
    """A file name for a data set folder: its last two parts, so that cv/test and orders/test stay apart."""
    return "-".join(Path(folder).absolute().parts[-2:])


if __name__ == "__main__":
    cli.run(EvaluateOptions, run)
