"""The sections of a run's settings: every flag in one of them, values checked where they are declared."""

from collections import Counter
from dataclasses import fields

import pytest

from asrscale.common.cli import flags_of
from asrscale.common.errors import CliError
from asrscale.training.config import FIXED_BY_THE_RUN, FROM_SCRATCH, RECIPE_SETTINGS, TrainConfig, to_dict
from asrscale.training.settings import (
    BatchingSettings,
    DataSettings,
    EvaluationSettings,
    GeneralSettings,
    MemorySettings,
    ModelSettings,
    OptimisationSettings,
    TrackingSettings,
)


def test_every_flag_is_in_one_section_and_in_the_settings_of_a_run() -> None:
    names = [flag.name for flag in flags_of(TrainConfig)]
    assert max(Counter(names).values()) == 1
    assert set(names) == to_dict(TrainConfig()).keys()
    assert {*FIXED_BY_THE_RUN, *FROM_SCRATCH, *RECIPE_SETTINGS} <= set(names)


def test_every_section_has_a_heading_of_its_own() -> None:
    headings = {flag.section for flag in flags_of(TrainConfig)}
    sections = [one for one in fields(TrainConfig) if one.name != "open"]
    assert len(headings) == len(sections) and "" not in headings


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (GeneralSettings, {"seed": -1}, "--seed -1: give a value of 0 or more"),
        (GeneralSettings, {"hang_seconds": 0.0}, "--hang_seconds 0: give a value above 0"),
        (DataSettings, {"max_bad_fraction": 1.0}, "--max_bad_fraction 1: give a value from 0 to below 1"),
        (DataSettings, {"decode_threads": 0}, "--decode_threads 0: give a value above 0"),
        (DataSettings, {"train": ("s3://me:secret@host/x",)}, "--train: user, password and query of an address"),
        (BatchingSettings, {"epochs": 0.0}, "--epochs 0: give a value above 0"),
        (OptimisationSettings, {"adam_beta2": 1.0}, "--adam_beta2 1: give a value from 0 to below 1"),
        (ModelSettings, {"dropout": -0.1}, "--dropout -0.1: give a value from 0 to below 1"),
        (ModelSettings, {"model": "https://me:secret@host/m"}, "--model: user, password and query of an address"),
        (MemorySettings, {"restarts": -2}, "--restarts -2: give a value of 0 or more"),
        (EvaluationSettings, {"save_total_limit": 0}, "--save_total_limit 0: give a value above 0"),
        (TrackingSettings, {"log_steps": -5}, "--log_steps -5: give a value above 0"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_section(section: type, values: dict[str, object], message: str) -> None:
    with pytest.raises(CliError) as caught:
        section(**values)
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


def test_settings_that_may_be_none_are() -> None:
    section = ModelSettings(dropout=None)
    assert section.dropout is None


def test_a_step_is_units_of_padded_audio() -> None:
    assert BatchingSettings(batch_seconds=20.0, units_per_step=3).step_seconds == 60.0
