from pathlib import Path

import torch
from helpers.planned import architecture_file

from asrscale.memory.workload import Workload, sketch


def test_a_sketch_has_no_weights_and_a_cost_for_each_length() -> None:
    workload = Workload(model="tiny", dtype=torch.bfloat16, step_seconds=160.0)
    found = sketch(workload, 0, {3.0, 1.0, 2.0})
    parameters = list(found.recognizer.model.parameters())
    assert {(parameter.device.type, parameter.dtype) for parameter in parameters} == {("meta", torch.bfloat16)}
    assert [cost.seconds for cost in found.costs] == [1, 2, 3]
    peaks = [float(cost.timeline_bytes(8).max()) for cost in found.costs]
    assert peaks == sorted(peaks)


def test_a_sketch_trains_what_the_run_would() -> None:
    def trained(**settings: object) -> set[str]:
        workload = Workload(model="tiny", dtype=torch.bfloat16, step_seconds=160.0, **settings)  # type: ignore[arg-type]
        model = sketch(workload, 0, [1.0]).recognizer.model
        return {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    whole = trained(freeze_feature_encoder=False)
    without_stem = trained()
    assert without_stem < whole
    assert all("feature_extractor" in name for name in whole - without_stem)
    adapted = trained(lora_rank=4)
    assert {name for name in adapted if "lora_" not in name} == {"lm_head.weight", "lm_head.bias"}


def test_a_sketch_recomputes_layers_and_drops_out_as_the_run_would() -> None:
    def peak_bytes(every: int, dropout: float | None) -> float:
        workload = Workload(model="tiny", dtype=torch.bfloat16, step_seconds=160.0, dropout=dropout)
        [cost] = sketch(workload, every, [20.0]).costs
        return float(cost.timeline_bytes(8).max())

    assert peak_bytes(1, None) < peak_bytes(0, None)
    assert peak_bytes(0, 0.0) < peak_bytes(0, 0.1)


def test_a_sketch_of_a_run_of_the_head_stores_nothing_for_a_gradient_below(tmp_path: Path) -> None:
    model = architecture_file(tmp_path, "base")

    def peak_bytes(head_only: bool) -> float:
        workload = Workload(model=model, dtype=torch.bfloat16, step_seconds=160.0, head_only=head_only)
        return float(sketch(workload, 0, [5.0]).longest.timeline_bytes(8).max())

    assert peak_bytes(True) < 0.45 * peak_bytes(False)


def test_a_sketch_knows_what_passes_cost_where_layers_are_dropped() -> None:
    def flops(layerdrop: float) -> tuple[float, float | None]:
        workload = Workload(model="tiny", dtype=torch.bfloat16, step_seconds=160.0, layerdrop=layerdrop)
        found = sketch(workload, 0, [5.0, 20.0])
        without = found.without_layers
        return float(found.longest.flops.of(8).sum()), without and float(without.flops.of(8).sum())

    assert flops(0.0)[1] is None
    whole, bare = flops(0.1)
    assert whole == flops(0.0)[0] and bare is not None and bare < 0.7 * whole
