"""WER and CER of a model on data sets: each utterance once, whatever the number of ranks.

python -m asrscale.evaluate --model runs/demo/model --data data/demo/shards/test,data/demo/shards/voices
"""

import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
import torch
from torch import nn

from asrscale import cli
from asrscale import engine as ds
from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.batching import cut_step, hash_keys, plan_epoch
from asrscale.breakdown import break_down, in_words, write_page
from asrscale.engine import World
from asrscale.errors import CliError, Stopped
from asrscale.files import write_json, write_rows
from asrscale.index import Index, read_index
from asrscale.loader import MIN_BATCH_SAMPLES, Batch, load_steps
from asrscale.metrics import ErrorCounts, count_errors
from asrscale.model import Recognizer, count_frames, ctc_losses, forward_logits, greedy_texts, load_recognizer
from asrscale.progress import progress
from asrscale.storage import Cache
from asrscale.text import normalise
from asrscale.watch import Watch

UNIT_SAMPLES, UNITS_PER_STEP = 40 * SAMPLE_RATE_HZ, 8  # a few together are long enough to deal evenly to the ranks
WINDOW = 4096  # utterances that are planned at once, and whose texts are in memory: some hours, and 2 MB


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


@dataclass(frozen=True)
class Evaluation:
    """The result on one set of utterances, the same on every rank but for what was `heard`."""

    errors: ErrorCounts  # summed over all utterances
    loss: float | None  # mean CTC loss per label of the utterances long enough for their transcript; None without any
    heard: IO[str]  # `hypotheses` as lines of JSON, on the disk where they are many; on rank 0 only
    damaged: int = 0  # utterances that could not be read and are in none of these

    def hypotheses(self) -> Iterator[tuple[int, str]]:
        """What was heard of each utterance, after its number in the index and in its order."""
        self.heard.seek(0)
        return map(json.loads, self.heard)


def evaluate(
    forward: nn.Module, recognizer: Recognizer, index: Index, world: World, *, memory_cap_seconds: float, threads: int,
    title: str | None, cache: Cache | None = None, watch: Watch | None = None,
) -> Evaluation:  # fmt: skip
    """Transcribes every utterance of `index` once, dealt to the ranks as a training step is.

    A collective: every rank calls it, with the same index. `forward` is the model, or the engine around it, and is left
    in evaluation mode; `memory_cap_seconds` is the padded audio of a pass; `title` is the progress bar's, if any.

    Raises:
        CliError: No utterance could be read.
        Stopped: `watch` was asked to stop on some rank.
    """
    forward.eval()
    lengths = np.maximum(index.num_samples, MIN_BATCH_SAMPLES)  # what the loader pads to
    cap = max(int(memory_cap_seconds * SAMPLE_RATE_HZ), int(lengths.max()))  # or one utterance, if longer
    heard = SpooledTemporaryFile(2**20, "w+")  # noqa: SIM115
    sums = np.array([*astuple(ErrorCounts()), 0.0, 0])  # and those of the losses, and their number
    lost: list[tuple[int, str]] = []
    shown, pin = world.is_main and title is not None, world.device.type == "cuda"
    with progress(len(index), title or "", "utterances", enabled=shown) as bar, torch.no_grad():
        for first in range(0, len(index), WINDOW):
            window, found = lengths[first : first + WINDOW], list[tuple[int, str]]()
            plan = plan_epoch(window, seed=0, epoch=0, batch_samples=UNIT_SAMPLES, units_per_step=UNITS_PER_STEP)
            units = [[first + unit for unit in plan.step(number)] for number in range(plan.num_steps)]
            cuts = (cut_step(one, lengths, memory_cap_samples=cap, world_size=world.world_size) for one in units)
            own_passes = (cut[world.rank] for cut in cuts)
            steps = load_steps(index, recognizer.vocabulary, own_passes, threads=threads, pin=pin, cache=cache)
            for step_units, step in zip(units, steps, strict=True):
                lost += [(one.utterance, one.reason) for one in step.damaged]
                for batch in step.batches:
                    if watch is not None:
                        watch.beat("evaluating")
                    texts, losses = transcribe_batch(forward, recognizer, batch.to(world.device))
                    found += zip(map(int, batch.utterances), texts, strict=True)
                    references = [index.texts[i].as_py() for i in batch.utterances]  # few: jiwer takes 5 kB each
                    sums += [*astuple(count_errors(references, list(map(normalise, texts)))), sum(losses), len(losses)]
                bar.advance(sum(map(len, step_units)))
                if watch is not None and any(ds.all_reduce_sum([watch.beat("evaluating")], world)):
                    raise Stopped
            every = sorted(pair for part in ds.gather_objects(found, world) for pair in part if world.is_main)
            heard.writelines(f"{json.dumps(pair)}\n" for pair in every)

    *counts, loss_sum, num_losses = ds.all_reduce_sum(sums.tolist(), world)
    damaged = sorted(pair for part in ds.gather_objects(lost, world) for pair in part)
    for i, reason in damaged if world.is_main else []:
        print(f"{index.name(i)} is left out: {reason}", file=sys.stderr, flush=True)
    if len(damaged) == len(index):
        raise CliError(f"none of {len(index):,} utterances can be read, such as {index.name(0)}: {damaged[0][1]}")
    loss = loss_sum / num_losses if num_losses else None
    return Evaluation(ErrorCounts(*map(round, counts)), loss, heard, len(damaged))


