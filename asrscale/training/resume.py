"""Where a run starts: at the newest whole checkpoint, or at the beginning."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from asrscale.common import distributed
from asrscale.common.distributed import World, print_on_main
from asrscale.common.errors import CliError, TransientError
from asrscale.data.catalog import Catalog
from asrscale.data.mixing import data_sets
from asrscale.data.run_plan import BY_LENGTH, EQUAL_FRAMES, RunPlan
from asrscale.model.export import has_card
from asrscale.model.recognizer import Recognizer
from asrscale.training import checkpoint
from asrscale.training.checkpoint import RunState
from asrscale.training.config import PLACES_OF_DATA, TrainConfig, check_resumable, to_dict


def choose_start(
    config: TrainConfig, plan: RunPlan, content: Mapping[str, str], recognizer: Recognizer, world: World
) -> tuple[Path | None, RunState, RunPlan]:
    """Finds the newest whole checkpoint, and loads its weights into `recognizer`. A collective.

    Args:
        config: The settings of the run.
        plan: The order of its training data.
        content: Hashes of what is in its training and validation data, by the names of their flags.
        recognizer: Gets the weights.
        world: This process among the ranks.

    Returns:
        The checkpoint's folder, or None; the position at which the run starts; and the plan that it goes on with, which
        is cut as in older versions where one of them began the run.

    Raises:
        CliError: No checkpoint is whole, the folder holds a finished model and no checkpoint, or data or settings
            changed that must not, or differ between ranks.
        TransientError: The ranks see different checkpoints.
    """
    folder = Path(config.general.run)
    newest, refusals = checkpoint.whole_checkpoint(folder)
    if refusals:
        print_on_main(world, "\n".join([*refusals, f"going on from {newest}"]))
        if newest is None:
            raise CliError(f"no checkpoint of {folder} is whole: choose another --run, or delete them to start over")

    if newest is None and has_card(folder / "model"):
        raise CliError(
            f"{folder} holds a finished model, and no checkpoint to go on from: choose another --run, or delete "
            f"{folder / 'model'} to train anew"
        )

    state = RunState()
    if newest is not None:
        changes = check_resumable(config, folder, content)
        _check_same_weights(plan.catalog, folder)
        for change in changes:
            print_on_main(world, change)
        plan = _as_begun(plan, folder, world)
        saved = checkpoint.read_state(newest)
        state = replace(saved, restarts=saved.restarts + 1)
        checkpoint.load_weights(recognizer, newest)
    _check_ranks_agree(config, plan, state, world)
    return newest, state, plan


def _as_begun(plan: RunPlan, folder: Path, world: World) -> RunPlan:
    """Returns the plan as a run has it that is under way, by the rules of the version that began it."""
    before = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    older_rules = EQUAL_FRAMES if before.get("equal_frames", False) else BY_LENGTH
    rules = before.get("plan_rules", older_rules)
    if rules == plan.rules:
        return plan
    if type(rules) is not int or rules > plan.rules:
        raise CliError(f"{folder} was begun by a newer asrscale: update this one, or choose another --run")
    print_on_main(world, "an older asrscale began this run: its utterances keep the order that they had then")
    return replace(plan, rules=rules)


def _check_same_weights(catalog: Catalog, folder: Path) -> None:
    """Raises CliError where a run was started with other weights of the same data sets."""
    before = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found = data_sets(catalog)
    weights = [one.weight for one in found]
    weights_before = before.get("weights", [1.0] * len(found))  # older versions had none
    if weights != weights_before and {*weights, *weights_before} != {1.0}:  # folders may have been joined
        raise CliError(
            f"{folder} was started with the weights {_list(weights_before)}, not {_list(weights)} of "
            f"{', '.join(one.name for one in found)} (--train): go on with the old ones, or choose another --run"
        )


def _list(weights: Iterable[float]) -> str:
    return ", ".join(f"{weight:g}" for weight in weights)


def _check_ranks_agree(config: TrainConfig, plan: RunPlan, state: RunState, world: World) -> None:
    """Raises an error where ranks have other settings, data or checkpoints than the main rank."""
    settings = {name: value for name, value in to_dict(config).items() if name not in PLACES_OF_DATA}
    own = settings | {"training data": plan.fingerprint, "checkpoint": state.step}
    of_ranks = distributed.gather_objects(own, world)
    main = of_ranks[0]
    differing = [name for name in main if any(one[name] != main[name] for one in of_ranks)]
    if not differing:
        return
    message = (
        f"the ranks do not agree on {', '.join(differing)}: start all of them with the same command, with the data "
        f"and {config.general.run} on a disk that they share"
    )
    if differing == ["checkpoint"]:  # a shared file system shows new files to some nodes later than to others
        raise TransientError(message)
    raise CliError(message)
