import torch

from asrscale.memory.host_memory import host_bytes
from asrscale.model.building import build_meta_recognizer
from asrscale.model.lora import add_lora
from asrscale.training.ds_config import read_ds_config


def test_the_host_holds_what_offload_and_checkpoints_put_there() -> None:
    model = build_meta_recognizer("tiny", dtype=torch.bfloat16).model
    zero = {name: read_ds_config(f"ds_configs/{name}.json")["zero_optimization"] for name in ("zero2", "zero2_offload")}
    parameters = sum(p.numel() for p in model.parameters())
    near, off = (host_bytes(zero[name], model, world_size=2, share_seconds=320) for name in zero)
    assert near["the model as it is loaded"] == 4 * parameters and near["frozen weights for checkpoints"] == 0
    assert near["read ahead, pinned"] == 320 * 224_000 and near["a checkpoint as it is written"] == 12 * parameters
    assert sum(off.values()) - sum(near.values()) == 18 * parameters / 2
    with torch.device("meta"):
        add_lora(model, 4)
    model.to(torch.bfloat16)
    lora = host_bytes(zero["zero2"], model, world_size=2, share_seconds=320)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert lora["frozen weights for checkpoints"] == 4 * frozen > lora["a checkpoint as it is written"]


def test_in_fp32_the_host_adds_up_whole_gradients() -> None:
    model = build_meta_recognizer("tiny", dtype=torch.float32).model
    parameters = sum(p.numel() for p in model.parameters())
    offloaded = {"stage": 2, "offload_optimizer": {"device": "cpu"}}
    sizes_bytes = host_bytes(offloaded, model, world_size=2, share_seconds=320)
    assert sizes_bytes["optimizer on the host"] == 20 * parameters / 2 + 4 * parameters


def test_a_moving_average_is_written_with_checkpoints_and_goes_where_the_optimizer_is() -> None:
    model = build_meta_recognizer("tiny", dtype=torch.bfloat16).model
    parameters = sum(p.numel() for p in model.parameters())
    offloaded = {"stage": 2, "offload_optimizer": {"device": "cpu"}}
    without, kept = (
        host_bytes(offloaded, model, world_size=2, share_seconds=320, keeps_average=keeps) for keeps in (False, True)
    )
    more = {name: kept[name] - without[name] for name in kept if kept[name] != without[name]}
    assert more == {"a checkpoint as it is written": 4 * parameters, "optimizer on the host": 4 * parameters / 2}
