"""The flags of the planner and those of a run, apart."""

import pytest

from asrscale.common.errors import CliError
from asrscale.training.config import train_config
from asrscale.training.plan_options import plan_options


def test_flags_of_the_planner_and_of_the_run_go_their_ways() -> None:
    options = plan_options(gpu="t4-16", gpus=2, hours=5.0, model="tiny", dropout=0.2)
    assert (options.gpu, options.gpus, options.hours, options.given) == ("t4-16", 2, 5.0, ("model", "dropout"))
    assert options.run == train_config(train=(), valid=(), model="tiny", dropout=0.2)


def test_with_data_the_defaults_are_those_of_a_run() -> None:
    data = {"train": ("a",), "valid": ("b",)}
    assert plan_options(**data).run == train_config(**data)
    with pytest.raises(CliError, match="--dropout 2"):
        plan_options(dropout=2.0)
