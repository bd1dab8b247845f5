"""asrscale beside stock Hugging Face Trainer code: the same initial weights, utterances, epochs and learning rates.

    python tests/bench/baseline_trainer.py --data DIR [--model DIR] [--hidden_size 256 --layers 3]

DIR is a folder of shards with the splits train and dev. Each system is a process of one thread, one after the other.
`trainer` does what transformers' example for CTC does (random batches, the longest of a batch pads it, the model's own
loss), with the audio in memory from the start, and as many utterances a step as asrscale has on average; `grouped`
sorts by length as well (`group_by_length`). Seconds are those of the processor, of the whole process while it trains
(start-up, saving and evaluation left out): what a clock shows where nothing else runs; the clock's stand beside them.
What each reaches in the time of asrscale is a run of its own, of fewer or more steps: its learning rate follows its
length.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asrscale.common import cli

REPOSITORY = Path(__file__).parents[2]
UNIT_SECONDS, UNITS_PER_STEP = 12.0, 2  # about 8 utterances a step, Trainer's default
WEIGHT_DECAY, BETA2 = 0.01, 0.98


@dataclass(frozen=True)
class Options:
    """Trains one model with asrscale and with Trainer, and prints WER and time of each for each seed."""

    data: str = cli.setting(help="folder of shards with the splits train and dev")
    model: str = cli.setting("tiny", help="what both start from")
    hidden_size: int = cli.setting(96, help="of `tiny`, which has four heads and inner layers four times as wide")
    layers: int = cli.setting(2, help="of `tiny`")
    steps: int = cli.setting(800, help="optimizer steps")
    learning_rate: float = cli.setting(3e-3, help="peak")
    seeds: tuple[int, ...] = cli.setting((1, 2, 3), help="a row for each")
    systems: tuple[str, ...] = cli.setting(("asrscale", "trainer"), help="of asrscale, trainer and grouped")
    inner: str | None = cli.setting(None, help="inner use: train in this folder, with the system of its name")


def warmup_steps(options: Options) -> int:
    """Less for a run that is short because only its time counts."""
    return min(100, options.steps // 5)


def clocks() -> NDArray[np.float64]:
    """Seconds of the clock, and of the processor for this process."""
    return np.array([time.perf_counter(), time.process_time()])


def write_initial(options: Options, out: Path, seed: int) -> None:
    """The model that all start from."""
    from asrscale.data.catalog import read_catalog
    from asrscale.model.architectures import ARCHITECTURES
    from asrscale.model.building import build_recognizer

    size = dict(hidden_size=options.hidden_size, num_hidden_layers=options.layers)
    ARCHITECTURES["tiny"] |= size | dict(intermediate_size=4 * options.hidden_size)
    characters = read_catalog([f"{options.data}/train"]).characters
    build_recognizer(options.model, characters, seed=seed, dropout=0.0).save(out / "initial")


def train_with_trainer(options: Options, out: Path, seed: int) -> None:
    """Stock code, as in transformers' example for CTC; writes its model and the seconds of `train()`."""
    from transformers import Trainer, TrainingArguments, Wav2Vec2ForCTC

    from asrscale.data.catalog import read_catalog
    from asrscale.data.index import read_index
    from asrscale.data.loader import read_utterances
    from asrscale.data.run_plan import plan_run
    from asrscale.model.pretrained import load_recognizer
    from asrscale.speech.pcm import PCM_SCALE

    folders = [f"{options.data}/train"]
    index, catalog = read_index(folders), read_catalog(folders)
    initial = load_recognizer(str(out.parent.parent / "initial"))
    processor = initial.processor
    plan = plan_run(
        catalog, initial.vocabulary, initial.geometry,
        seed=seed, batch_seconds=UNIT_SECONDS, units_per_step=UNITS_PER_STEP,
    )  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        waveforms, _ = read_utterances(index, np.arange(len(index)), pool)
    texts = index.texts.to_pylist()
    upper = "A" in processor.tokenizer.get_vocab()
    rows = [
        {
            "input_values": processor(waveforms[i] / PCM_SCALE, sampling_rate=16_000).input_values[0],
            "labels": processor.tokenizer(texts[i].upper() if upper else texts[i]).input_ids,
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
        max_steps=options.steps,
        train_sampling_strategy="group_by_length" if out.name == "grouped" else "random",
        lr_scheduler_type="linear",
        learning_rate=options.learning_rate,
        warmup_steps=warmup_steps(options),
        weight_decay=WEIGHT_DECAY,
        adam_beta2=BETA2,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        save_strategy="no",
        logging_steps=100,
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=True,
        seed=seed,
    )
    model = Wav2Vec2ForCTC.from_pretrained(out.parent.parent / "initial")
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=pad,
        processing_class=processor.feature_extractor,  # says that the lengths are those of input_values
    )
    started = clocks()
    trainer.train()
    (out / "seconds.json").write_text(json.dumps(list(clocks() - started)))
    model.save_pretrained(out / "model")
    processor.save_pretrained(out / "model")


