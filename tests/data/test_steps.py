"""Real shards, planned window by window."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.simulated import bytes_read, simulate

from asrscale.common.errors import CliError
from asrscale.data import run_plan, step_reader
from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.data.catalog import read_catalog
from asrscale.data.epoch_plan import find_step
from asrscale.data.index import read_index
from asrscale.data.plan_summary import describe_plan
from asrscale.data.run_plan import RunPlan, feasible_utterances, plan_run, read_window
from asrscale.data.step_reader import Step, steps_from
from asrscale.model.building import build_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return build_recognizer("tiny", "")


@pytest.fixture(params=[1, 3], ids=["one window", "several windows"])
def plan(
    request: pytest.FixtureRequest, recognizer: Recognizer, tone_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> RunPlan:
    catalog = read_catalog([str(tone_shards / "train")])
    assert len(catalog.shards) == 3
    monkeypatch.setattr(run_plan, "WINDOW_HOURS", catalog.hours / request.param * 0.999)
    made = plan_run(catalog, recognizer.vocabulary, recognizer.stem, seed=5, batch_seconds=2.0, units_per_step=2)
    assert (len(made.windows) > 1) == (request.param > 1)
    return made


def run_steps(plan: RunPlan, first: int, last: int, rank: int = 0, ranks: int = 1) -> list[Step]:
    numbers = range(first, last)
    found = steps_from(plan, numbers, rank=rank, world_size=ranks, cap_samples=48_000, threads=1)
    return list(found)


def keys(step: Step) -> list[str]:
    return sorted(step.index.keys[int(u)].as_py() for batch in step.batches for u in batch.utterances)


def called(monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> threading.Event:
    """Is set when that function of `steps` has returned so often."""
    original: Callable[..., object] = getattr(step_reader, name)
    reached, calls = threading.Event(), [0]

    def counted(*words: object, **options: object) -> object:
        result = original(*words, **options)
        calls[0] += 1
        if calls[0] == times:
            reached.set()
        return result

    monkeypatch.setattr(step_reader, name, counted)
    return reached


def test_one_reader_runs_through_windows_and_epochs(
    plan: RunPlan, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes next is there before it is asked for, whatever ends in between."""
    _, window, _ = find_step(plan.steps, 0, seed=plan.seed)
    last = int(plan.steps[window]) - 1  # of the first window, which may be the epoch
    monkeypatch.setattr(step_reader, "WINDOW_AHEAD_STEPS", last)
    planned, loaded = called(monkeypatch, "plan_visit", 2), called(monkeypatch, "load_step", last + 2)
    steps = steps_from(plan, range(last + 5), rank=0, world_size=1, cap_samples=48_000, threads=1)
    next(steps)  # when this is handed over, the reader is at the step from which the next window is planned
    assert planned.wait(60) and not loaded.is_set()
    assert [next(steps).number for _ in range(last)][-1] == last
    assert loaded.wait(60)
    assert [step.number for step in steps] == list(range(last + 1, last + 5))


def test_no_steps_are_read_where_none_are_left(plan: RunPlan, recognizer: Recognizer) -> None:
    assert run_steps(plan, 7, 7) == []


def test_a_reader_that_is_left_early_ends_its_threads(plan: RunPlan, recognizer: Recognizer) -> None:
    steps = steps_from(plan, range(40), rank=0, world_size=1, cap_samples=48_000, threads=1)
    next(steps)
    ours = ("decode", "read-ahead", "plan-ahead")
    assert any(thread.name.startswith(ours) for thread in threading.enumerate())
    steps.close()
    assert not any(thread.name.startswith(ours) for thread in threading.enumerate())


