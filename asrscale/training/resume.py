"""Where a run starts: at the newest whole checkpoint, or at the beginning."""

from dataclasses import replace
from pathlib import Path

from asrscale.common import distributed
from asrscale.common.distributed import World, print_on_main
from asrscale.common.errors import CliError, TransientError
from asrscale.data.run_plan import RunPlan
from asrscale.model.recognizer import Recognizer
from asrscale.training import checkpoint
from asrscale.training.checkpoint import RunState
from asrscale.training.config import TrainConfig, check_resumable, to_dict


def choose_start(
    config: TrainConfig, plan: RunPlan, recognizer: Recognizer, world: World
) -> tuple[Path | None, RunState]:
    """The newest whole checkpoint, if there is one, and where it stands; `recognizer` gets its weights."""
    folder = Path(config.general.run)
    resumed, refused = checkpoint.whole_checkpoint(folder)
    if refused:
        print_on_main(world, "\n".join([*refused, f"going on from {resumed}"]))
        if resumed is None:
            raise CliError(f"no checkpoint of {folder} is whole: choose another --run, or delete them to start over")
    state = RunState()
    if resumed is not None:
        for line in check_resumable(config, folder, plan.fingerprint):
            print_on_main(world, line)
        state = checkpoint.read_state(resumed)
        state = replace(state, restarts=state.restarts + 1)
        checkpoint.load_weights(recognizer, resumed)
    seen = distributed.gather_objects(
        to_dict(config) | {"training data": plan.fingerprint, "checkpoint": state.step}, world
    )
    if differing := [name for name in seen[0] if any(one[name] != seen[0][name] for one in seen)]:
        kind = TransientError if differing == ["checkpoint"] else CliError  # shared disks tell some later than others
        raise kind(
            f"the ranks do not agree on {', '.join(differing)}: start all of them with the same command, with the data "
            f"and {folder} on a disk that they share"
        )
    return resumed, state
