import torch

from asrscale.memory.workload import Workload, sketch


def test_a_sketch_has_no_weights_and_a_cost_for_each_length() -> None:
    workload = Workload(model="tiny", dtype=torch.bfloat16, step_seconds=160.0)
    recognizer, costs = sketch(workload, 0, {3.0, 1.0, 2.0})
    parameters = list(recognizer.model.parameters())
    assert {(parameter.device.type, parameter.dtype) for parameter in parameters} == {("meta", torch.bfloat16)}
    assert [cost.seconds for cost in costs] == [1, 2, 3]
    peaks = [float(cost.timeline_bytes(8).max()) for cost in costs]
    assert peaks == sorted(peaks)


def test_a_sketch_trains_what_the_run_would() -> None:
    def trained(**settings: object) -> set[str]:
        workload = Workload(model="tiny", dtype=torch.bfloat16, step_seconds=160.0, **settings)  # type: ignore[arg-type]
        recognizer, _ = sketch(workload, 0, [1.0])
        return {name for name, parameter in recognizer.model.named_parameters() if parameter.requires_grad}

    whole = trained(freeze_feature_encoder=False)
    without_stem = trained()
    assert without_stem < whole
    assert all("feature_extractor" in name for name in whole - without_stem)
    adapted = trained(lora_rank=4)
    assert {name for name in adapted if "lora_" not in name} == {"lm_head.weight", "lm_head.bias"}


def test_a_sketch_recomputes_layers_and_drops_out_as_the_run_would() -> None:
    def peak_bytes(every: int, dropout: float | None) -> float:
        workload = Workload(model="tiny", dtype=torch.bfloat16, step_seconds=160.0, dropout=dropout)
        _, [cost] = sketch(workload, every, [20.0])
        return float(cost.timeline_bytes(8).max())

    assert peak_bytes(1, None) < peak_bytes(0, None)
    assert peak_bytes(0, 0.0) < peak_bytes(0, 0.1)
