"""What a run says of its way, from its state."""

import math

from asrscale.training.checkpoint import RunState
from asrscale.training.milestones import describe_milestones, milestones


def test_before_best_and_last_stand_in_one_table() -> None:
    state = RunState(
        step=900,
        evaluated_step=900,
        before=(0.0161, 0.005, 0.04),
        best=(0.015, 0.004, 0.03),
        best_step=600,
        last=(0.0179, 0.006, math.inf),
    )
    found = milestones(state, "wer")
    assert [(one.name, one.step, one.rates["wer"]) for one in found] == [
        ("before", 0, 0.0161),
        ("best", 600, 0.015),
        ("last", 900, 0.0179),
    ]
    text = describe_milestones(found, "wer", utterances=500, all_utterances=2703)
    assert [line.split() for line in text.splitlines()] == [
        ["while", "training,", "on", "500", "of", "2,703", "validation", "utterances:"],
        ["step", "WER", "CER", "loss"],
        ["before", "0", "1.61%", "0.50%", "0.0400"],
        ["best", "600", "1.50%", "0.40%", "0.0300"],
        ["last", "900", "1.79%", "0.60%"],
    ]


def test_the_deciding_rate_comes_first_and_a_start_that_nothing_beat_is_said() -> None:
    state = RunState(
        step=4, evaluated_step=4, before=(0.1, 0.2, 1.0), best=(0.1, 0.2, 1.0), best_step=0, last=(0.3,) * 3
    )
    found = milestones(state, "cer")
    assert found[0].rates == {"cer": 0.1, "wer": 0.2}
    lines = describe_milestones(found, "cer", utterances=4, all_utterances=4).splitlines()
    assert lines[1].split()[1:3] == ["CER", "WER"] and "the best model is the one it began with" in lines[-1]


def test_a_run_from_scratch_has_no_before() -> None:
    state = RunState(step=4, evaluated_step=4, best=(0.1, 0.2, 1.0), best_step=2, last=(0.3, 0.3, 3.0))
    assert [one.name for one in milestones(state, "wer")] == ["best", "last"]
    old = RunState(step=4, evaluated_step=2, best=(0.1, 0.2, 1.0), best_step=2)  # of an older version
    assert [one.name for one in milestones(old, "wer")] == ["best"]
