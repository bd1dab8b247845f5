"""Fills in the settings that nobody has given: by a recipe, or as an earlier start of the same run had them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asrscale.common.json_values import parse_object
from asrscale.training.config import RECIPE_SETTINGS, TrainConfig, replace_settings
from asrscale.training.recipe import Recipe, Start

# A step is cut into so many units: few utterances of a short step would not fill more.
SHORT_STEP_SECONDS = 80
UNITS_OF_SHORT_STEP = 2
UNITS = 4

EVALUATIONS = 20  # of a run, and so many checkpoints; fewer where they would take long
FEWEST_EVALUATIONS = 4
PATIENCE = 6  # evaluations: three tenths of the run
LOG_LINES = 200
MOST_LOG_STEPS = 50

# Evaluations transcribe at most so much audio for each second of training: a tenth of the time, since a forward pass
# alone is about a third of the work.
EVALUATED_SHARE = 0.3


@dataclass(frozen=True)
class Chosen:
    """Which settings a recipe has chosen, and for what; RUN/config.json has it as `recipe`."""

    hours: float
    start: Start
    names: tuple[str, ...]
    reserved_seconds: float = 0.0  # for what comes after the last step, where --max_minutes limits the run

    def to_json(self) -> dict[str, Any]:
        """Returns what config.json holds of it."""
        return {
            "hours": self.hours,
            "start": self.start,
            "chosen": list(self.names),
            "reserved_seconds": self.reserved_seconds,
        }


NOTHING_CHOSEN = Chosen(hours=1.0, start="a new head", names=())


def with_batches(config: TrainConfig, recipe: Recipe) -> TrainConfig:
    """Fills in the size of a step, and what is trained of the stem."""
    config = _fill(config, freeze_feature_encoder=recipe.freeze_feature_encoder)
    if "units_per_step" not in config.open:
        return _fill(config, batch_seconds=recipe.step_seconds / config.batching.units_per_step)
    if "batch_seconds" not in config.open:
        units = max(1, round(recipe.step_seconds / config.batching.batch_seconds))
        return _fill(config, units_per_step=units)
    units = UNITS_OF_SHORT_STEP if recipe.step_seconds < SHORT_STEP_SECONDS else UNITS
    return _fill(config, units_per_step=units, batch_seconds=recipe.step_seconds / units)


def with_length(config: TrainConfig, recipe: Recipe, steps_per_epoch: int, evaluated_seconds: float) -> TrainConfig:
    """Fills in the number of steps, what depends on it, and all that is left.

    Args:
        config: With the size of a step.
        recipe: What suits the run.
        steps_per_epoch: Of the training data.
        evaluated_seconds: Audio of an evaluation.
    """
    steps_of_audio = round(recipe.audio_seconds / config.batching.step_seconds)
    config = _fill(config, max_steps=max(1, steps_of_audio))
    steps = count_steps(config, steps_per_epoch)
    eval_steps = _eval_steps(steps, config.batching.step_seconds, evaluated_seconds)
    return _fill(
        config,
        learning_rate=recipe.learning_rate,
        schedule=recipe.schedule,
        warmup_steps=int(recipe.warmup_share * steps),
        freeze_steps=int(recipe.freeze_share * steps),
        mask_time_prob=recipe.mask_time_prob,
        mask_feature_prob=recipe.mask_feature_prob,
        layerdrop=recipe.layerdrop,
        eval_steps=eval_steps,
        save_steps=eval_steps,
        log_steps=max(1, min(MOST_LOG_STEPS, steps // LOG_LINES)),
        patience=PATIENCE,
    )


def count_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Returns the length of a run in steps: as given, or of its epochs."""
    return config.batching.max_steps or max(1, round(config.batching.epochs * steps_per_epoch))


def _eval_steps(steps: int, step_seconds: float, evaluated_seconds: float) -> int:
    """Returns the steps between evaluations: a share of the run, so that they do not take more than theirs."""
    as_much_audio = evaluated_seconds / step_seconds  # in steps
    wanted = max(round(steps / EVALUATIONS), math.ceil(as_much_audio / EVALUATED_SHARE))
    # Where that leaves next to none, they may transcribe as much audio as is trained on.
    fewest = max(round(steps / FEWEST_EVALUATIONS), math.ceil(as_much_audio))
    return max(1, min(wanted, fewest, steps))


