"""Hashes that are the same on every machine."""

import numpy as np

from asrscale.data.hashing import NO_IDS, hash_keys, splitmix64


def test_splitmix64_gives_the_published_sequence() -> None:
    # The reference generator, seeded with 1234567, adds the golden gamma before each output.
    state = np.uint64(1234567)
    first = splitmix64(np.array([state]))
    assert int(first[0]) == 6457827717110365317


def test_salts_are_mixed_one_after_another_as_splitmix64_does() -> None:
    salts = (5, -7, 2**70 + 3, 0, np.uint64(2**64 - 1))
    state = np.zeros(1, np.uint64)
    for salt in salts:
        state = splitmix64(state ^ np.uint64(int(salt) & 0xFFFF_FFFF_FFFF_FFFF))
    expected = splitmix64(np.arange(4, dtype=np.uint64) ^ state)
    assert np.array_equal(hash_keys(4, *salts), expected)


def test_hash_keys_differ_by_salt() -> None:
    assert len({int(hash_keys(1, *salts)[0]) for salts in ((1,), (2,), (1, 2), (2, 1), (-1,))}) == 5


def test_hash_keys_of_fewer_numbers_are_the_first_of_more() -> None:
    assert np.array_equal(hash_keys(3, 7), hash_keys(10, 7)[:3])
    assert len(hash_keys(0, 7)) == 0
    assert len(set(hash_keys(10_000, 7).tolist())) == 10_000


def test_of_a_salt_the_low_64_bits_count() -> None:
    assert np.array_equal(hash_keys(3, -1), hash_keys(3, 2**64 - 1))
    assert np.array_equal(hash_keys(3, 2**64), hash_keys(3, 0))


def test_no_ids_are_utterance_numbers() -> None:
    assert len(NO_IDS) == 0 and NO_IDS.dtype == np.int64
