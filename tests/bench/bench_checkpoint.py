"""What a checkpoint costs at the sizes of base and large: bytes, seconds beside a bare write, memory of rank 0.

    python tests/bench/bench_checkpoint.py [--folder DIR]     DIR lies on the file system to measure

ZeRO-2 in a world of one, with the optimizer's states where they are or on the host; the model is random, its moments
are made by a step. "bare" writes and syncs as many bytes from memory, in turn with the saves. CPU seconds leave out
what was waited for the disk or a busy machine. Memory is the growth of the resident set over that before the save.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler
from safetensors.torch import load_file
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale.common import distributed
from asrscale.training import checkpoint, ds_config
from asrscale.training import engine as ds
from asrscale.training.checkpoint import RunState
from asrscale.training.schedule import LearningRates

SIZES = {
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}


def status_bytes(name: str) -> int:
    """A line of /proc/self/status, such as VmRSS."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024


def bare_write_seconds(path: Path, size: int) -> float:
    """Writes and syncs random bytes."""
    block = os.urandom(1 << 24)
    began = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(0, size, len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    path.unlink()
    return seconds


def save_seconds(
    engine: ds.Engine, frozen: dict[str, torch.Tensor], step: int, folder: Path, world: distributed.World
) -> float:
    """Saves as a run does, the state of early stopping and of a loss scale included."""
    state = RunState(step=step, best=(0.5, 0.2, 1.0), best_step=1)
    began = time.perf_counter()
    assert checkpoint.save_checkpoint(engine, frozen, state, folder, keep=1, world=world) is None
    return time.perf_counter() - began


def measure(name: str, config_name: str, rounds: int, folder: Path, world: distributed.World) -> None:
    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**SIZES[name]))
    model.freeze_feature_encoder()
    frozen = {key: value.detach().clone() for key, value in model.named_parameters() if not value.requires_grad}
    config = ds_config.resolve_ds_config(
        ds_config.read_ds_config(f"ds_configs/{config_name}.json"),
        precision="fp32",
        max_gradient_norm=1.0,
        device=world.device,
    )
    engine = ds.initialize(model, config, weight_decay=0.0, adam_beta2=0.98)
    engine.train()
    ds.backward(engine, engine(torch.randn(1, 8000)).logits.float().square().mean(), world)
    ds.take_step(engine, LearningRates(1e-5, 1e-5))
    # fp16 itself needs a GPU; its loss scale is what a checkpoint has more.
    engine.optimizer.loss_scaler = DynamicLossScaler(2**16, 2, 1000, delayed_shift=1, consecutive_hysteresis=False)
    Path("/proc/self/clear_refs").write_text("5")  # begins the high-water mark anew
    before, busy = status_bytes("VmRSS"), time.process_time()
    saves = [save_seconds(engine, frozen, 1, folder, world)]
    busy, grown = time.process_time() - busy, status_bytes("VmHWM") - before
    checkpoint = folder / "checkpoints" / "step-00000001"
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    parameters = sum(value.numel() for value in engine.module.parameters())
    began = time.process_time()
    for file in checkpoint.FILES:
        checkpoint._fingerprint(checkpoint / file)
    hashing = time.process_time() - began
    assert "loss_scaler/cur_scale" in load_file(checkpoint / checkpoint.MOMENTS_FILE)
    bares = [bare_write_seconds(folder / "bare", size)]
    for number in range(2, rounds + 1):
        saves.append(save_seconds(engine, frozen, number, folder, world))
        bares.append(bare_write_seconds(folder / "bare", size))
    save, bare = statistics.median(saves), statistics.median(bares)
    print(
        f"{name:6} {config_name:14} {parameters / 1e6:4.0f} M  {size / 1e9:5.2f} GB  save {save:5.1f} s "
        f"({min(saves):.1f} to {max(saves):.1f})  bare {bare:5.1f} s ({min(bares):.1f} to {max(bares):.1f})  "
        f"ratio {save / bare:4.2f}  CPU {busy:4.1f} s, of it checksums {hashing:4.1f} s  "
        f"host memory +{grown / 1e9:.2f} GB, {grown / parameters:.1f} bytes a parameter",
        flush=True,
    )
    engine.destroy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--configs", default="zero2,zero2_offload")
    parser.add_argument("--rounds", type=int, default=3, help="saves and bare writes, in turn; medians are printed")
    arguments = parser.parse_args()
    with ds.joined_ranks() as world:
        for name in arguments.sizes.split(","):
            for config in arguments.configs.split(","):
                run = Path(tempfile.mkdtemp(dir=arguments.folder))
                try:
                    measure(name, config, arguments.rounds, run, world)
                finally:
                    shutil.rmtree(run)