def transcribe_batch(forward: nn.Module, recognizer: Recognizer, batch: Batch) -> tuple[list[str], list[float]]:
    """Texts of a pass, and the finite ones of its losses; neither for an empty pass, which is only run."""
    logits = forward_logits(forward, recognizer, batch.waveforms, batch.num_samples)
    if not len(batch.utterances):
        return [], []
    num_frames = count_frames(recognizer.model, batch.num_samples)
    rows = batch.num_labels > 0
    labelled = logits[rows], num_frames[rows], batch.labels[rows], batch.num_labels[rows]
    losses = ctc_losses(*labelled, recognizer.vocabulary.blank_id).tolist()
    return greedy_texts(recognizer, logits, num_frames), [loss for loss in losses if math.isfinite(loss)]


def choose_subset(index: Index, size: int) -> Index:
    """A fixed sample of an index, the same on every rank and in every run; the whole where it is small."""
    if len(index) <= size:
        return index
    return index.take(np.sort(np.argsort(hash_keys(len(index), 0), kind="stable")[:size]))


def predictions(index: Index, hypotheses: Iterable[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    """A row for each utterance that was heard: key, seconds, reference, hypothesis."""
    for i, text in hypotheses:
        key, reference, seconds = index.keys[i].as_py(), index.texts[i].as_py(), index.num_samples[i] / SAMPLE_RATE_HZ
        yield {"key": key, "seconds": float(seconds), "reference": reference, "hypothesis": text}


def table(rows: dict[str, tuple[Index, Evaluation]]) -> str:
    """The results of several data sets as text, a line each."""
    width = max(len("data"), *map(len, rows))
    lines = [f"{'data':{width}}  utterances   hours     WER     CER   sub   del   ins"]
    for name, (index, result) in rows.items():
        e = result.errors
        lines.append(
            f"{name:{width}}  {e.utterances:>10,}  {index.hours:>6.2f}  {e.wer:>6.2%}  {e.cer:>6.2%}  "
            f"{e.word_substitutions:>4}  {e.word_deletions:>4}  {e.word_insertions:>4}"
        )
    lost = {name: result.damaged for name, (_, result) in rows.items() if result.damaged}
    return "\n".join(lines + [f"{name}: {count:,} damaged utterances are left out" for name, count in lost.items()])


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
    with ds.joined_ranks() as world:
        model = recognizer.model.to(device=world.device)
        for folder, index in indexes.items():
            result = evaluate(model, recognizer, index, world, title=f"transcribing {folder}", **how)
            if not world.is_main:
                continue
            rows[folder], name = (index, result), data_set_name(folder)
            found = break_down(index, result.hypotheses())
            details.append(f"{folder}: {in_words(found)}")
            write_rows(out / f"{name}.jsonl", predictions(index, result.hypotheses()))
            write_json(out / f"{name}.json", {"data": folder, "model": options.model} | found)
            if options.html:
                write_page(options.html, f"{options.model} on {folder}", index, found)
    if world.is_main:
        print("\n".join([table(rows), *details, f"predictions and all rates: {out}/*.jsonl and *.json"]))


def data_set_name(folder: str) -> str:
    """A file name for a data set folder: its last two parts, so that cv/test and orders/test stay apart."""
    return "-".join(Path(folder).absolute().parts[-2:])


if __name__ == "__main__":
    cli.run(EvaluateOptions, run)
