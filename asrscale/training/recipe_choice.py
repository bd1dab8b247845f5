"""Chooses the settings that nobody has given, from the data, the model, and what its head makes of the data."""

import math
from dataclasses import replace
from pathlib import Path

from asrscale.common.distributed import World, print_on_main
from asrscale.data.catalog import Catalog
from asrscale.data.index import Index
from asrscale.data.run_plan import RunPlan, plan_run
from asrscale.model.architectures import ARCHITECTURES
from asrscale.model.recognizer import Recognizer
from asrscale.results.evaluation import choose_subset, evaluate
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training.config import TrainConfig
from asrscale.training.memory_plan import plan_memory
from asrscale.training.recipe import TRANSCRIBES_BELOW_CER, Situation, Start, recommend
from asrscale.training.recipe_settings import (
    Chosen,
    adopt,
    count_steps,
    earlier_settings,
    read_chosen,
    shorten_warmup,
    with_batches,
    with_length,
)
from asrscale.training.time_limit import fit_into

# Enough to tell a head that transcribes from one that does not, in a few seconds on a CPU.
PROBED_UTTERANCES = 32
PROBE_CAP_SECONDS = 40.0

USUAL_UTTERANCE_SECONDS = 5.0  # of Common Voice, where there are no data yet


def choose_settings(
    config: TrainConfig,
    catalog: Catalog,
    valid: Index,
    recognizer: Recognizer,
    world: World,
    *,
    augmentation: str = "",
) -> tuple[TrainConfig, RunPlan, Chosen]:
    """Fills in what is open in the settings of a run, and plans its data. A collective.

    A run that goes on keeps what was chosen for it.

    Args:
        config: The settings so far.
        catalog: The training data.
        valid: The validation data.
        recognizer: The model as the run starts with it.
        world: This process among the ranks.
        augmentation: Hash of what is done to the sound.

    Returns:
        The settings, the order of the training data, and what was chosen.
    """
    earlier = earlier_settings(Path(config.general.run))
    if earlier is None:
        start = _find_start(config, valid, recognizer, world)
        chosen = Chosen(catalog.hours, start, tuple(sorted(config.open)))
    else:
        config = adopt(config, earlier)
        chosen = read_chosen(earlier)
    recipe = recommend(_situation(config, chosen, int(catalog.utterances.sum()), recognizer))
    config = with_batches(config, recipe)
    plan = plan_data(config, catalog, recognizer, augmentation)
    if earlier is None and config.batching.max_minutes:
        capped, _ = plan_memory(config, plan, world)
        recipe, reserved_seconds = fit_into(capped, recipe, plan, valid, recognizer, world)
        chosen = replace(chosen, reserved_seconds=reserved_seconds)
    subset = choose_subset(valid, config.evaluation.eval_utterances)
    evaluated_seconds = int(subset.num_samples.sum()) / SAMPLE_RATE_HZ
    config = with_length(config, recipe, plan.steps_per_epoch, evaluated_seconds)
    config, note = shorten_warmup(config, count_steps(config, plan.steps_per_epoch))
    if note:
        print_on_main(world, note)
    return config, plan, chosen


def settings_before_a_run(
    config: TrainConfig, catalog: Catalog | None, hours: float, recognizer: Recognizer, *, augmentation: str = ""
) -> tuple[TrainConfig, RunPlan | None, Chosen]:
    """Does for the planner what `choose_settings` does for a run, without transcribing anything.

    Args:
        config: The settings so far.
        catalog: The training data; None where there are none yet.
        hours: Of training data, then.
        recognizer: The model, without its weights.
        augmentation: Hash of what is done to the sound.

    Returns:
        The settings, the order of the training data (None without any), and what was chosen.
    """
    start: Start = "a new head"
    if config.model.model in ARCHITECTURES:
        start = "random weights"
    elif recognizer.transcribes and not config.model.new_head and config.model.vocab is None:
        start = "a head that transcribes"
    hours = catalog.hours if catalog else hours
    chosen = Chosen(hours, start, tuple(sorted(config.open)))
    utterances = int(catalog.utterances.sum()) if catalog else round(hours * 3600 / USUAL_UTTERANCE_SECONDS)
    recipe = recommend(_situation(config, chosen, utterances, recognizer))
    config = with_batches(config, recipe)
    plan = plan_data(config, catalog, recognizer, augmentation) if catalog else None
    steps_per_epoch = plan.steps_per_epoch if plan else math.ceil(hours * 3600 / config.batching.step_seconds)
    utterance_seconds = hours * 3600 / max(1, utterances)
    config = with_length(config, recipe, steps_per_epoch, config.evaluation.eval_utterances * utterance_seconds)
    config, _ = shorten_warmup(config, count_steps(config, steps_per_epoch))
    return config, plan, chosen


def plan_data(config: TrainConfig, catalog: Catalog, recognizer: Recognizer, augmentation: str) -> RunPlan:
    """Returns the order of the training data."""
    return plan_run(
        catalog,
        recognizer.vocabulary,
        recognizer.geometry,
        seed=config.general.seed,
        batch_seconds=config.batching.batch_seconds,
        units_per_step=config.batching.units_per_step,
        perturb_speed=config.data.perturb_speed,
        augmentation=augmentation,
    )


def _situation(config: TrainConfig, chosen: Chosen, utterances: int, recognizer: Recognizer) -> Situation:
    return Situation(
        hours=chosen.hours,
        utterances=utterances,
        start=chosen.start,
        width=recognizer.model.config.hidden_size,
        trains_additions=bool(config.model.lora_rank or config.model.train_adapter),
    )


def _find_start(config: TrainConfig, valid: Index, recognizer: Recognizer, world: World) -> Start:
    """Returns what a run starts from; transcribes a little where the model has a trained head. A collective."""
    if config.model.model in ARCHITECTURES:
        return "random weights"
    if not recognizer.transcribes:
        return "a new head"
    if not config.open:
        return "a head that transcribes"  # which nothing depends on
    result = evaluate(
        recognizer.model.to(world.device),
        recognizer,
        choose_subset(valid, PROBED_UTTERANCES),
        world,
        memory_cap_seconds=PROBE_CAP_SECONDS,
        threads=config.data.decode_threads,
        title=None,
    )
    error_rate = result.errors.cer
    transcribes = error_rate < TRANSCRIBES_BELOW_CER
    print_on_main(
        world,
        f"{config.model.model} has {error_rate:.0%} CER on {PROBED_UTTERANCES} utterances of --valid before training: "
        f"{'its head transcribes' if transcribes else 'its head has to learn such speech as a new one'}",
    )
    return "a head that transcribes" if transcribes else "a new head"
