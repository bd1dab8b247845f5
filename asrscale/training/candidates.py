"""The weights of a run that may be exported: those of the best evaluation, and averages of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from asrscale.common import distributed
from asrscale.common.distributed import print_on_main
from asrscale.model.recognizer import Recognizer
from asrscale.training import checkpoint
from asrscale.training.checkpoint import RunState
from asrscale.training.optimizer import trainable_parameters
from asrscale.training.run_context import RunContext

Kind: TypeAlias = Literal["best", "average", "ema"]


@dataclass(frozen=True)
class Candidate:
    """Weights that may be exported.

    Attributes:
        kind: Of the best evaluation, the average of the last checkpoints, or the moving average.
        checkpoints: Where they come from, in the order of their steps.
        decay: Of the moving average.
    """

    kind: Kind
    checkpoints: tuple[Path, ...]
    decay: float = 0.0

    @property
    def step(self) -> int:
        """The last step that has changed them."""
        return checkpoint.step_of(self.checkpoints[-1])

    @property
    def sources(self) -> dict[str, str]:
        """The SHA-256 of the files that they come from, by step."""
        sha256 = checkpoint.average_sha256 if self.kind == "ema" else checkpoint.weights_sha256
        return {str(checkpoint.step_of(folder)): sha256(folder) or "" for folder in self.checkpoints}

    def __str__(self) -> str:
        """Which they are, for people."""
        if self.kind == "best":
            began = ", with which the run began" if self.step == 0 else ""
            return f"best, of step {self.step:,}{began}"
        if self.kind == "ema":
            return f"moving average {self.decay:g}, at step {self.step:,}"
        steps = [f"{checkpoint.step_of(folder):,}" for folder in self.checkpoints]
        if len(steps) > 3:
            steps = [*steps[:2], "…", steps[-1]]
        return f"average of {len(self.checkpoints)}, of steps {', '.join(steps)}"


def averaged_steps(step: int, *, save_steps: int, count: int) -> list[int]:
    """Returns which steps --average takes if a run ends at `step`, the last first: it and those of --save_steps.

    They follow from the settings alone: what else was saved, because it was the best or on request, is not averaged.
    """
    scheduled = range((step - 1) // save_steps * save_steps, 0, -save_steps)
    return [step, *scheduled[: count - 1]] if count else []


def find_candidates(context: RunContext, state: RunState) -> list[Candidate]:
    """Finds what may be exported at the end of a run, the best first; what is damaged is named. A collective."""
    found: list[Candidate] = []
    if context.world.is_main:
        best, refusals = checkpoint.whole_checkpoint(context.folder, state.best_step)
        assert best is not None, "the newest one was just written"
        if refusals:
            print_on_main(context.world, "\n".join([*refusals, f"exporting {best} instead"]))
        found = [Candidate("best", (best,)), *_averages(context, state)]
    own = [(one.kind, [str(folder) for folder in one.checkpoints], one.decay) for one in found]
    found_by_main = distributed.gather_objects(own, context.world)[0]
    return [Candidate(kind, tuple(map(Path, folders)), decay) for kind, folders, decay in found_by_main]


def _averages(context: RunContext, state: RunState) -> list[Candidate]:
    """Returns the averages that the settings ask for, as far as their checkpoints are whole. For the main rank."""
    found: list[Candidate] = []
    steps = wanted_steps(context, state)
    averaged, refusals = checkpoint.whole_weights(context.folder, sorted(steps))
    if len(averaged) < len(steps):
        print_on_main(context.world, "\n".join([*refusals, f"averaging {len(averaged)} of {len(steps)} checkpoints"]))
    if averaged:
        found.append(Candidate("average", tuple(averaged)))

    decay = context.config.optimisation.ema
    if decay:
        newest, _ = checkpoint.whole_checkpoint(context.folder)
        assert newest is not None, "it was just written"
        found.append(Candidate("ema", (newest,), decay))
    return found


def wanted_steps(context: RunContext, state: RunState) -> list[int]:
    """Returns the steps that the settings want averaged if a run ends at `state`."""
    evaluation = context.config.evaluation
    return averaged_steps(state.step, save_steps=evaluation.save_steps, count=evaluation.average)


def averages_are_those_of(context: RunContext, state: RunState, compared: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether averages that were compared, as `Candidate.sources` by kind, are those that the settings want at `state`.

    Checkpoints that were deleted or damaged since do not matter. For the main rank.
    """
    now = {candidate.kind: candidate.sources for candidate in _averages(context, state)}
    if compared.keys() - {"best"} != now.keys() or compared.get("ema") != now.get("ema"):
        return False
    averaged = compared.get("average", {})
    is_wanted = set(map(int, averaged)) <= set(wanted_steps(context, state))
    return is_wanted and now.get("average", {}).items() <= averaged.items()


def load_candidate(recognizer: Recognizer, candidate: Candidate, context: RunContext) -> None:
    """Puts weights into a model that no engine wraps; of averages, those that are not trained are the last ones'.

    Raises:
        CliError: They are of another model.
    """
    newest = candidate.checkpoints[-1]
    checkpoint.load_weights(recognizer, newest)
    if candidate.kind == "average":
        names = [name for name, _ in trainable_parameters(context.recognizer.model)]
        averages = checkpoint.average_weights(candidate.checkpoints, names)
        recognizer.model.load_state_dict(averages, strict=False)
    if candidate.kind == "ema":
        recognizer.model.load_state_dict(checkpoint.moving_average(newest), strict=False)
