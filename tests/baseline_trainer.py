"""asrscale beside stock Hugging Face Trainer code: the same initial weights, utterances, epochs and learning rates.

    python tests/baseline_trainer.py --data DIR [--steps 2000] [--seeds 1,2,3]      (needs accelerate)

DIR is a folder of shards with the splits train and dev. Both run as one process with one thread. The Trainer does what
its speech recipe does (`group_by_length`, the longest of a batch pads it, the model's own loss), with the audio in
memory from the start, and as many utterances a step as asrscale has on average. A third run gives the Trainer only the
steps that it manages in the time of asrscale. Times are seconds of CPU, start-up left out: other programs do not change
them much.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asrscale import cli

REPOSITORY = Path(__file__).parent.parent
UNIT_SECONDS, UNITS_PER_STEP = 6.0, 2
RATES = {"learning_rate": 3e-3, "warmup_steps": 100, "weight_decay": 0.01, "max_grad_norm": 1.0, "adam_beta2": 0.98}


@dataclass(frozen=True)
class Options:
    """Trains `tiny` with asrscale and with Trainer, and prints WER and CPU time of both for each seed."""

    data: str = cli.setting(help="folder of shards with the splits train and dev")
    steps: int = cli.setting(2000, help="optimizer steps")
    seeds: tuple[int, ...] = cli.setting((1, 2, 3), help="one run of each system for each")
    trainer_out: str | None = cli.setting(None, help="inner use: train here with Trainer, for --steps and one seed")


def train_with_trainer(data: Path, out: Path, steps: int, seed: int) -> None:
    """Stock code, as in transformers' examples for CTC; writes out/model and the CPU seconds of `train()`."""
    import torch
    from transformers import Trainer, TrainingArguments, Wav2Vec2ForCTC

    from asrscale.audio import PCM_SCALE
    from asrscale.index import read_catalog, read_index
    from asrscale.loader import read_utterances
    from asrscale.model import build_recognizer
    from asrscale.steps import plan_run

    torch.set_num_threads(1)
    folders = [str(data / "train")]
    index, catalog = read_index(folders), read_catalog(folders)
    plan = plan_run(catalog, seed=seed, batch_seconds=UNIT_SECONDS, units_per_step=UNITS_PER_STEP)
    recognizer = build_recognizer("tiny", catalog.characters, seed=seed)
    recognizer.model.config.apply_spec_augment = False
    recognizer.save(out / "initial")
    processor = recognizer.processor
    with ThreadPoolExecutor(2) as pool:
        waveforms, _ = read_utterances(index, np.arange(len(index)), pool)
    texts = index.texts.to_pylist()
    rows = [
        {
            "input_values": processor(waveforms[i] / PCM_SCALE, sampling_rate=16_000).input_values[0],
            "labels": processor.tokenizer(texts[i]).input_ids,
        }
        for i in range(len(index))
    ]

    def pad(batch: list[dict[str, Any]]) -> dict[str, Any]:
        padded = processor.pad([{"input_values": row["input_values"]} for row in batch], return_tensors="pt")
        labels = processor.tokenizer.pad([{"input_ids": row["labels"]} for row in batch], return_tensors="pt")
        padded["labels"] = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
        return padded

    arguments = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=round(len(index) / plan.steps_per_epoch),
        max_steps=steps,
        train_sampling_strategy="group_by_length",
        lr_scheduler_type="linear",
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
        logging_steps=500,
        use_cpu=True,
        seed=seed,
        optim="adamw_torch_fused",
        **RATES,
    )
    model = Wav2Vec2ForCTC.from_pretrained(out / "initial")
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=pad,
        processing_class=processor.feature_extractor,  # says that the lengths are those of input_values
    )
    started = time.process_time()
    trainer.train()
    (out / "seconds.json").write_text(json.dumps(time.process_time() - started))
    model.save_pretrained(out / "model")
    processor.save_pretrained(out / "model")


def run_trainer(options: Options, out: Path, steps: int, seed: int) -> float:
    """CPU seconds of training, in a process of its own."""
    flags = ["--data", options.data, "--steps", steps, "--seeds", seed, "--trainer_out", out]
    subprocess.run([sys.executable, __file__, *map(str, flags)], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    return float(json.loads((out / "seconds.json").read_text()))


def run_asrscale(options: Options, out: Path, seed: int) -> float:
    """CPU seconds of training: those of the whole run, less those of one that takes two steps."""
    train, dev = Path(options.data, "train"), Path(options.data, "dev")
    flags = {
        "train": train, "valid": dev, "model": "tiny", "seed": seed, "schedule": "linear", "learning_rate": 3e-3,
        "weight_decay": 0.01, "batch_seconds": UNIT_SECONDS, "units_per_step": UNITS_PER_STEP, "wandb": "off",
        "save_steps": 10**6, "eval_steps": 10**6, "config": "ds_configs/zero0.json",
    }  # fmt: skip

    def seconds(name: str, **more: object) -> float:
        words = [word for key, value in (flags | more).items() for word in (f"--{key}", str(value))]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "launch/train.py", "--run", str(out / name), *words],
            check=True,
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    start_up = seconds("short", max_steps=2, warmup_steps=1)
    return seconds("run", max_steps=options.steps, warmup_steps=100) - start_up


def wer(model: Path, data: Path, out: Path) -> float:
    """Of all of dev, by asrscale.evaluate for both systems."""
    from asrscale.index import read_index
    from asrscale.metrics import count_errors
    from asrscale.text import normalise

    words = ["--model", model, "--data", data / "dev", "--out", out]
    subprocess.run(
        [sys.executable, "-m", "asrscale.evaluate", *map(str, words)],
        check=True,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    [path] = out.glob("*dev.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == len(read_index([str(data / "dev")]))
    return count_errors([row["reference"] for row in rows], [normalise(row["hypothesis"]) for row in rows]).wer


def main(options: Options) -> None:
    """Prints the table."""
    if options.trainer_out:
        return train_with_trainer(Path(options.data), Path(options.trainer_out), options.steps, options.seeds[0])
    data = Path(options.data)
    print(f"{options.steps:,} steps of {UNIT_SECONDS * UNITS_PER_STEP:g} s, {data}")
    print("seed   asrscale WER   CPU s   Trainer WER   CPU s   ratio   Trainer WER in asrscale's time (steps)")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            own, trainer, cut = (Path(scratch, name) for name in ("asrscale", "trainer", "cut"))
            seconds, theirs = run_asrscale(options, own, seed), run_trainer(options, trainer, options.steps, seed)
            fewer = min(options.steps, round(options.steps * seconds / theirs))
            run_trainer(options, cut, fewer, seed)
            ours, full, short = (
                wer(path, data, path.parent / "eval") for path in (own / "run/model", trainer / "model", cut / "model")
            )
        row = f"{seed:>4}   {ours:>12.2%}   {seconds:>5.0f}   {full:>11.2%}   {theirs:>5.0f}   {theirs / seconds:>5.2f}"
        print(f"{row}   {short:.2%} ({fewer:,})", flush=True)
    return None


if __name__ == "__main__":
    cli.run(Options, main)
