"""What a checkpoint costs at the sizes of base and large: bytes, seconds beside a bare write, memory of rank 0.

    python tests/bench_checkpoint.py [--folder DIR]     DIR lies on the file system to measure

ZeRO-2 in a world of one; the model is random, its moments are made by a step. "bare" writes and syncs as many bytes
from memory, right after the save. CPU seconds leave out what was waited for the disk or a busy machine. Memory is the
growth of the resident set over that before the save.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale import checkpoint as checkpoints
from asrscale import engine as ds
from asrscale.checkpoint import RunState

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


def measure(name: str, folder: Path, world: ds.World) -> None:
    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**SIZES[name]))
    model.freeze_feature_encoder()
    frozen = {key: value.detach().clone() for key, value in model.named_parameters() if not value.requires_grad}
    config = ds.resolve_ds_config(
        ds.read_ds_config("ds_configs/zero2.json"), precision="fp32", max_gradient_norm=1.0, device=world.device
    )
    engine = ds.initialize(model, config, weight_decay=0.0, adam_beta2=0.98)
    engine.train()
    ds.backward(engine, engine(torch.randn(1, 8000)).logits.float().square().mean(), world)
    ds.take_step(engine, 1e-5)
    Path("/proc/self/clear_refs").write_text("5")  # begins the high-water mark anew
    before, began, busy = status_bytes("VmRSS"), time.perf_counter(), time.process_time()
    assert checkpoints.save_checkpoint(engine, frozen, RunState(step=1), folder, keep=1, world=world) is None
    seconds, grown = time.perf_counter() - began, status_bytes("VmHWM") - before
    busy = time.process_time() - busy
    checkpoint = folder / "checkpoints" / "step-00000001"
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    bare = bare_write_seconds(folder / "bare", size)
    began = time.process_time()
    for file in checkpoints.FILES:
        checkpoints._fingerprint(checkpoint / file)
    hashing = time.process_time() - began
    began = time.process_time()
    weights, moments = ds.gather_weights(engine, frozen, world), ds.gather_moments(engine, world)
    gathering = time.process_time() - began
    parameters = sum(value.numel() for value in weights.values())
    del moments
    print(
        f"{name:6} {parameters / 1e6:5.0f} M  {size / 1e9:5.2f} GB  save {seconds:6.1f} s  bare {bare:6.1f} s  "
        f"ratio {seconds / bare:4.2f}  CPU {busy:4.1f} s (gather {gathering:4.1f} s, checksums {hashing:4.1f} s)  "
        f"host memory +{grown / 1e9:.2f} GB, {grown / parameters:.1f} bytes a parameter",
        flush=True,
    )
    engine.destroy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--sizes", default=",".join(SIZES))
    arguments = parser.parse_args()
    with ds.joined_ranks() as world:
        for name in arguments.sizes.split(","):
            run = Path(tempfile.mkdtemp(dir=arguments.folder))
            try:
                measure(name, run, world)
            finally:
                shutil.rmtree(run)
