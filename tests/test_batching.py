import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrscale.batching import cut_step, hash_keys, num_steps, padded_samples, plan_epoch, splitmix64

LENGTHS = st.lists(st.integers(1_600, 320_000), min_size=1, max_size=300).map(lambda x: np.array(x, np.int64))


def test_splitmix64_gives_the_published_sequence() -> None:
    # The reference generator, seeded with 1234567, adds the golden gamma before each output.
    state = np.uint64(1234567)
    first = splitmix64(np.array([state]))
    assert int(first[0]) == 6457827717110365317


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(0, 2**63), st.integers(0, 5), st.integers(1, 60), st.integers(1, 9))
def test_each_utterance_is_in_one_unit_of_an_epoch(
    lengths: np.ndarray, seed: int, epoch: int, batch_seconds: int, units_per_step: int
) -> None:
    batch_samples = batch_seconds * 16_000
    plan = plan_epoch(lengths, seed=seed, epoch=epoch, batch_samples=batch_samples, units_per_step=units_per_step)
    steps = [plan.step(number) for number in range(plan.num_steps)]
    together = np.concatenate([unit for units in steps for unit in units])
    assert sorted(together) == list(range(len(lengths)))
    assert plan.num_steps == num_steps(lengths, batch_samples, units_per_step)
    assert all(len(units) == units_per_step and sum(map(len, units)) for units in steps)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(1, 17), st.integers(0, 40))
def test_a_step_is_the_same_for_any_ranks_and_cap(
    lengths: np.ndarray, units_per_step: int, world_size: int, extra_seconds: int
) -> None:
    cap = int(lengths.max()) + extra_seconds * 16_000
    plan = plan_epoch(lengths, seed=1, epoch=0, batch_samples=640_000, units_per_step=units_per_step)
    for number in range(plan.num_steps):
        units = plan.step(number)
        ranks = cut_step(units, lengths, memory_cap_samples=cap, world_size=world_size)
        assert len(ranks) == world_size
        assert len({len(passes) for passes in ranks}) == 1 and ranks[0]
        assert sorted(np.concatenate([utterances for passes in ranks for utterances in passes])) == sorted(
            np.concatenate(units)
        )
        assert all(padded_samples(utterances, lengths) <= cap for passes in ranks for utterances in passes)


def common_voice_lengths(count: int = 20_000) -> np.ndarray:
    """Like Common Voice v1's: 5 s in the mean, 1 to 15 s."""
    spread = np.random.default_rng(0).lognormal(1.5, 0.4, count)
    return (np.clip(spread, 1, 15) * 16_000).astype(np.int64)


def test_padding_and_overshoot_are_small_at_160_seconds() -> None:
    lengths = common_voice_lengths()
    plan = plan_epoch(lengths, seed=3, epoch=0, batch_samples=160 * 16_000, units_per_step=4)
    padded = [padded_samples(unit, lengths) for number in range(plan.num_steps) for unit in plan.step(number)]
    assert 1 - lengths.sum() / sum(padded) < 0.01
    assert max(padded) < 1.05 * 160 * 16_000


def test_partners_change_from_epoch_to_epoch() -> None:
    lengths = common_voice_lengths(2_000)
    units = []
    for epoch in (0, 1):
        plan = plan_epoch(lengths, seed=3, epoch=epoch, batch_samples=640_000, units_per_step=4)
        units.append({frozenset(unit.tolist()) for number in range(plan.num_steps) for unit in plan.step(number)})
    assert len(units[0] & units[1]) < 0.2 * len(units[0])


def test_the_plan_is_the_same_on_every_machine() -> None:
    lengths = np.arange(1_000, dtype=np.int64) * 37 % 160_000 + 16_000
    plan = plan_epoch(lengths, seed=7, epoch=2, batch_samples=640_000, units_per_step=4)
    content = plan.utterances.astype("<i8").tobytes() + plan.unit_ends.astype("<i8").tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "c31808f553b0aec0"


def test_a_rank_with_nothing_to_do_gets_empty_passes() -> None:
    ranks = cut_step([np.array([0])], np.array([16_000]), memory_cap_samples=16_000, world_size=3)
    assert [[len(utterances) for utterances in passes] for passes in ranks] == [[1], [0], [0]]


@pytest.mark.parametrize("world_size", [2, 8])
def test_ranks_have_equal_work(world_size: int) -> None:
    lengths = common_voice_lengths()
    plan = plan_epoch(lengths, seed=3, epoch=0, batch_samples=160 * 16_000, units_per_step=8)
    for number in range(0, plan.num_steps, 5):
        ranks = cut_step(plan.step(number), lengths, memory_cap_samples=40 * 16_000, world_size=world_size)
        work = [sum(padded_samples(utterances, lengths) for utterances in passes) for passes in ranks]
        assert np.mean(work) / max(work) > 0.9


def test_hash_keys_differ_by_salt() -> None:
    assert len({int(hash_keys(1, *salts)[0]) for salts in ((1,), (2,), (1, 2), (2, 1), (-1,))}) == 5
