import torch

from asrscale.memory.meta_operations import MetaOperations, OperationCost, tensor_bytes, tensors_in

aten = torch.ops.aten


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def test_the_tensors_of_nested_containers_are_found() -> None:
    one, two = meta(2), meta(3, dtype=torch.int64)
    assert tensors_in([one, ({"two": two}, 5), None]) == [one, two]
    assert tensor_bytes([one, ({"two": two}, 5), None]) == 8 + 24


def test_an_operation_costs_its_flops_and_what_it_reads_and_writes() -> None:
    operations = MetaOperations({})
    result, cost = operations.run(aten.mm.default, (meta(2, 3), meta(3, 5)), {})
    assert result.shape == (2, 5)
    assert cost == OperationCost(flops=2 * 2 * 3 * 5, moved_bytes=4 * (6 + 15 + 10))


def test_results_of_the_same_shapes_are_new_tensors_of_the_same_cost() -> None:
    operations = MetaOperations({})
    x = meta(4, 6).t()
    results = [operations.run(aten.add.Tensor, (x, x), {}) for _ in range(2)]
    (first, first_cost), (second, second_cost) = results
    assert first is not second and first.untyped_storage()._cdata != second.untyped_storage()._cdata
    assert first.stride() == second.stride() == torch.add(x, x).stride()
    assert first_cost == second_cost
    wider, wider_cost = operations.run(aten.add.Tensor, (meta(6, 8), meta(6, 8)), {})
    assert wider.shape == (6, 8) and wider_cost.moved_bytes == 2 * first_cost.moved_bytes


def test_views_cost_nothing_and_changes_in_place_move_their_tensors() -> None:
    operations = MetaOperations({})
    x = meta(4, 6)
    view, cost = operations.run(aten.t.default, (x,), {})
    assert view.untyped_storage()._cdata == x.untyped_storage()._cdata and cost == OperationCost()
    changed, cost = operations.run(aten.add_.Tensor, (x, x), {})
    assert changed is x and cost == OperationCost(moved_bytes=2 * x.nbytes)


def test_ctc_has_the_shapes_of_torchs_own_kernel() -> None:
    F, B, V, L = 9, 2, 5, 3
    log_probs = torch.randn(F, B, V).log_softmax(-1)
    labels = torch.ones(B, L, dtype=torch.int64)
    lengths = torch.full((B,), F), torch.full((B,), L)
    real = aten._ctc_loss.Tensor(log_probs, labels, *lengths)
    operations = MetaOperations({})
    arguments = [tensor.to("meta") for tensor in (log_probs, labels, *lengths)]
    traced, _ = operations.run(aten._ctc_loss.Tensor, arguments, {})
    assert [tensor.shape for tensor in traced] == [tensor.shape for tensor in real]
    gradient, _ = operations.run(aten._ctc_loss_backward.Tensor, [traced[0], *arguments, *traced, 0], {})
    assert gradient.shape == log_probs.shape
