"""The plan of a run: windows, which utterances are used, and their speeds."""

import hashlib
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.folders import make_folder
from helpers.plans import plan_in_windows, plan_of_mix, visits_of_epochs

from asrscale.data import run_plan
from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.data.catalog import read_catalog
from asrscale.data.index import read_index
from asrscale.data.run_plan import (
    BY_LENGTH,
    EQUAL_FRAMES,
    RunPlan,
    draw_speeds,
    feasible_utterances,
    plan_visit,
    read_window,
)
from asrscale.model.building import build_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.speech.frames import Convolution, FrameGeometry


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return build_recognizer("tiny", "")


@pytest.fixture
def plan(recognizer: Recognizer, tone_shards: Path, monkeypatch: pytest.MonkeyPatch) -> RunPlan:
    return plan_in_windows(tone_shards / "train", recognizer, monkeypatch, windows=3)


def test_utterances_too_short_for_their_transcript_are_told_apart(recognizer: Recognizer, tone_shards: Path) -> None:
    index = read_index([str(tone_shards / "train")])
    assert feasible_utterances(index, index.num_samples, recognizer.vocabulary, recognizer.geometry).all()
    short = np.minimum(index.num_samples, 4_000)
    feasible = feasible_utterances(index, short, recognizer.vocabulary, recognizer.geometry)
    lengths = [len(text) for text in index.texts.to_pylist()]
    assert not feasible.any() or max(length for length, good in zip(lengths, feasible, strict=True) if good) <= 8
    assert not feasible.all()


def test_no_character_has_more_cased_ones_than_the_shortcut_allows() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    cased = [max(len(one.upper()), len(one.lower())) / len(one.encode()) for one in characters]
    assert max(cased) == 1.5


def test_an_utterance_needs_a_frame_a_label_and_one_between_equal_ones(
    recognizer: Recognizer, tone_shards: Path
) -> None:
    texts = ["", "a", "aa", "hello", "aaaaaaaa", "ΐΐΐ", "straße", "a long text, for so few frames"]
    index = read_index([str(tone_shards / "train")]).take(np.zeros(len(texts), np.int64))
    index = replace(index, texts=pa.array(texts, pa.large_string()))
    needed = [0, 1, 3, 6, 15, 5, 6, 30]  # "ΐ" is unknown to the vocabulary, and so is the next one
    for samples in range(0, 16_000, 160):
        lengths = np.full(len(texts), samples)
        frames = int(recognizer.geometry.num_frames(samples))
        expected = [0 < count <= frames for count in needed]
        assert feasible_utterances(index, lengths, recognizer.vocabulary, recognizer.geometry).tolist() == expected, (
            frames
        )


