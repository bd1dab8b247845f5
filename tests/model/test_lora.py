import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from helpers.training import launch, short
from safetensors.torch import load_file

from asrscale.model.building import build_recognizer
from asrscale.model.forward import forward_logits
from asrscale.model.freezing import checkpoint_activations
from asrscale.model.lora import add_lora, merge_lora


def test_what_is_added_begins_at_nothing_is_all_that_learns_and_merges_into_a_stock_model() -> None:
    recognizer, stock = (build_recognizer("tiny", "abc", seed=1) for _ in range(2))
    model = recognizer.model.eval()
    pass_ = torch.randint(-3000, 3000, (2, 16_000), dtype=torch.int16), torch.tensor([16_000, 12_000])
    before = forward_logits(model, recognizer, *pass_)
    add_lora(model, 4)
    assert torch.equal(forward_logits(model, recognizer, *pass_), before)
    learned = {name for name, p in model.named_parameters() if p.requires_grad}
    linear = len(stock.model.wav2vec2.encoder.layers) * 6
    assert len(learned) == 2 * linear + 2 and all("lora_" in n or n.startswith("lm_head") for n in learned)

    checkpoint_activations(model.train())
    forward_logits(model, recognizer, *pass_).sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == learned

    for name, p in model.eval().named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    tuned = forward_logits(model, recognizer, *pass_)
    assert (tuned - before).abs().max() > 0.01
    merge_lora(model)
    torch.testing.assert_close(forward_logits(model, recognizer, *pass_), tuned, atol=1e-5, rtol=0)
    stock.model.load_state_dict(model.state_dict())
    merge_lora(stock.model)
    assert torch.equal(forward_logits(stock.model.eval(), stock, *pass_), forward_logits(model, recognizer, *pass_))


def test_a_run_trains_it_goes_on_bit_for_bit_and_exports_a_stock_model(
    tone_shards: Path, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Two ranks, ZeRO-2."""
    folder = tmp_path / "run"
    newest = folder / "checkpoints" / "step-00000012"
    flags = [*short(), "--lora_rank", 4, "--activation_checkpointing", 2]
    done = run_command(*launch(2, tone_shards, folder, *flags))
    assert done.returncode == 0, done.stderr
    first, moments = load_file(newest / "model.safetensors"), load_file(newest / "optimizer.safetensors")
    earlier = load_file(folder / "checkpoints" / "step-00000008" / "model.safetensors")
    moved = {name for name, weight in first.items() if not torch.equal(weight, earlier[name])}
    trained = {name.removeprefix("exp_avg/") for name in moments if name.startswith("exp_avg/")}
    assert moved == trained and all("lora_" in name or name.startswith("lm_head") for name in moved)
    exported = load_file(folder / "model" / "model.safetensors")
    assert exported.keys() == build_recognizer("tiny", "abc", mask_time_prob=0.2).model.state_dict().keys()

    for path in (newest, folder / "model"):
        shutil.rmtree(path)
    again = run_command(*launch(2, tone_shards, folder, *flags))
    assert again.returncode == 0 and "going on from step 8" in again.stderr, again.stderr
    resumed = load_file(newest / "model.safetensors")
    assert all(torch.equal(weight, resumed[name]) for name, weight in first.items())
