"""Reads the steps of an epoch as training does, without a model: `python -m helpers.read_steps --data FOLDER`."""

from dataclasses import dataclass

from asrscale.common import cli
from asrscale.data.catalog import read_catalog
from asrscale.data.run_plan import plan_run
from asrscale.data.step_reader import steps_from
from asrscale.model.building import build_meta_recognizer


@dataclass(frozen=True)
class ReadOptions:
    """Reads the steps of an epoch."""

    data: str = cli.setting(help="data set folder")


def run(options: ReadOptions) -> None:
    """Prints how many utterances were read, and how many are damaged."""
    import torch

    recognizer = build_meta_recognizer("tiny", dtype=torch.float32, language="")
    catalog = read_catalog([options.data])
    plan = plan_run(catalog, recognizer.vocabulary, recognizer.geometry, seed=0, batch_seconds=4.0, units_per_step=2)
    numbers = range(plan.steps_per_epoch)
    steps = list(steps_from(plan, numbers, rank=0, world_size=1, cap_samples=64_000, threads=2))
    damaged = sum(len(step.damaged) for step in steps)
    print(f"read {sum(step.utterances for step in steps) - damaged}, damaged {damaged}")


if __name__ == "__main__":
    cli.run(ReadOptions, run)
