"""The flags of `python -m asrscale.plan`."""

from dataclasses import dataclass, field
from typing import Any

from asrscale.common import cli
from asrscale.memory.gpus import GPUS
from asrscale.training.config import TrainConfig, train_config

# The planner's own flags; all others are those of a run.
OWN_FLAGS = ("gpu", "gpus", "hours", "calibration", "json", "html")


@dataclass(frozen=True)
class PlanOptions:
    """Prints what fits on a GPU, what its memory holds and how to run it; needs no GPU, and no data.

    Takes the flags of launch/train.py; --config, --activation_checkpointing and --memory_cap_seconds are searched for
    where they are not given. With --train and --valid it reads the lengths, and describes the epochs.
    """

    gpu: str = cli.setting("all", help=f"GiB, or one of {', '.join(GPUS)}; all: a line each")
    gpus: int = cli.setting(1, help="how many GPUs")
    hours: float = cli.setting(100.0, help="hours of training data, where --train names none yet")
    calibration: str | None = cli.setting(None, help="file that make gpu-check has written on such a card")
    json: bool = cli.setting(False, help="print everything as JSON")
    html: str | None = cli.setting(None, help="file for a page of the same, with plots of a step's memory and time")
    run: TrainConfig = field(default_factory=TrainConfig)
    given: tuple[str, ...] = ()  # the names of the run's flags that were given


def plan_options(**given: Any) -> PlanOptions:
    """Returns the options of flags: the planner's own, and those of a run, which here needs no data."""
    own = {name: given.pop(name) for name in OWN_FLAGS if name in given}
    has_data = "train" in given or "valid" in given
    without_data: dict[str, Any] = {} if has_data else {"train": (), "valid": ()}
    return PlanOptions(**own, run=train_config(**without_data | given), given=tuple(given))
