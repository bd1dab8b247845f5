"""Training data that are refused before any work, and what of others is left out."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.contexts import make_context

from asrscale.common.errors import CliError
from asrscale.data.index import read_shards
from asrscale.data.run_plan import RunPlan
from asrscale.speech.frames import Convolution, FrameGeometry
from asrscale.speech.vocabulary import Vocabulary
from asrscale.training.config import replace_settings
from asrscale.training.data_checks import check_data
from asrscale.training.run_context import RunContext


def with_characters(plan: RunPlan, **more: int) -> RunPlan:
    """The plan of data whose transcripts have other characters, too."""
    characters = plan.catalog.characters + Counter(more)
    return replace(plan, catalog=replace(plan.catalog, characters=characters))


def check(context: RunContext, plan: RunPlan, **settings: object) -> None:
    check_data(replace_settings(context.config, **settings), context.recognizer, plan, context.world)


def test_sound_data_pass_in_silence(tone_shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = make_context(tone_shards)
    check(context, context.plan)
    assert capsys.readouterr() == ("", "")


def test_few_unknown_characters_are_counted_and_many_refused(
    tone_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = make_context(tone_shards)
    plan = with_characters(context.plan, ß=3, 学=2)
    share = 5 / plan.catalog.characters.total()
    check(context, plan, max_unknown_fraction=1.01 * share)
    assert capsys.readouterr().err == "5 characters become [UNK]: 'ß' ×3, '学' ×2\n"
    with pytest.raises(CliError, match=r"--model tiny misses .*% of the transcripts' characters \('ß' ×3, '学' ×2\)"):
        check(context, plan, max_unknown_fraction=0.99 * share)


def test_tokens_of_several_characters_are_looked_for_in_the_transcripts(
    tone_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By itself `d` has no token, but `ad`, `od`, `di` and `do` have: the check and the labels are the same code."""
    context = make_context(tone_shards)
    tokens = ("a", "b", "e", "g", "i", "o", "u", "ad", "od", "di", "do", "|", "[UNK]", "[PAD]")
    recognizer = replace(context.recognizer, vocabulary=Vocabulary(tokens))
    check_data(context.config, recognizer, context.plan, context.world)
    assert capsys.readouterr().err == ""
    recognizer = replace(context.recognizer, vocabulary=Vocabulary(tuple(token for token in tokens if token != "do")))
    texts = read_shards(context.plan.catalog, range(len(context.plan.catalog.shards))).texts.to_pylist()
    dogs = " ".join(texts).split().count("dog")
    check_data(replace_settings(context.config, max_unknown_fraction=0.99), recognizer, context.plan, context.world)
    assert capsys.readouterr().err == f"{dogs:,} characters become [UNK]: 'd' ×{dogs:,}\n"


def test_an_utterance_longer_than_a_pass_is_named(tone_shards: Path) -> None:
    context = make_context(tone_shards)
    with pytest.raises(CliError, match=r"cap_seconds 0\.5 is below the longest utterance, 1\.\d s in .*\.tar:"):
        check(context, context.plan, memory_cap_seconds=0.5)


def test_an_utterance_longer_than_a_pass_once_it_is_slowed_down_is_told_with_both_lengths(tone_shards: Path) -> None:
    context = make_context(tone_shards)
    plan = replace(context.plan, perturb_speed=True)
    recorded_seconds = plan.catalog.longest_samples.max() / 16_000
    slowed_seconds = recorded_seconds / 0.9
    cap_seconds = (recorded_seconds + slowed_seconds) / 2
    check(context, context.plan, memory_cap_seconds=cap_seconds)
    expected = (
        rf"the longest utterance, {slowed_seconds:.1f} s \({recorded_seconds:.1f} s, at 0\.9 of its speed for "
        r"--perturb_speed\) in .*\.tar:"
    )
    with pytest.raises(CliError, match=expected):
        check(context, plan, memory_cap_seconds=cap_seconds, perturb_speed=True)


def test_utterances_too_short_for_their_transcripts_are_counted_or_refused(
    tone_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = make_context(tone_shards)
    some = replace(context.plan, geometry=FrameGeometry((Convolution(kernel=400, stride=1450),)))
    check(context, some)
    line = capsys.readouterr().err
    assert "utterances left out, too short for their transcript: first " in line and line.count("\n") == 1
    assert 0 < int(line.split()[0]) < context.plan.catalog.utterances.sum()
    none = replace(context.plan, geometry=FrameGeometry((Convolution(kernel=400, stride=16_000),)))
    with pytest.raises(CliError, match="no utterance can be trained on"):
        check(context, none)