def test_the_fingerprint_differs_where_the_order_of_the_data_may(
    plan: RunPlan, recognizer: Recognizer, tone_shards: Path, tmp_path: Path
) -> None:
    catalog = plan.catalog
    others = [
        replace(plan, seed=6),
        replace(plan, batch_samples=plan.batch_samples + 1),
        replace(plan, units_per_step=3),
        replace(plan, perturb_speed=True),
        replace(plan, augmentation="abc"),
        replace(plan, rules=BY_LENGTH),
        replace(plan, rules=EQUAL_FRAMES),
        replace(plan, geometry=FrameGeometry(plan.geometry.stem[:-1])),
        replace(plan, catalog=replace(catalog, shards=catalog.shards[::-1])),
        replace(plan, catalog=replace(catalog, samples=catalog.samples + 1)),
        replace(plan, catalog=replace(catalog, utterances=catalog.utterances + 1)),
        replace(plan, catalog=read_catalog([str(tone_shards / "train"), str(tone_shards / "valid")])),
    ]
    assert len({plan.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1
    # Neither where the shards lie decides it nor, but for its frames, the model.
    moved = tuple(str(tmp_path / Path(shard).name) for shard in catalog.shards)
    same = replace(plan, catalog=replace(catalog, shards=moved), vocabulary=build_recognizer("tiny", "xyz").vocabulary)
    assert same.fingerprint == plan.fingerprint


@pytest.mark.parametrize(
    ("perturb_speed", "fingerprint", "digest"),
    [(False, "61678c97364112db", "0a9dd1c60cedbd62"), (True, "7c9b4852ab07eab7", "69f66396f8671cdf")],
)
def test_without_weights_a_plan_is_what_it_was_before_there_were_any(
    recognizer: Recognizer, tmp_path: Path, perturb_speed: bool, fingerprint: str, digest: str
) -> None:
    folders = [make_folder(tmp_path / "a", (9, 0, 30, 7)), make_folder(tmp_path / "b", (20,))]
    for train in (map(str, folders), (f"{folder}=1" for folder in folders)):
        plan = plan_of_mix([*train], recognizer, batch_seconds=20, perturb_speed=perturb_speed)
        plan = replace(plan, rules=BY_LENGTH)  # as runs go on that were begun then
        found = hashlib.sha256()
        for epoch in (0, 1):
            visit = plan_visit(plan, epoch * plan.steps_per_epoch)
            for array in (visit.computed_samples, visit.plan.utterances, visit.plan.unit_bounds):
                found.update(array.tobytes())
        assert (plan.fingerprint, plan.steps_per_epoch) == (fingerprint, 33)
        assert found.hexdigest()[:16] == digest


@pytest.mark.parametrize("window_hours", [300, 0.1])
def test_a_mix_visits_each_utterance_as_often_as_its_weight_says(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window_hours: float
) -> None:
    monkeypatch.setattr(run_plan, "WINDOW_HOURS", window_hours)
    mix = {"a": 1.0, "b": 0.3, "c": 2.5}
    train = [f"{make_folder(tmp_path / name, (10, 5, 15))}={weight}" for name, weight in mix.items()]
    plan = plan_of_mix(train, recognizer, batch_seconds=20)
    assert (len(plan.windows) > 1) == (window_hours < 1)
    assert plan.catalog.epoch_hours == pytest.approx(plan.catalog.hours / 3 * (1 + 0.3 + 2.5))
    least_steps = math.ceil(plan.catalog.epoch_hours * 3600 / 40)
    assert least_steps <= plan.steps_per_epoch < least_steps + len(plan.windows)

    of_epochs = visits_of_epochs(plan, range(20))
    keys = [f"{name}/{name}-{number:08d}" for name in mix for number in range(1, 31)]
    for key in keys:
        weight = mix[key[0]]
        visits = [visited[key] for visited in of_epochs]
        assert set(visits) <= {math.floor(weight), math.ceil(weight)}
        assert sum(visits) == 20 * weight
    assert {key for visited in of_epochs for key in visited} == set(keys)
    seen = [frozenset(visited.items()) for visited in of_epochs]
    assert len(set(seen)) >= 10  # the parts come round after ten and after two epochs


def test_weights_belong_to_the_fingerprint(recognizer: Recognizer, tmp_path: Path) -> None:
    a, b = (str(make_folder(tmp_path / name, (10, 5))) for name in "ab")
    mixes = [([a, b], 1.0), ([a, f"{b}=2"], 1.0), ([f"{a}=2", b], 1.0), ([a, f"{b}=0.3"], 1.0), ([a, b + "=0.31"], 1.0)]
    plans = [plan_of_mix(train, recognizer, temperature=temperature) for train, temperature in mixes]
    assert len({plan.fingerprint for plan in plans}) == len(plans)


def test_a_window_holds_no_more_where_weights_are_high_or_low(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither repeats nor the rows that are read for a small part of them."""
    monkeypatch.setattr(run_plan, "WINDOW_HOURS", 0.1)
    folder = make_folder(tmp_path / "a", (20,) * 3)  # of 1,830 s
    largest_shard = 50.5 * 20
    for weight in (0.05, 1, 10.5):
        plan = plan_of_mix([f"{folder}={weight}"], recognizer, batch_seconds=20)
        for number in range(plan.steps_per_epoch):
            visit = plan_visit(plan, number)
            assert visit.played_samples.sum() / 16_000 <= 2 * 360 + largest_shard
            read, _ = read_window(plan, run_plan.find_step(plan.steps, number, seed=plan.seed).window)
            assert read.num_samples.sum() / 16_000 <= 2 * 360 + largest_shard


def test_a_few_utterances_of_a_low_weight_leave_epochs_empty(recognizer: Recognizer, tmp_path: Path) -> None:
    plan = plan_of_mix([f"{make_folder(tmp_path / 'a', (1,))}=0.25"], recognizer)
    assert plan.steps_per_epoch == 1
    assert sum(visits_of_epochs(plan, range(4)), Counter()) == {"a-00000001": 1}


def test_repeats_have_speeds_of_their_own(recognizer: Recognizer, tmp_path: Path) -> None:
    plan = plan_of_mix([f"{make_folder(tmp_path / 'a', (40,))}=3"], recognizer, perturb_speed=True)
    visit = plan_visit(plan, 0)
    speeds = visit.speeds_tenths.reshape(40, 3)
    assert len(visit.index) == 120 and 0.02 < (np.ptp(speeds, axis=1) == 0).mean() < 0.3  # 1 of 9 by chance


def test_the_longest_utterance_is_as_slow_as_it_may_be_played(plan: RunPlan) -> None:
    longest = int(plan.catalog.longest_samples.max())
    assert plan.longest_samples == longest
    assert replace(plan, perturb_speed=True).longest_samples == longest * 10 // 9
    short = replace(plan, catalog=replace(plan.catalog, longest_samples=np.array([5, 7])))
    assert short.longest_samples == MIN_BATCH_SAMPLES


def test_a_pass_holds_no_more_than_the_cap_and_a_unit_or_a_share_of_a_step(plan: RunPlan) -> None:
    made = replace(plan, catalog=replace(plan.catalog, longest_samples=np.array([16_000])))
    assert made.batch_samples * made.units_per_step == 64_000
    assert made.most_utterances(cap_samples=48_000, world_size=1) == 3  # the cap
    assert made.most_utterances(cap_samples=10**9, world_size=1) == 4  # a step
    assert made.most_utterances(cap_samples=10**9, world_size=8) == 2  # a unit
    assert made.most_utterances(cap_samples=1, world_size=1) == 1


def test_what_is_too_short_for_its_transcript_is_in_no_plan(plan: RunPlan, recognizer: Recognizer) -> None:
    window = int(np.argmax(plan.steps))
    everything, too_short = read_window(plan, window)
    assert len(too_short) == 0 and len(everything) == plan.catalog.utterances[plan.windows[window]].sum()
    halving = Convolution(kernel=3, stride=2, padding=1)
    coarse = replace(recognizer.geometry, adapter=(halving, halving))
    usable, too_short = read_window(replace(plan, geometry=coarse), window)
    assert len(usable) + len(too_short) == len(everything) and len(too_short)
    kept = feasible_utterances(everything, everything.num_samples, plan.vocabulary, coarse)
    assert usable.keys.to_pylist() == everything.take(np.flatnonzero(kept)).keys.to_pylist()


def test_a_visit_plans_with_the_lengths_that_are_computed_on(plan: RunPlan) -> None:
    visit = plan_visit(plan, 0)
    assert visit.speeds_tenths is None
    assert np.array_equal(visit.played_samples, visit.index.num_samples)
    assert np.array_equal(visit.computed_samples, np.maximum(visit.played_samples, MIN_BATCH_SAMPLES))
    perturbed = plan_visit(replace(plan, perturb_speed=True), 0)
    assert np.array_equal(perturbed.played_samples, perturbed.index.num_samples * 10 // perturbed.speeds_tenths)


def test_speeds_are_drawn_alike_for_each_utterance_and_anew_in_each_epoch() -> None:
    speeds = draw_speeds(30_000, seed=5, epoch=0, window=0)
    assert set(speeds.tolist()) == {9, 10, 11}
    assert all(0.32 < (speeds == tenths).mean() < 0.35 for tenths in (9, 10, 11))
    for other in (draw_speeds(30_000, 5, 1, 0), draw_speeds(30_000, 5, 0, 1), draw_speeds(30_000, 6, 0, 0)):
        assert 0.3 < (speeds == other).mean() < 0.37
    assert np.array_equal(draw_speeds(10, 5, 0, 0), speeds[:10])
