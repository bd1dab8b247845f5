"""The steps of a run, each of which all ranks have agreed to take.

Ranks agree by one small sum per step: what each has of it, and whether anybody asked for a stop. On its own it takes an
eighth of a short step of two ranks, almost all of it waiting; so it begins while the step before is being finished.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from asrscale.common import distributed
from asrscale.common.distributed import PendingSum, World
from asrscale.common.errors import OutOfTime, Stopped
from asrscale.data.step_reader import Step
from asrscale.training.watch import Watch


@dataclass(frozen=True, eq=False)
class AgreedStep:
    """A step that all ranks take."""

    step: Step
    good: int  # how many of its utterances can be read, on all ranks
    damaged: int  # how many cannot, on all ranks


def agree_on_step(step: Step, watch: Watch, world: World) -> tuple[int, int]:
    """Sums up over all ranks what each has of a step, and whether any was requested to stop. A collective.

    Returns:
        How many utterances of the step are good, and how many are damaged, on all ranks.

    Raises:
        OutOfTime: Some rank's clock is past the deadline; raised on all ranks.
        Stopped: Some rank was requested to stop; raised on all ranks.
    """
    return _counts_of(_begin_to_agree(step, watch, world))


def _begin_to_agree(step: Step, watch: Watch, world: World) -> PendingSum:
    good = sum(len(batch.utterances) for batch in step.batches)
    damaged = len(step.damaged)
    is_late = step.number > 0 and time.monotonic() > watch.deadline  # of no step there would be no model
    return distributed.begin_sum([good, damaged, watch.stopping, is_late], world)


def _counts_of(agreement: PendingSum) -> tuple[int, int]:
    """Waits for an agreement; returns and raises as `agree_on_step`."""
    all_good, all_damaged, stopping_ranks, late_ranks = map(round, agreement.result())
    if stopping_ranks:
        raise Stopped
    if late_ranks:
        raise OutOfTime
    return all_good, all_damaged


class AgreedSteps:
    """Hands out the steps of a reader in turn, once all ranks have agreed to take them."""

    def __init__(self, steps: Iterator[Step], watch: Watch, world: World) -> None:
        """Begins before the first of `steps`, of which the caller is rank `world.rank`, watched by `watch`."""
        self._steps = steps
        self._watch = watch
        self._world = world
        self._next: tuple[Step, PendingSum] | None = None  # what `look_ahead` has read, and its agreement
        self._waiting_seconds = 0.0  # not returned yet

    def look_ahead(self) -> None:
        """Reads the next step and begins to agree on it, unless that has been done. A collective.

        A request to stop that comes later than this is for the step after it. What reading raises is raised here, so
        before the step at hand has changed a weight.
        """
        if self._next is not None:
            return
        started = time.perf_counter()
        self._watch.beat("loading")
        step = next(self._steps, None)
        self._waiting_seconds += time.perf_counter() - started
        if step is None:
            self._watch.beat("training")
            return
        self._next = step, _begin_to_agree(step, self._watch, self._world)
        self._watch.beat("training", step.number + 1)  # of ranks that hang, those are named that are behind

    def take(self) -> AgreedStep | None:
        """Returns the next step, or None where there is no more. A collective.

        Raises:
            OutOfTime: As `agree_on_step`.
            Stopped: As `agree_on_step`.
        """
        self.look_ahead()
        if self._next is None:
            return None
        step, agreement = self._next
        self._next = None
        self._watch.beat("training")
        good, damaged = _counts_of(agreement)
        return AgreedStep(step, good, damaged)

    def pop_waiting_seconds(self) -> float:
        """Returns how long this rank has waited for data since the last call."""
        waiting_seconds, self._waiting_seconds = self._waiting_seconds, 0.0
        return waiting_seconds