def test_what_goes_wrong_in_a_later_window_is_told_by_the_step_that_needs_it(
    recognizer: Recognizer, own_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = read_catalog([str(own_shards / "train")])
    monkeypatch.setattr(run_plan, "WINDOW_HOURS", catalog.hours / 3 * 0.999)
    plan = plan_run(catalog, recognizer.vocabulary, recognizer.stem, seed=5, batch_seconds=2.0, units_per_step=2)
    _, window, _ = find_step(plan.steps, 0, seed=plan.seed)
    good = int(plan.steps[window])
    _, broken, _ = find_step(plan.steps, good, seed=plan.seed)
    shard = Path(catalog.shards[plan.windows[broken][0]])
    shard.write_bytes(shard.read_bytes()[:-512])
    steps = steps_from(plan, range(good + 5), rank=0, world_size=1, cap_samples=48_000, threads=1)
    assert [next(steps).number for _ in range(good)] == list(range(good))
    with pytest.raises(CliError, match=rf"{shard}: the shard has [\d,]+ bytes, not [\d,]+: copy it again"):
        next(steps)


def test_each_epoch_visits_each_utterance_once(plan: RunPlan, recognizer: Recognizer, tone_shards: Path) -> None:
    everything = sorted(read_index([str(tone_shards / "train")]).keys.to_pylist())
    size = plan.steps_per_epoch
    steps = run_steps(plan, 0, 2 * size)
    epochs = [[keys(step) for step in steps[:size]], [keys(step) for step in steps[size:]]]
    for epoch in epochs:
        assert sorted(key for step in epoch for key in step) == everything
    assert epochs[0] != epochs[1]
    assert [step.number for step in steps] == list(range(2 * size))
    assert all(step.utterances == len(keys(step)) for step in steps)
    assert all(step.padded_samples >= step.audio_samples > 0 for step in steps)


def test_a_step_in_the_middle_is_found_by_reading_one_window(
    plan: RunPlan, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = plan.steps_per_epoch
    expected = keys(run_steps(plan, 0, 2 * size)[size + 3])
    read: list[list[int]] = []
    original = run_plan.read_shards
    monkeypatch.setattr(run_plan, "read_shards", lambda *a: (read.append(list(a[1])), original(*a))[1])
    read_window.cache_clear()
    (step,) = run_steps(plan, size + 3, size + 4)
    assert keys(step) == expected
    assert len(read) == 1 and read[0] in [window.tolist() for window in plan.windows]


@pytest.fixture(scope="module")
def ten_million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data set folder of ten million utterances, all of whose shards are one file."""
    folder = tmp_path_factory.mktemp("ten_million")
    simulate(folder, shards=1_000, shard_utterances=10_000)
    yield folder
    shutil.rmtree(folder)


def test_resuming_at_ten_million_utterances_is_the_same_work_anywhere_in_the_epoch(
    ten_million: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[int]] = []
    original = run_plan.read_shards
    monkeypatch.setattr(run_plan, "read_shards", lambda *a: (read.append(list(a[1])), original(*a))[1])

    def resumed(first: int, last: int) -> tuple[list[list[str]], int, RunPlan]:
        """Keys of each step from `first` on as a new process finds them, and the bytes it reads for that."""
        read_window.cache_clear()
        read.clear()
        before = bytes_read()
        plan = plan_run(
            read_catalog([str(ten_million)]),
            recognizer.vocabulary,
            recognizer.stem,
            seed=5,
            batch_seconds=20.0,
            units_per_step=2,
        )
        cap = 20 * SAMPLE_RATE_HZ
        steps = steps_from(plan, range(first, last), rank=0, world_size=1, cap_samples=cap, threads=1)
        return [keys(step) for step in steps], bytes_read() - before, plan

    _, _, plan = resumed(0, 1)
    size, index_bytes = plan.steps_per_epoch, (ten_million / "index.parquet").stat().st_size
    assert int(plan.catalog.utterances.sum()) == 10_000_000 and len(plan.windows) > 40
    cost = []
    for share in (0.0, 0.5, 0.99):
        number = 7 * size + int(share * size)
        found, cost_bytes, _ = resumed(number, number + 1)
        _, window, _ = find_step(plan.steps, number, seed=plan.seed)
        assert read == [plan.windows[window].tolist()] and len(found[0]) > 3
        cost.append(cost_bytes)
    assert max(cost) < 1.1 * min(cost) and max(cost) < 0.05 * index_bytes

    # A run that has come from the window before finds there what one finds that starts there.
    _, _, offset = find_step(plan.steps, number, seed=plan.seed)
    start = number - offset
    fresh, _, _ = resumed(start, start + 2)
    come, _, _ = resumed(start - 2, start + 2)
    assert come[2:] == fresh and len(read) == 2


@pytest.mark.parametrize("ranks", [2, 3, 4, 8, 64])
def test_any_number_of_ranks_does_the_same_steps(plan: RunPlan, recognizer: Recognizer, ranks: int) -> None:
    alone = run_steps(plan, 0, 6)
    shares = [run_steps(plan, 0, 6, rank, ranks) for rank in range(ranks)]
    for number, step in enumerate(alone):
        parts = [share[number] for share in shares]
        assert sorted(key for part in parts for key in keys(part)) == keys(step)
        assert {part.utterances for part in parts} == {step.utterances}
        assert len({len(part.batches) for part in parts}) == 1


def test_utterances_too_short_for_their_transcript_are_told_apart(recognizer: Recognizer, tone_shards: Path) -> None:
    index = read_index([str(tone_shards / "train")])
    assert feasible_utterances(index, index.num_samples, recognizer.vocabulary, recognizer.stem).all()
    short = np.minimum(index.num_samples, 4_000)
    feasible = feasible_utterances(index, short, recognizer.vocabulary, recognizer.stem)
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
        frames = int(recognizer.stem.num_frames(samples))
        expected = [0 < count <= frames for count in needed]
        assert feasible_utterances(index, lengths, recognizer.vocabulary, recognizer.stem).tolist() == expected, frames


def test_the_plan_is_described(plan: RunPlan, recognizer: Recognizer) -> None:
    text = describe_plan(plan, world_size=2, cap_samples=48_000)
    assert f"{plan.steps_per_epoch} steps an epoch in {len(plan.windows)} windows, 2 units a step" in text
    padding, balance = re.search(r"padding ([\d.]+)%, mean/max work of 2 ranks ([\d.]+)", text).groups()
    assert 0 <= float(padding) < 30 and 0.5 < float(balance) <= 1
    assert len(text.splitlines()) == 9


def test_perturbed_speed_is_planned_for_and_drawn_anew(
    plan: RunPlan, recognizer: Recognizer, tone_shards: Path
) -> None:
    perturbed = replace(plan, perturb_speed=True)
    size = plan.steps_per_epoch
    heard: list[dict[str, int]] = []
    for epoch in range(2):
        steps = run_steps(perturbed, epoch * size, (epoch + 1) * size)
        heard.append({})
        for step in steps:
            own = [(int(u), int(n)) for b in step.batches for u, n in zip(b.utterances, b.num_samples, strict=False)]
            assert sum(samples for _, samples in own) == step.audio_samples
            heard[-1] |= {step.index.keys[u].as_py(): samples for u, samples in own}
    index = read_index([str(tone_shards / "train")])
    original = dict(zip(index.keys.to_pylist(), index.num_samples.tolist(), strict=True))
    assert heard[0].keys() == heard[1].keys() == original.keys()
    for epoch_heard in heard:
        speeds = {round(10 * original[key] / samples) for key, samples in epoch_heard.items()}
        assert speeds == {9, 10, 11}
        assert all(samples in {original[key] * 10 // t for t in (9, 10, 11)} for key, samples in epoch_heard.items())
    assert heard[0] != heard[1]
    again = run_steps(perturbed, size + 2, size + 3)[0]
    found = []
    for batch in again.batches:  # an empty pass has a length but no utterance
        samples = batch.num_samples[: len(batch.utterances)].tolist()
        found += zip(again.index.keys.take(batch.utterances).to_pylist(), samples, strict=True)
    assert found and set(found) <= set(heard[1].items())


def test_no_batch_exceeds_the_cap_even_of_clips_shorter_than_the_shortest_batch(
    plan: RunPlan, recognizer: Recognizer
) -> None:
    cap_samples = 3 * MIN_BATCH_SAMPLES
    index, _ = read_window(plan, 0)
    lengths = np.maximum(index.num_samples, MIN_BATCH_SAMPLES)
    assert (index.num_samples < MIN_BATCH_SAMPLES).any()
    steps = steps_from(plan, range(6), rank=0, world_size=1, cap_samples=cap_samples, threads=1)
    for step in steps:
        assert step.padded_samples == sum(batch.waveforms.numel() for batch in step.batches)
        for batch in step.batches:
            assert batch.waveforms.numel() <= cap_samples or len(batch.utterances) == 1
    assert lengths.min() == MIN_BATCH_SAMPLES
