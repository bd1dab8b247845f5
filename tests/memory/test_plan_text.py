from helpers.planned import choice

from asrscale.memory.plan_text import aligned, checkpointing_text, header, memory_table, row


def test_a_choice_is_a_row_of_the_table() -> None:
    assert len(header([5.0, 20.0])) == len(row(choice()))
    assert header([20.0, 5.0])[3:5] == ["5 s", "20 s"]
    assert row(choice()) == ["t4-16", "zero2", "40 s", "8", "2", "3.8 GiB", "2.50 s", "1,234"]
    assert row(choice(every=2))[1] == "zero2, checkpointing every 2nd layer"


def test_a_choice_that_does_not_fit_has_no_numbers() -> None:
    assert row(choice(cap_seconds=0)) == ["t4-16", "zero2", "does not fit", "-", "-", "-", "-", "-"]


def test_every_setting_of_checkpointing_has_words() -> None:
    assert [checkpointing_text(every) for every in (0, 1, 3)] == ["no checkpointing", "every layer", "a layer in 3"]


def test_words_are_aligned_to_the_left_and_numbers_to_the_right() -> None:
    rows = [["GPU", "cap", "configuration"], ["t4-16", "5 s", "zero2"], ["l4-24", "1,200 s", "zero2_offload"]]
    assert aligned(rows).splitlines() == [
        "GPU        cap  configuration",
        "t4-16      5 s  zero2",
        "l4-24  1,200 s  zero2_offload",
    ]


def test_sizes_are_listed_in_gib_under_a_title() -> None:
    sizes_bytes = {"weights": 1.5 * 2**30, "activations": 12.25 * 2**30}
    assert memory_table("peak", sizes_bytes) == "peak\n 1.50  GiB  weights\n12.25  GiB  activations"
