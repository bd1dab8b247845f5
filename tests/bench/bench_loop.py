"""The training loop beside the bare model's step, on exactly the same passes: `make bench-step`.

    python tests/bench/bench_loop.py [--data DIR] [--grid]

DIR is a folder of shards with the splits train and dev; by default tones are made.

`stock` is what a step cannot do without: transformers' forward pass (its own dropout; a mask only where a pass has
padded frames), torch's CTC loss, backward, clipping, fused AdamW; its waveforms are decoded, normalised and padded
before the clock starts. `bare` is the same with the kernels that asrscale chooses (`suitable_kernels`). `ranks`, with
more than one, are as many processes of `bare` at once, each with the passes of its rank, which add up their gradients
in one call of torch: what data parallel training cannot do without. `loop` is a run as launch/train.py makes it, one
process a rank, with all of it: reading, decoding, SpecAugment, dropout by hashes, DeepSpeed, metering, logging.

All are processes of one thread, and take turns, a block of steps each. Of each block all report the seconds of the
processor, of all threads and ranks, which others that use the machine change little, and those of the clock, which say
something on a quiet machine only: of `bare` they are divided by the number of ranks.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from turns import Turns, take_turn, wait

from asrscale.common import cli

Values: TypeAlias = NDArray[np.float64]

REPOSITORY = Path(__file__).parents[2]

# Settings of an architecture of random weights, and whether its stem is trained.
MODELS: dict[str, tuple[dict[str, Any], bool]] = {
    "tiny": ({}, True),
    "2.7m": (dict(hidden_size=256, num_hidden_layers=3, intermediate_size=1024), True),
    "base-2": (dict(num_hidden_layers=2), False),
    "base": ({}, False),
}
CAP_SECONDS = 40
MASKED_FRAMES = 0.05  # SpecAugment's, as for fine-tuning
WARM_UP_STEPS = 6
UTTERANCES = 1_000


@dataclass(frozen=True)
class Options:
    """Prints, for each combination, what a step of the loop and of the bare model takes."""

    data: str | None = cli.setting(None, help="folder of shards with the splits train and dev; by default tones")
    grid: bool = cli.setting(False, help="all that the other flags can be, which takes hours")
    models: tuple[str, ...] = cli.setting(("tiny", "2.7m"), help="of tiny, 2.7m, base-2 and base")
    step_seconds: tuple[int, ...] = cli.setting((12, 24, 160), help="audio of a step, on all ranks together")
    stages: tuple[int, ...] = cli.setting((2,), help="ZeRO's")
    ranks: tuple[int, ...] = cli.setting((1, 2), help="processes of the loop")
    epochs_before: int = cli.setting(1, help="before the first turn; in the first epoch the loop decodes what it keeps")
    blocks: int = cli.setting(8, help="turns that each takes")
    block_seconds: int = cli.setting(480, help="audio of a turn; at least a step")
    inner: str | None = cli.setting(None, help="inner use: one process, with the settings in this file")


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    model: str
    step_seconds: int
    stage: int
    ranks: int
    data: str
    blocks: int
    block_steps: int
    steps_before: int  # the first turn
    folder: str  # of this case

    @property
    def steps(self) -> int:
        return self.steps_before + self.blocks * self.block_steps


def main(options: Options) -> None:
    """Runs all combinations, one after the other."""
    if options.inner:
        settings = json.loads(Path(options.inner).read_text())
        case = Case(**settings)
        kind = os.environ["BENCH_KIND"]
        return run_loop(case) if kind == "loop" else run_bare(case, kind)
    print("Milliseconds of the processor a step; in brackets the least and the most of the turns.")
    ratios = "stock / loop", "bare / loop", "by the clock: bare / loop", "ranks / loop", "bare / ranks"
    print(
        f"{'model':7} {'step':>5} {'ranks':>5} {'ZeRO':>4} {'stock':>8} {'bare':>8} {'loop':>8} "
        + "".join(f"  {title:24}" for title in ratios),
        flush=True,
    )
    options = replace(options, models=tuple(MODELS), stages=(0, 1, 2, 3)) if options.grid else options
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or build_tones(Path(folder))
        for model in options.models:
            write_initial(model, data, Path(folder, model))
            for given in product(options.step_seconds, options.ranks, options.stages):
                seconds, ranks, stage = given
                scratch = Path(folder, model, "-".join(map(str, given)))
                scratch.mkdir()
                steps = max(1, options.block_seconds // seconds)
                before = WARM_UP_STEPS + round(options.epochs_before * seconds_of(data) / seconds)
                compare(Case(model, seconds, stage, ranks, data, options.blocks, steps, before, str(scratch)))
    return None


def build_tones(folder: Path) -> str:
    """Makes shards of the tests' tones; returns their folder."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from conftest import write_corpus

    from asrscale.corpus.build import build
    from asrscale.corpus.build_options import ShardOptions

    corpus = write_corpus(folder / "corpus", utterances=UTTERANCES)
    build(ShardOptions(csv=(f"train={corpus}", f"dev={corpus}"), out=str(folder / "shards")))
    return str(folder / "shards")


