import pytest
import torch

from asrscale.common.errors import CliError
from asrscale.memory.deepspeed_states import activation_budget_bytes, deepspeed_states, host_bytes
from asrscale.memory.gpus import GPUS, find_gpu
from asrscale.model.building import build_meta_recognizer
from asrscale.model.lora import add_lora
from asrscale.training.ds_config import read_ds_config


def test_a_gpu_has_a_name_or_its_memory() -> None:
    assert find_gpu("a100-40") is GPUS["a100-40"]
    card = find_gpu("12")
    assert (card.name, card.memory_gib, card.teraflops) == ("12 GiB", 12, GPUS["rtx3060-12"].teraflops)
    assert find_gpu("2.5").teraflops == GPUS["rtx3050-6"].teraflops
    for wrong in ("mega", "0.5", "-6", "2000", ""):
        with pytest.raises(CliError, match="give the GiB of a card"):
            find_gpu(wrong)


def test_states_shrink_with_stage_and_ranks() -> None:
    model = build_meta_recognizer("tiny", dtype=torch.bfloat16).model
    zero = {stage: read_ds_config(f"ds_configs/zero{stage}.json")["zero_optimization"] for stage in (1, 2, 3)}
    residents = [deepspeed_states(zero[stage], model, 8) for stage in (1, 2, 3)]
    parameters = sum(p.numel() for p in model.parameters())
    assert [round(states.weights / parameters, 3) for states in residents] == [2, 2, 0.25]
    assert [states.gradients / parameters for states in residents] == [4, 0.5, 0.5]
    assert {states.optimizer / parameters for states in residents} == {1.5}
    room = [activation_budget_bytes(find_gpu(gpu), residents[1], 8) for gpu in ("2", "4")]
    assert room[1] - room[0] == pytest.approx(2 * 2**30 / 1.05)


def test_zero3_copies_no_more_gradients_at_a_time_than_a_sub_group() -> None:
    model = build_meta_recognizer("tiny", dtype=torch.bfloat16).model
    zero = read_ds_config("ds_configs/zero3.json")["zero_optimization"]
    sizes = [p.numel() for p in model.parameters()]
    small, whole = (deepspeed_states(zero | {"sub_group_size": n}, model, 1).step_bytes for n in (1000, 10**9))
    assert (small, whole) == (4 * (1000 + max(sizes)), 4 * sum(sizes))


def test_the_host_holds_what_offload_and_checkpoints_put_there() -> None:
    model = build_meta_recognizer("tiny", dtype=torch.bfloat16).model
    zero = {name: read_ds_config(f"ds_configs/{name}.json")["zero_optimization"] for name in ("zero2", "zero2_offload")}
    parameters = sum(p.numel() for p in model.parameters())
    near, off = (host_bytes(zero[name], model, 2, share_seconds=320) for name in zero)
    assert near["the model as it is loaded"] == 4 * parameters and near["frozen weights for checkpoints"] == 0
    assert near["read ahead, pinned"] == 320 * 160_000 and near["a checkpoint as it is written"] == 12 * parameters
    assert sum(off.values()) - sum(near.values()) == 18 * parameters / 2
    with torch.device("meta"):
        add_lora(model, 4)
    model.to(torch.bfloat16)
    lora = host_bytes(zero["zero2"], model, 2, share_seconds=320)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert lora["frozen weights for checkpoints"] == 4 * frozen > lora["a checkpoint as it is written"]
    states = deepspeed_states(zero["zero2"], model, 1)
    assert states.optimizer + states.gradients < 0.2 * 16 * parameters