def _fill(config: TrainConfig, **values: Any) -> TrainConfig:
    """Sets those of the settings that are open; they no longer are."""
    own = {name: value for name, value in values.items() if name in config.open}
    return replace(replace_settings(config, **own), open=config.open - own.keys())


def shorten_warmup(config: TrainConfig, steps: int) -> tuple[TrainConfig, str]:
    """Returns the settings with a warm-up that ends before the run does, and what to say of it; "" where it did."""
    given = config.optimisation.warmup_steps
    if given < steps:
        return config, ""
    kept = steps // 10
    note = f"--warmup_steps {given:,} would take all {steps:,} steps of the run: {kept:,} instead"
    return replace_settings(config, warmup_steps=kept), note


def earlier_settings(run_folder: Path) -> dict[str, Any] | None:
    """Returns the settings with which a run was last started, as config.json has them; None where it has no checkpoint.

    A file that cannot be read is refused when the run is resumed, not here.
    """
    if not any(run_folder.glob("checkpoints/step-*")):
        return None
    try:
        return parse_object((run_folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def adopt(config: TrainConfig, earlier: Mapping[str, Any]) -> TrainConfig:
    """Fills in what is open as an earlier start of the run had it, whatever would be recommended now."""
    return _fill(config, **{name: earlier[name] for name in RECIPE_SETTINGS if name in earlier})


def read_chosen(earlier: Mapping[str, Any]) -> Chosen:
    """Returns what was chosen for a run that goes on; of one that an older version began, nothing."""
    recorded = earlier.get("recipe", NOTHING_CHOSEN.to_json())
    return Chosen(recorded["hours"], recorded["start"], tuple(recorded["chosen"]), recorded["reserved_seconds"])


def describe_recipe(config: TrainConfig, chosen: Chosen, steps: int, steps_per_epoch: float) -> str:
    """Returns what a run is going to do, why, and which flags change it, as an aligned table."""
    rows = recipe_rows(config, steps, steps_per_epoch)
    width = max(map(len, rows))
    lines = [f"for {recipe_occasion(chosen)}:"]
    for text, names in rows.items():
        lines.append(f"  {text:{width}}  {' '.join(flag_texts(chosen, names))}")
    return "\n".join(lines)


def recipe_occasion(chosen: Chosen) -> str:
    """Returns what the recipe is for."""
    hours = f"{chosen.hours:,.0f}" if chosen.hours >= 10 else f"{chosen.hours:.2g}"
    return f"{hours} h and {chosen.start}"


def flag_texts(chosen: Chosen, names: Iterable[str]) -> list[str]:
    """Returns settings as their flags, those marked that the recipe has not chosen."""
    return [f"--{name}" if name in chosen.names else f"--{name} (given)" for name in names]


def recipe_rows(config: TrainConfig, steps: int, steps_per_epoch: float) -> dict[str, tuple[str, ...]]:
    """Returns what a run is going to do, a text for each group of settings, with the names of these."""
    batching, optimisation, model, evaluation = config.batching, config.optimisation, config.model, config.evaluation
    epochs = steps / steps_per_epoch
    stem = "stays as it is" if model.freeze_feature_encoder else "is trained"
    return {
        f"{steps:,} steps of {batching.step_seconds:,g} s, {epochs:,.1f} epochs": (
            "max_steps",
            "batch_seconds",
            "units_per_step",
        ),
        f"learning rate {optimisation.learning_rate:g}, {optimisation.schedule}, warm-up of "
        f"{optimisation.warmup_steps:,} steps": ("learning_rate", "schedule", "warmup_steps"),
        f"the head alone for {optimisation.freeze_steps:,} steps; the stem {stem}": (
            "freeze_steps",
            "freeze_feature_encoder",
        ),
        f"SpecAugment {model.mask_time_prob:g} and {model.mask_feature_prob:g}, LayerDrop {model.layerdrop:g}": (
            "mask_time_prob",
            "mask_feature_prob",
            "layerdrop",
        ),
        f"evaluated every {evaluation.eval_steps:,} steps, stopped after {evaluation.patience} without gain": (
            "eval_steps",
            "patience",
        ),
    }
