import pytest
import torch

from asrscale.memory.tape import Tape


def test_a_tape_counts_storages_once_and_forgets_them_when_they_die() -> None:
    tape = Tape("cpu", {})
    with tape:
        x = torch.zeros(1000)
        view = x[10:]
        assert tape.live_bytes == 4000
        del x
        assert tape.live_bytes == 4000
        y = view + 1
        assert tape.live_bytes == 4000 + 3960
        del view, y
    assert tape.live_bytes == 0


def test_each_operation_has_a_row_with_what_is_alive_after_it() -> None:
    tape = Tape("cpu", {})
    with tape:
        x = torch.zeros(10)
        y = x + 1
        del y
        x.mul_(2)
    assert [row.live_bytes for row in tape.rows] == [40, 80, 40]


def test_what_was_made_before_counts_where_it_is_held() -> None:
    x = torch.zeros(10)
    tape = Tape("cpu", {})
    tape.hold([x, {"view": x[:5]}])
    with tape:
        y = x * 2
    assert tape.live_bytes == 80
    del x, y
    assert tape.live_bytes == 0


def test_another_device_does_not_count() -> None:
    tape = Tape("cpu", {})
    with tape:
        on_cpu = torch.zeros(10)
        on_meta = torch.zeros(10, device="meta")
        assert tape.live_bytes == on_cpu.nbytes
    assert on_meta.nbytes == 40


def test_folded_operations_are_one_row_with_the_most_memory_and_all_the_work() -> None:
    tape = Tape("meta", {})
    x = torch.empty(8, 8, device="meta")
    tape.hold(x)
    with tape:
        tape.begin_fold()
        x @ x
        x @ x
        tape.end_fold()
        x + x
    folded, alone = tape.rows
    assert folded.live_bytes == 2 * x.nbytes
    assert folded.flops == 2 * (2 * 8**3)
    assert folded.moved_bytes == 2 * (3 * x.nbytes)
    assert (alone.live_bytes, alone.flops, alone.moved_bytes) == (2 * x.nbytes, 0, 3 * x.nbytes)


def test_the_scratch_of_a_kernel_counts_while_it_runs() -> None:
    x = torch.empty(8, 8, device="meta")
    tape = Tape("meta", {torch.ops.aten.mm.default: lambda args, result: args[0].nbytes + 7})
    tape.hold(x)
    with tape:
        y = x @ x
        y + y
    assert [row.live_bytes for row in tape.rows] == pytest.approx([3 * x.nbytes + 7, 3 * x.nbytes])
