"""When a checkpoint is saved, and what happens when it cannot be."""

from dataclasses import dataclass, field, replace

from torch import Tensor

from asrscale.common.errors import CliError
from asrscale.common.progress import Progress
from asrscale.training.candidates import wanted_steps
from asrscale.training.checkpoint import RunState, save_checkpoint
from asrscale.training.disk_errors import disk_cure
from asrscale.training.engine import Engine
from asrscale.training.meter import Meter
from asrscale.training.records import sync_records
from asrscale.training.run_context import RunContext
from asrscale.training.tracking import Tracker


@dataclass
class Saver:
    """Saves the checkpoints of a run, and keeps which state the newest one on the disk has.

    Attributes:
        frozen: The weights that are not trained, in fp32 as they were loaded.
        meter: What it has of the next line of metrics.jsonl is saved with the state.
        saved: The state that is on the disk, or the one that the run started with.
        failed_saves: How often a checkpoint could not be written.
    """

    engine: Engine
    frozen: dict[str, Tensor]
    context: RunContext
    tracker: Tracker
    bar: Progress
    meter: Meter
    saved: RunState
    failed_saves: int = field(default=0, init=False)

    def save(self, state: RunState, *, required: bool) -> RunState:
        """Saves a checkpoint of `state`, unless it is saved already. A collective.

        Where it cannot be written, the run goes on with the checkpoint before, and a warning is printed and logged.

        Returns:
            The state to go on from: `state`, with the best that is on the disk.

        Raises:
            CliError: It cannot be written and is `required`.
        """
        context = self.context
        state = replace(state, unlogged=self.meter.unlogged(context.world))
        if state == self.saved:
            return state
        context.watch.beat("saving")
        sync_records(context)  # first: a checkpoint must not count steps that the records lack
        problem = save_checkpoint(
            self.engine,
            self.frozen,
            state,
            context.folder,
            keep=context.config.evaluation.save_total_limit,
            keep_weights=wanted_steps(context, state),
            world=context.world,
        )
        if problem is None:
            self.saved = state
            return state

        failure = f"step {state.step:,} cannot be saved ({problem}); the checkpoint of step {self.saved.step:,} stands"
        if required:
            raise CliError(f"{failure}: {disk_cure(context.folder)}")
        self.failed_saves += 1
        self.tracker.log(state.step, {"run/failed_saves": self.failed_saves})
        self.bar.write(f"warning: {failure}, and the run goes on")
        # The weights of a new best are gone with the next step: what counts is the best that is on the disk.
        return replace(state, best=self.saved.best, best_step=self.saved.best_step)
