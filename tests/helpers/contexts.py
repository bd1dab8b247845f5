"""What the parts of a training run need, made without a launcher."""

from pathlib import Path

import numpy as np
import torch

from asrscale.common.distributed import World
from asrscale.data.index import Index, read_index, read_shards
from asrscale.data.loader import load_steps
from asrscale.data.mixing import read_mix
from asrscale.data.run_plan import plan_run
from asrscale.data.step_reader import Step
from asrscale.model.building import build_recognizer
from asrscale.model.regularisation import attach_regulariser
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training.checkpoint import RunState
from asrscale.training.config import train_config
from asrscale.training.ds_config import Precision, resolve_ds_config
from asrscale.training.loop import fit
from asrscale.training.memory_rescue import PassCap
from asrscale.training.run_context import RunContext
from asrscale.training.tracking import open_tracker
from asrscale.training.watch import Watch


def make_context(shards: Path, **given: object) -> RunContext:
    """The context of a run that trains `tiny` on `shards`, in a world of one on the CPU; `given` are its settings."""
    settings = dict(batch_seconds=3.0, units_per_step=2, memory_cap_seconds=3.0, max_steps=40, metric="wer")
    settings |= dict(model="tiny", mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0) | given
    data = {name: (str(shards / name),) for name in ("train", "valid")}
    config = train_config(**data | settings)
    masks = dict(mask_time_prob=config.model.mask_time_prob, mask_feature_prob=config.model.mask_feature_prob)
    recognizer = build_recognizer(config.model.model, "", dropout=config.model.dropout, **masks)
    plan = plan_run(
        read_mix(config.data.train, config.data.mix_temperature),
        recognizer.vocabulary,
        recognizer.geometry,
        seed=1,
        batch_seconds=config.batching.batch_seconds,
        units_per_step=config.batching.units_per_step,
    )
    world = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))
    valid = read_index(config.data.valid)
    cap = PassCap(
        path=Path("rescues.jsonl"),
        settings={},
        samples=int(config.memory.memory_cap_seconds * SAMPLE_RATE_HZ),
        longest_samples=8_000,
    )
    return RunContext(
        config=config,
        ds_config=zero_config(stage=2),
        world=world,
        folder=Path("run"),
        recognizer=recognizer,
        regulariser=attach_regulariser(recognizer.model, layerdrop=config.model.layerdrop, **masks),
        plan=plan,
        content={"train": "", "valid": ""},
        valid=valid,
        valid_subset=valid,
        total_steps=config.batching.max_steps,
        watch=Watch(Path("run")),
        cap=cap,
    )


def zero_config(stage: int, precision: Precision = "fp32", **zero: object) -> dict[str, object]:
    """A resolved DeepSpeed configuration for the CPU; `zero` adds to its "zero_optimization" section."""
    section = {"stage": stage, "stage3_param_persistence_threshold": 0} | zero
    return resolve_ds_config(
        {"zero_optimization": section},
        precision=precision,
        max_gradient_norm=1.0,
        device=torch.device("cpu"),
    )


def fit_quietly(context: RunContext, state: RunState, resumed: Path | None = None) -> RunState:
    """The state in which `fit` ends, with metrics written to the run folder only."""
    tracking = open_tracker(context.folder, project="", config={}, wandb_mode="off", resume_step=state.step)
    with tracking as tracker:
        return fit(context, state, resumed, tracker)


def train_index(context: RunContext) -> Index:
    """The index of all training data of a run."""
    catalog = context.plan.catalog
    return read_shards(catalog, range(len(catalog.shards)))


def step_of(context: RunContext, passes: list[np.ndarray], expected: int) -> Step:
    """The step that the loader makes of passes, each the numbers of its utterances, `expected` of them in all."""
    index = train_index(context)
    [loaded] = load_steps(index, context.recognizer.vocabulary, [passes], threads=1)
    return Step(
        number=0,
        utterances=expected,
        audio_samples=1,
        padded_samples=1,
        batches=loaded.batches,
        damaged=loaded.damaged,
        index=index,
    )
