"""Real shards, read step by step."""

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import flip_bit
from helpers.plans import keys, plan_in_windows, plan_of_mix, run_steps
from helpers.simulated import bytes_read, simulate

from asrscale.augmentation.augment import augment, open_augmentation
from asrscale.common.errors import CliError
from asrscale.data import run_plan, step_reader
from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.data.catalog import Catalog, read_catalog
from asrscale.data.epoch_plan import find_step
from asrscale.data.hashing import Ids
from asrscale.data.index import Index, read_index
from asrscale.data.run_plan import RunPlan, plan_run, read_window
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
    made = plan_in_windows(tone_shards / "train", recognizer, monkeypatch, windows=request.param)
    assert len(made.catalog.shards) == 3
    assert (len(made.windows) > 1) == (request.param > 1)
    return made


def called(monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> threading.Event:
    """Is set when that function of `step_reader` has returned so often."""
    original: Callable[..., object] = getattr(step_reader, name)
    reached = threading.Event()
    results: list[object] = []

    def counted(*words: object, **options: object) -> object:
        result = original(*words, **options)
        results.append(result)
        if len(results) == times:
            reached.set()
        return result

    monkeypatch.setattr(step_reader, name, counted)
    return reached


def recorded_reads(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Grows by the shard numbers of each window that is read from now on."""
    read: list[list[int]] = []
    original = run_plan.read_shards

    def recorded(catalog: Catalog, numbers: Ids) -> Index:
        read.append(numbers.tolist())
        return original(catalog, numbers)

    monkeypatch.setattr(run_plan, "read_shards", recorded)
    read_window.cache_clear()
    return read


def test_one_reader_runs_through_windows_and_epochs(
    plan: RunPlan, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes next is there before it is requested, whatever ends in between."""
    window = find_step(plan.steps, 0, seed=plan.seed).window
    last = int(plan.steps[window]) - 1  # of the first window, which may be the epoch
    monkeypatch.setattr(step_reader, "WINDOW_AHEAD_STEPS", last)
    planned = called(monkeypatch, "plan_visit", times=2)
    loaded = called(monkeypatch, "finish_step", times=last + 2)
    steps = steps_from(plan, range(last + 5), rank=0, world_size=1, cap_samples=48_000, threads=1)
    next(steps)  # when this is returned, the reader is at the step from which the next window is planned
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


def test_what_goes_wrong_in_a_later_window_is_raised_by_the_step_that_needs_it(
    recognizer: Recognizer, own_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in_windows(own_shards / "train", recognizer, monkeypatch, windows=3)
    window = find_step(plan.steps, 0, seed=plan.seed).window
    good = int(plan.steps[window])
    broken = find_step(plan.steps, good, seed=plan.seed).window
    shard = Path(plan.catalog.shards[plan.windows[broken][0]])
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
    read = recorded_reads(monkeypatch)
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
    read = recorded_reads(monkeypatch)

    def resumed(first: int, last: int) -> tuple[list[list[str]], int, RunPlan]:
        """Keys of each step from `first` on as a new process finds them, and the bytes it reads for that."""
        read_window.cache_clear()
        read.clear()
        before = bytes_read()
        plan = plan_run(
            read_catalog([str(ten_million)]),
            recognizer.vocabulary,
            recognizer.geometry,
            seed=5,
            batch_seconds=20.0,
            units_per_step=2,
        )
        cap = 20 * SAMPLE_RATE_HZ
        steps = steps_from(plan, range(first, last), rank=0, world_size=1, cap_samples=cap, threads=1)
        return [keys(step) for step in steps], bytes_read() - before, plan

    _, _, plan = resumed(0, 1)
    size = plan.steps_per_epoch
    index_bytes = (ten_million / "index.parquet").stat().st_size
    assert int(plan.catalog.utterances.sum()) == 10_000_000 and len(plan.windows) > 40
    cost = []
    for share in (0.0, 0.5, 0.99):
        number = 7 * size + int(share * size)
        found, cost_bytes, _ = resumed(number, number + 1)
        window = find_step(plan.steps, number, seed=plan.seed).window
        assert read == [plan.windows[window].tolist()] and len(found[0]) > 3
        cost.append(cost_bytes)
    assert max(cost) < 1.1 * min(cost) and max(cost) < 0.05 * index_bytes

    # A run that has come from the window before finds there what one finds that starts there.
    start = number - find_step(plan.steps, number, seed=plan.seed).offset
    fresh, _, _ = resumed(start, start + 2)
    continued, _, _ = resumed(start - 2, start + 2)
    assert continued[2:] == fresh and len(read) == 2


@pytest.mark.parametrize("ranks", [2, 3, 4, 8, 64])
def test_any_number_of_ranks_does_the_same_steps(plan: RunPlan, recognizer: Recognizer, ranks: int) -> None:
    alone = run_steps(plan, 0, 6)
    shares = [run_steps(plan, 0, 6, rank, ranks) for rank in range(ranks)]
    for number, step in enumerate(alone):
        parts = [share[number] for share in shares]
        assert sorted(key for part in parts for key in keys(part)) == keys(step)
        assert {part.utterances for part in parts} == {step.utterances}
        assert len({len(part.batches) for part in parts}) == 1


def played_lengths(step: Step) -> dict[str, int]:
    """Key to samples, of this rank's utterances of a step."""
    lengths: dict[str, int] = {}
    for batch in step.batches:
        played = batch.num_samples.tolist()[: len(batch.utterances)]  # an empty pass has a length but no utterance
        lengths |= zip(step.index.keys.take(batch.utterances).to_pylist(), played, strict=True)
    return lengths


def test_perturbed_speed_is_planned_for_and_drawn_anew(
    plan: RunPlan, recognizer: Recognizer, tone_shards: Path
) -> None:
    perturbed = replace(plan, perturb_speed=True)
    size = plan.steps_per_epoch
    played: list[dict[str, int]] = []
    for epoch in range(2):
        played.append({})
        for step in run_steps(perturbed, epoch * size, (epoch + 1) * size):
            own = played_lengths(step)
            assert sum(own.values()) == step.audio_samples
            played[-1] |= own
    index = read_index([str(tone_shards / "train")])
    original = dict(zip(index.keys.to_pylist(), index.num_samples.tolist(), strict=True))
    assert played[0].keys() == played[1].keys() == original.keys()
    for epoch_played in played:
        speeds = {round(10 * original[key] / samples) for key, samples in epoch_played.items()}
        assert speeds == {9, 10, 11}
        for key, samples in epoch_played.items():
            assert samples in {original[key] * 10 // tenths for tenths in (9, 10, 11)}
    assert played[0] != played[1]
    [again] = run_steps(perturbed, size + 2, size + 3)
    found = played_lengths(again)
    assert found and found.items() <= played[1].items()


def test_what_is_done_to_the_sound_follows_from_seed_epoch_and_utterance_alone(
    plan: RunPlan, recognizer: Recognizer, tmp_path: Path
) -> None:
    """Of noise, rooms, telephones and codecs as of speeds: at any number of ranks and threads, from any step on."""
    for name in ("noise", "rir"):
        (tmp_path / name).mkdir()
        for number in range(3):
            sound = np.random.default_rng(number).normal(0, 0.1, 4_000)
            soundfile.write(tmp_path / name / f"{number}.wav", sound, 22_050)
    text = f"noise={tmp_path}/noise@1,rir={tmp_path}/rir,gain@0.3,clip@0.3,telephone@0.3,codec@0.3"
    augmentation = open_augmentation(text)
    assert augmentation
    change = partial(augment, augmentation)
    perturbed = replace(plan, perturb_speed=True)
    size = plan.steps_per_epoch

    def sounds(first: int, last: int, ranks: int, threads: int) -> list[dict[str, bytes]]:
        """Of each step the samples of each utterance by its key, on all ranks."""
        found: list[dict[str, bytes]] = [{} for _ in range(first, last)]
        for rank in range(ranks):
            share = dict(rank=rank, world_size=ranks, cap_samples=48_000, threads=threads)
            for step in steps_from(perturbed, range(first, last), change=change, **share):
                assert not step.unaugmented
                found[step.number - first] |= sound_of(step)
        return found

    expected = sounds(0, size + 2, ranks=1, threads=1)
    for ranks, threads in ((2, 3), (3, 1)):
        assert sounds(size - 1, size + 2, ranks, threads) == expected[size - 1 :]
    first_epoch = {key: pcm for step in expected[:size] for key, pcm in step.items()}
    second_epoch = {key: pcm for step in expected[size:] for key, pcm in step.items()}
    assert len(second_epoch) > 3 and all(pcm != first_epoch[key] for key, pcm in second_epoch.items())


def sound_of(step: Step) -> dict[str, bytes]:
    """Key to samples, of this rank's utterances of a step."""
    sounds: dict[str, bytes] = {}
    for batch in step.batches:
        for waveform, length, utterance in zip(batch.waveforms, batch.num_samples, batch.utterances, strict=False):
            sounds[step.index.keys[utterance].as_py()] = waveform[:length].numpy().tobytes()
    return sounds


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


def test_a_mix_has_the_same_steps_for_any_number_of_ranks_and_from_any_step_on(
    recognizer: Recognizer, tone_shards: Path
) -> None:
    train = [f"{tone_shards / 'train'}=0.4", f"{tone_shards / 'valid'}=2.5"]
    plan = plan_of_mix(train, recognizer, perturb_speed=True)
    end = plan.steps_per_epoch + 3
    alone = run_steps(plan, 0, end)
    read_alone = [keys(step) for step in alone]
    assert max(len(of_step) for of_step in read_alone) > 1 and not any(step.damaged for step in alone)
    again = plan_of_mix(train, recognizer, perturb_speed=True)
    assert [keys(step) for step in run_steps(again, end - 7, end)] == read_alone[-7:]
    together = zip(*(run_steps(plan, 0, end, rank=rank, ranks=3) for rank in range(3)), strict=True)
    assert [sorted(key for share in shares for key in keys(share)) for shares in together] == read_alone


def test_a_damaged_utterance_is_reported_for_each_visit_and_its_neighbours_are_read(
    recognizer: Recognizer, own_shards: Path
) -> None:
    folder = own_shards / "train"
    index = read_index([str(folder)])
    flip_bit(index, 5)
    plan = plan_of_mix([f"{folder}=3"], recognizer)
    steps = run_steps(plan, 0, plan.steps_per_epoch)
    found = [step.index.name(one.utterance) for step in steps for one in step.damaged]
    assert found == [index.name(5)] * 3
    visited = Counter(key for step in steps for key in keys(step))
    assert visited == Counter({key: 3 for key in index.keys.to_pylist() if key != index.keys[5].as_py()})
    assert sum(step.utterances for step in steps) == 3 * len(index)
