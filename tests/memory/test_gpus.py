import pytest

from asrscale.common.errors import CliError
from asrscale.memory.gpus import GPUS, find_gpu


def test_a_gpu_has_a_name_or_its_memory() -> None:
    assert find_gpu("a100-40") is GPUS["a100-40"]
    card = find_gpu("12")
    assert (card.name, card.memory_gib, card.teraflops) == ("12 GiB", 12, GPUS["rtx3060-12"].teraflops)


def test_a_card_below_all_known_ones_is_as_fast_as_the_smallest() -> None:
    assert find_gpu("2.5").teraflops == GPUS["rtx3050-6"].teraflops


@pytest.mark.parametrize("wrong", ["mega", "0.5", "-6", "2000", ""])
def test_what_is_neither_a_name_nor_a_size_is_refused(wrong: str) -> None:
    with pytest.raises(CliError, match="give the GiB of a card"):
        find_gpu(wrong)


def test_known_gpus_are_sorted_by_memory() -> None:
    sizes_gib = [gpu.memory_gib for gpu in GPUS.values()]
    assert sizes_gib == sorted(sizes_gib)