def seconds_of(data: str) -> float:
    """The audio of an epoch."""
    from asrscale.data.catalog import read_catalog

    return read_catalog([f"{data}/train"]).hours * 3600


def write_initial(name: str, data: str, folder: Path) -> None:
    """Writes the weights that all start from."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    from asrscale.data.catalog import read_catalog
    from asrscale.model.architectures import TINY
    from asrscale.model.building import build_recognizer

    settings, _ = MODELS[name]
    torch.manual_seed(0)
    base = folder / "initial"
    if name.startswith("base"):
        Wav2Vec2ForCTC(Wav2Vec2Config(**settings)).wav2vec2.save_pretrained(base)
        return
    TINY.update(settings)
    build_recognizer("tiny", read_catalog([f"{data}/train"]).characters).save(base)


# --- the parent: turns, and the table -------------------------------------------------------------------------------


def compare(case: Case) -> None:
    """Starts the processes of a case, gives them turns, and prints a row."""
    settings = Path(case.folder, "case.json")
    settings.write_text(json.dumps(vars(case)))
    port = free_port()
    processes = {
        "stock": [start(settings, "stock", {})],
        "bare": [start(settings, "bare", {})],
        "loop": [start(settings, "loop", rank_environment(case, rank, port)) for rank in range(case.ranks)],
    }
    if case.ranks > 1:
        port = free_port()
        processes["ranks"] = [
            start(settings, "ranks", rank_environment(case, rank, port)) for rank in range(case.ranks)
        ]
    for started in processes.values():
        wait(started)
    turns = []
    for _ in range(case.blocks):
        turn = {kind: take_turn(started) for kind, started in processes.items()}
        assert len({reports[0]["audio"] for reports in turn.values()}) == 1, "other steps"
        turns.append(turn)
    for process in (one for started in processes.values() for one in started):
        process.kill()
        process.wait()
    print_row(case, turns)


def print_row(case: Case, turns: list[dict[str, list[dict[str, float]]]]) -> None:
    """Prints the mean times of a step, and their ratios with the least and the most of all turns."""

    def total(kind: str, what: str) -> Values:
        return np.array([sum(report[what] for report in turn[kind]) for turn in turns]) / case.block_steps

    def ratio(numerator: Values, denominator: Values) -> str:
        ratios = numerator / denominator
        return f"{numerator.sum() / denominator.sum():.3f} [{ratios.min():.3f}, {ratios.max():.3f}]"

    seconds = {kind: total(kind, "cpu") for kind in ("stock", "bare", "loop")}
    clock = {
        kind: np.array([max(report["clock"] for report in turn[kind]) for turn in turns]) / case.block_steps
        for kind in turns[0]
    }
    clock["bare"] /= case.ranks
    pairs = [("bare", "loop"), ("ranks", "loop"), ("bare", "ranks")]
    ratios = [ratio(seconds[kind], seconds["loop"]) for kind in ("stock", "bare")]
    ratios += [ratio(clock[one], clock[other]) for one, other in pairs if {one, other} <= clock.keys()]
    print(
        f"{case.model:7} {case.step_seconds:4}s {case.ranks:5} {case.stage:4} "
        + "".join(f"{values.mean() * 1000:8.1f} " for values in seconds.values())
        + "".join(f"  {one:24}" for one in ratios),
        flush=True,
    )


def rank_environment(case: Case, rank: int, port: int) -> dict[str, str]:
    """What a launcher tells a rank."""
    return dict(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(case.ranks), LOCAL_WORLD_SIZE=str(case.ranks),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start(settings: Path, kind: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    """Starts one process of a case; what it prints goes to a file beside its settings."""
    log = settings.with_name(f"log-{kind}{environment.get('RANK', '')}").open("w")
    command = [sys.executable, __file__, "--inner", str(settings)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1", "BENCH_KIND": kind} | environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
    )  # fmt: skip


# --- the children ---------------------------------------------------------------------------------------------------


def config_of(case: Case) -> Any:
    """The settings of the run."""
    from asrscale.training.config import train_config

    units = 4 if case.step_seconds > 100 else 2
    return train_config(
        config=f"zero{case.stage}", run=f"{case.folder}/run",
        train=(f"{case.data}/train",), valid=(f"{case.data}/dev",),
        model=f"{Path(case.folder).parent}/initial", seed=1, max_steps=case.steps + 1, schedule="linear",
        learning_rate=1e-4, warmup_steps=10, batch_seconds=case.step_seconds / units, units_per_step=units,
        freeze_feature_encoder=not MODELS[case.model][1], activation_checkpointing=0, memory_cap_seconds=CAP_SECONDS,
        mask_time_prob=MASKED_FRAMES, mask_feature_prob=0.0, layerdrop=0.0,
        log_steps=20, save_steps=10**6, eval_steps=10**6, eval_utterances=1, wandb="off",
    )  # fmt: skip


def run_loop(case: Case) -> None:
    """Trains as launch/train.py does, in blocks."""
    turns = Turns(case.block_steps, case.steps_before)

    from asrscale.training import loop
    from asrscale.training.run import train
    from asrscale.training.stopping import watching

    add = loop.Meter.add

    def add_audio(self: Any, step: Any, *given: Any) -> None:
        nonlocal audio
        audio = step.audio_samples
        add(self, step, *given)

    audio, take_steps = 0, loop.take_steps

    def in_turns(*given: Any) -> Iterator[Any]:
        for reached in take_steps(*given):
            turns.step_done(audio)
            yield reached

    loop.take_steps, loop.Meter.add = in_turns, add_audio  # type: ignore[method-assign]
    config = config_of(case)
    with watching(Path(config.general.run)) as watch:
        train(config, watch)


def run_bare(case: Case, kind: str) -> None:
    """Takes the same steps with nothing but the model, those long before the first turn left out."""
    turns = Turns(case.block_steps, WARM_UP_STEPS)

    import torch
    from torch import nn

    from asrscale.data.catalog import read_catalog
    from asrscale.model.cpu_kernels import suitable_kernels
    from asrscale.training.final_model import new_recognizer
    from asrscale.training.optimizer import build_optimizer

    torch.set_num_threads(1)
    config = config_of(case)
    catalog = read_catalog([f"{case.data}/train"])
    recognizer = new_recognizer(config, catalog)
    model = stock_model(recognizer, frozen_stem=config.model.freeze_feature_encoder)
    optimizer = build_optimizer(model, weight_decay=0.005, adam_beta2=0.999)
    for group in optimizer.param_groups:
        group["lr"] = 1e-5
    own_rank = int(os.environ["RANK"]) if kind == "ranks" else None
    if own_rank is not None:
        torch.distributed.init_process_group("gloo")
    steps = bare_steps(config, case, catalog, recognizer, own_rank)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with suitable_kernels(model) if kind != "stock" else nullcontext():
        for audio_samples, passes in steps:
            for one in passes:
                share(one, model, recognizer).backward()
            if own_rank is not None:
                add_up(weights)
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            turns.step_done(audio_samples)


def add_up(weights: list[Any]) -> None:
    """Adds up the gradients of all ranks in one call."""
    import torch

    gradients = [weight.grad for weight in weights if weight.grad is not None]
    flat = torch._utils._flatten_dense_tensors(gradients)
    torch.distributed.all_reduce(flat)
    torch._foreach_copy_(gradients, torch._utils._unflatten_dense_tensors(flat, gradients))


def share(one: Any, model: Any, recognizer: Any) -> Any:
    """The loss of a pass, as its share of that of its step."""
    import torch

    from asrscale.model.forward import count_frames

    batch, inputs, mask, good = one
    logits = model(inputs, attention_mask=mask).logits
    log_probs = torch.log_softmax(logits, dim=-1).transpose(0, 1)
    num_frames = count_frames(recognizer.model, batch.num_samples)
    blank = recognizer.vocabulary.blank_id
    lengths = num_frames, batch.num_labels
    losses = torch.nn.functional.ctc_loss(log_probs, batch.labels, *lengths, blank=blank, reduction="none")
    return (losses / batch.num_labels).sum() / good


def stock_model(recognizer: Any, *, frozen_stem: bool) -> Any:
    """The model of a run, as transformers has it."""
    from transformers import Wav2Vec2ForCTC

    config = recognizer.model.config
    model = Wav2Vec2ForCTC(config).train()
    model.load_state_dict(recognizer.model.state_dict())
    if frozen_stem:
        model.freeze_feature_encoder()
    return model


def bare_steps(
    config: Any, case: Case, catalog: Any, recognizer: Any, own_rank: int | None
) -> Iterator[tuple[int, list[Any]]]:
    """Yields for each step its samples and the passes of one or of all ranks, with normalised waveforms and masks.

    The steps of a block are read while the process waits for its turn.
    """
    import torch

    from asrscale.data.run_plan import plan_run
    from asrscale.data.step_reader import steps_from
    from asrscale.model.forward import has_padded_frames
    from asrscale.model.padding import standardise

    plan = plan_run(
        catalog, recognizer.vocabulary, recognizer.geometry, seed=config.general.seed,
        batch_seconds=config.batching.batch_seconds, units_per_step=config.batching.units_per_step,
    )  # fmt: skip
    shared: dict[str, Any] = dict(world_size=case.ranks, cap_samples=CAP_SECONDS * 16_000, threads=1)
    numbers = range(case.steps_before - WARM_UP_STEPS, case.steps)
    of_ranks = [steps_from(plan, numbers, rank=rank, **shared) for rank in range(case.ranks)]
    ready = []
    for steps in zip(*of_ranks, strict=True):
        batches = [batch for step in steps for batch in step.batches if len(batch.utterances)]
        good = sum(len(batch.utterances) for batch in batches)
        if own_rank is not None:
            batches = [batch for batch in steps[own_rank].batches if len(batch.utterances)]
        passes = []
        for batch in batches:
            mask = (torch.arange(batch.waveforms.shape[1]) < batch.num_samples[:, None]).long()
            inputs = standardise(batch.waveforms.float() / 2**15, batch.num_samples[:, None], 1e-7) * mask
            is_padded = has_padded_frames(recognizer, batch.num_samples, inputs.shape[1])
            passes.append((batch, inputs, mask if is_padded else None, good))
        ready.append((steps[0].audio_samples, passes))
    yield from ready


if __name__ == "__main__":
    cli.run(Options, main)