def train_with_asrscale(options: Options, out: Path, seed: int) -> None:
    """As launch/train.py does; writes the seconds of the steps."""
    from asrscale.training import loop
    from asrscale.training.config import train_config
    from asrscale.training.run import train
    from asrscale.training.watch import Watch

    seconds, take_steps = np.zeros(2), loop.take_steps

    def timed(*given: Any) -> Iterator[dict[str, Any]]:
        nonlocal seconds
        steps, started = take_steps(*given), clocks()
        for reached in steps:
            seconds += clocks() - started
            yield reached
            started = clocks()

    loop.take_steps = timed
    config = train_config(
        config="ds_configs/zero0.json", train=(f"{options.data}/train",), valid=(f"{options.data}/dev",), run=str(out),
        model=str(out.parent.parent / "initial"), seed=seed, max_steps=options.steps, schedule="linear",
        learning_rate=options.learning_rate, warmup_steps=warmup_steps(options), weight_decay=WEIGHT_DECAY,
        adam_beta2=BETA2,
        batch_seconds=UNIT_SECONDS, units_per_step=UNITS_PER_STEP, freeze_feature_encoder=False,
        activation_checkpointing=False, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0,
        log_steps=100, save_steps=10**6, eval_steps=10**6, wandb="off",
    )  # fmt: skip
    train(config, Watch(out))
    (out / "seconds.json").write_text(json.dumps(list(seconds)))


def run_system(name: str, options: Options, scratch: Path, seed: int, steps: int) -> float:
    """Trains, prints WER on all of dev, by asrscale.evaluate, and returns the processor's seconds of training."""

    def run(*words: object) -> None:
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    out = scratch / str(steps) / name
    out.mkdir(parents=True)
    flags = dict(data=options.data, learning_rate=options.learning_rate, steps=steps, seeds=seed, inner=out)
    run(__file__, *(word for key, value in flags.items() for word in (f"--{key}", value)))
    run("-m", "asrscale.evaluate", "--model", out / "model", "--data", f"{options.data}/dev", "--out", out / "eval")
    [found] = (out / "eval").glob("*dev.json")
    wer, (clock, processor) = json.loads(found.read_text())["wer"], json.loads((out / "seconds.json").read_text())
    row = f"{name:8}   {steps:5,} steps: WER {wer:6.2%} in {processor:5.1f} s of the processor, {clock:5.1f} s"
    print(f"seed {seed}   {row}", flush=True)
    return float(processor)


def main(options: Options) -> None:
    """Prints a row for each run."""
    if options.inner:
        out, seed = Path(options.inner), options.seeds[0]
        return (train_with_asrscale if out.name == "asrscale" else train_with_trainer)(options, out, seed)
    os.environ["OMP_NUM_THREADS"] = "1"
    print(f"{options.steps:,} steps of {UNIT_SECONDS * UNITS_PER_STEP:g} s, {options.data}, from {options.model}")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            write_initial(options, Path(scratch), seed)
            given = options, Path(scratch), seed
            seconds = {name: run_system(name, *given, options.steps) for name in options.systems}
            ours = seconds.pop("asrscale", math.nan)
            for name, theirs in seconds.items() if math.isfinite(ours) else ():
                print(f"seed {seed}   {name} / asrscale: {theirs / ours:.2f}; in the time of asrscale:", flush=True)
                run_system(name, *given, round(options.steps * ours / theirs))
    return None


if __name__ == "__main__":
    cli.run(Options, main)
