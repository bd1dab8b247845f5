"""Evaluations while training, by a model that needs no engine around it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import flip_bit
from helpers.contexts import make_context

from asrscale.common.errors import Stopped
from asrscale.common.progress import progress
from asrscale.training.checkpoint import RunState
from asrscale.training.run_context import RunContext
from asrscale.training.tracking import open_tracker
from asrscale.training.validation import compare, validate


def validated(context: RunContext, state: RunState, *, is_shown: bool = False) -> RunState:
    """The state after an evaluation, with metrics written to the run folder only."""
    tracking = open_tracker(context.folder, project="", config={}, wandb_mode="off")
    with tracking as tracker, progress(1, "training", "steps", enabled=is_shown) as bar:
        return validate(context.recognizer.model, context, state, tracker, bar)


def test_the_first_evaluation_is_the_best_and_an_equal_one_is_not_better(tone_shards: Path, tmp_path: Path) -> None:
    context = replace(make_context(tone_shards, warmup_steps=8), folder=tmp_path)
    first = validated(context, RunState(step=5))
    assert (first.best_step, first.evaluated_step, first.stale_evaluations) == (5, 5, 0)
    again = validated(context, replace(first, step=9))
    assert again == replace(first, step=9, evaluated_step=9, stale_evaluations=1, last=first.best)
    assert context.recognizer.model.training


def test_a_lower_loss_is_better_while_nothing_is_transcribed(tone_shards: Path, tmp_path: Path) -> None:
    context = replace(make_context(tone_shards), folder=tmp_path)
    wer, cer, loss = validated(context, RunState(step=1)).best
    state = RunState(step=7, best=(wer, cer, loss + 0.1), best_step=3, stale_evaluations=2)
    better = validated(context, state)
    assert (better.best, better.best_step, better.stale_evaluations) == ((wer, cer, loss), 7, 0)


def test_rates_and_some_predictions_are_recorded(tone_shards: Path, tmp_path: Path) -> None:
    context = replace(make_context(tone_shards), folder=tmp_path)
    state = validated(context, RunState(step=4))
    [row] = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert (row["step"], row["valid/wer"], row["valid/cer"], row["valid/loss"]) == (4, *state.best)
    predictions = (tmp_path / "eval" / "step-00000004.jsonl").read_text().splitlines()
    assert len(predictions) == min(20, len(context.valid_subset))


def test_each_of_several_data_sets_has_its_rates(tone_shards: Path, tmp_path: Path) -> None:
    valid = tuple(str(tone_shards / name) for name in ("valid", "train"))
    context = replace(make_context(tone_shards, valid=valid), folder=tmp_path)
    wer, cer, _ = validated(context, RunState(step=4)).best
    [row] = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for name, rate in (("wer", wer), ("cer", cer)):
        of_data_sets = sorted(row[f"valid/{name}/{one}"] for one in ("valid", "train"))
        assert of_data_sets[0] <= rate <= of_data_sets[1]


def test_damaged_utterances_are_printed(own_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = replace(make_context(own_shards), folder=tmp_path)
    flip_bit(context.valid_subset, 1)
    validated(context, RunState(step=1))
    assert f"{context.valid_subset.name(1)} is left out: checksum" in capsys.readouterr().err


def test_a_request_to_stop_ends_an_evaluation_that_does_not_count(tone_shards: Path, tmp_path: Path) -> None:
    context = replace(make_context(tone_shards), folder=tmp_path)
    context.watch.stopping = True
    with pytest.raises(Stopped):
        validated(context, RunState(step=1))
    assert context.watch.doing == "evaluating"


def test_the_deciding_rate_is_compared_first_and_said_first(
    tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = replace(make_context(tone_shards), folder=tmp_path)
    wer, cer, loss = validated(context, RunState(step=1)).best
    assert wer != cer
    by_characters = replace(make_context(tone_shards, metric="cer"), folder=tmp_path)
    # Fewer word errors and more character errors before: better by words, worse by characters.
    assert validated(context, RunState(step=2, best=(wer - 0.1, cer + 0.1, loss), best_step=1)).best_step == 1
    state = validated(by_characters, RunState(step=2, best=(cer + 0.1, wer - 0.1, loss), best_step=1), is_shown=True)
    assert (state.best_step, state.best) == (2, (cer, wer, loss))
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert list(last) == ["step", "time", "valid/cer", "valid/wer", "valid/loss"]
    assert f"step 2: CER {cer:.2%}, WER {wer:.2%}, the best so far" in "".join(capsys.readouterr())


def test_while_the_learning_rate_rises_no_evaluation_counts_against_the_run(tone_shards: Path) -> None:
    context = make_context(tone_shards, warmup_steps=10)
    state = compare(context, RunState(), (0.1, 0.05, 1.0))
    assert (state.before, state.best, state.best_step) == ((0.1, 0.05, 1.0), (0.1, 0.05, 1.0), 0)
    for step in (5, 10):  # at 10 the peak was not reached yet
        state = compare(context, replace(state, step=step), (0.5, 0.4, 3.0))
        assert (state.stale_evaluations, state.worse_evaluations, state.last) == (0, 0, (0.5, 0.4, 3.0))
    state = compare(context, replace(state, step=11), (0.5, 0.4, 3.0))
    assert (state.stale_evaluations, state.worse_evaluations, state.best_step) == (1, 1, 0)


def test_only_evaluations_in_a_row_are_worse_than_the_start_and_two_stay_two(tone_shards: Path) -> None:
    context = make_context(tone_shards, warmup_steps=0)
    state = compare(context, RunState(), (0.2, 0.1, 1.0))
    counts = []
    for step, rate in enumerate([0.3, 0.2, 0.3, 0.3, 0.1, 0.3], start=1):
        state = compare(context, replace(state, step=step), (rate, 0.1, 2.0))
        counts.append(state.worse_evaluations)
    assert counts == [1, 0, 1, 2, 2, 2]
    young = compare(context, RunState(step=3, best=(0.1, 0.1, 0.1), best_step=2), (0.9, 0.9, 0.9))
    assert (young.worse_evaluations, young.before, young.stale_evaluations) == (0, None, 1)


def test_a_run_that_gets_worse_than_it_began_is_warned_of_once(
    tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = replace(make_context(tone_shards, warmup_steps=0), folder=tmp_path)
    wer, cer, loss = validated(context, RunState(), is_shown=True).best
    printed = capsys.readouterr().err
    assert f"step 0: WER {wer:.2%}, CER {cer:.2%} before the first step: the rates to beat" in printed
    better = (wer / 2, cer / 2, loss / 2)
    state = RunState(before=better, best=better, best_step=0)
    for step, is_warned in [(1, False), (2, True), (3, False)]:
        state = validated(context, replace(state, step=step), is_shown=True)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
        assert len(lines) == is_warned
        if is_warned:
            assert f"WER is {wer:.2%} at step 2, and was {wer / 2:.2%} before the first step" in lines[0]
            assert "--learning_rate too high" in lines[0] and "another style" in lines[0]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert (rows[-1]["valid/wer"], rows[-1]["valid/wer_before"], rows[-1]["valid/cer_before"]) == (
        wer,
        wer / 2,
        cer / 2,
    )
