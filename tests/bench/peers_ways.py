"""Ways to train one CTC model on the same utterances: asrscale's loop, transformers' Trainer, and plain loops.

All start from the same weights and have the same optimizer, learning rates and warm-up, without dropout and masks. All
but asrscale, which reads shards while it trains, have the normalised audio in memory. A step has the same seconds of
audio on average. Each is called in a process of its own and tells `Turns` of each step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peers_samplers import SAMPLERS, endless
from turns import Turns

SAMPLE_RATE_HZ = 16_000
WEIGHT_DECAY, BETA2, CLIP = 0.01, 0.98, 1.0
NOTEBOOK_SAMPLES = 10 * SAMPLE_RATE_HZ  # what the notebook pads each of its 2 utterances to
NOTEBOOK_BATCH = 2
ONE_UNIT, ZERO0 = "one-unit", "zero0"  # in the name of a way of asrscale: not two units a step; not ZeRO-2


@dataclass(frozen=True)
class Case:
    """One run of one way."""

    way: str
    model: str  # folder of the weights that all start from
    frozen_stem: bool
    data: str  # folder of the train and dev splits
    dev: str  # name of the latter
    audio: str  # folder of `write_audio`
    out: str
    seed: int
    steps: int
    block_steps: int
    warm_up_steps: int  # before the blocks
    step_seconds: float
    learning_rate: float
    max_seconds: float = 0.0  # of a batch, for lhotse and SpeechBrain
    num_buckets: int = 0

    @property
    def rising_steps(self) -> int:
        """While the learning rate rises."""
        return min(100, self.steps // 5)


def run_way(case: Case) -> None:
    """Trains, and writes the model to `out`/model."""
    turns = Turns(case.block_steps, case.warm_up_steps)
    torch.set_num_threads(1)
    if case.way.startswith("asrscale"):
        train_with_asrscale(case, turns)
    elif case.way in SAMPLERS:
        train_in_a_plain_loop(case, turns)
    else:
        train_with_trainer(case, turns)


# --- audio and labels in memory --------------------------------------------------------------------------------------


def write_audio(model: str, data: str, out: Path) -> NDArray[np.float64]:
    """Writes the train split as the processor of a model normalises it; returns the seconds of each utterance."""
    from concurrent.futures import ThreadPoolExecutor

    from asrscale.data.index import read_index
    from asrscale.data.loader import read_utterances
    from asrscale.model.pretrained import load_recognizer
    from asrscale.speech.pcm import PCM_SCALE

    index, recognizer = read_index([f"{data}/train"]), load_recognizer(model)
    with ThreadPoolExecutor(1) as pool:
        waveforms, _ = read_utterances(index, np.arange(len(index)), pool)
    extract = recognizer.processor.feature_extractor
    pcm = [waveforms[utterance] / PCM_SCALE for utterance in range(len(index))]
    normalised = [extract(one, sampling_rate=SAMPLE_RATE_HZ).input_values[0] for one in pcm]
    labels = [recognizer.processor.tokenizer(text).input_ids for text in index.texts.to_pylist()]
    out.mkdir(parents=True)
    for name, rows in {"audio": normalised, "labels": labels}.items():
        np.save(out / f"{name}.npy", np.concatenate(rows))
        np.save(out / f"{name}-lengths.npy", [len(row) for row in rows])
    return np.array([len(one) for one in normalised]) / SAMPLE_RATE_HZ


def read_audio(folder: str) -> list[dict[str, Any]]:
    """Returns the utterances that `write_audio` wrote."""

    def rows(name: str) -> list[Any]:
        ends = np.load(Path(folder, f"{name}-lengths.npy")).cumsum()
        return np.split(np.load(Path(folder, f"{name}.npy"), mmap_mode="c"), ends[:-1])  # processes share its memory

    pairs = zip(rows("audio"), rows("labels"), strict=True)
    return [{"input_values": audio, "labels": labels} for audio, labels in pairs]


def load(case: Case) -> tuple[Any, Any]:
    """Returns the model as transformers loads it, and its processor."""
    from transformers import Wav2Vec2ForCTC

    from asrscale.model.pretrained import load_recognizer

    model = Wav2Vec2ForCTC.from_pretrained(case.model)
    if case.frozen_stem:
        model.freeze_feature_encoder()
    return model, load_recognizer(case.model).processor


def save(model: Any, processor: Any, case: Case) -> None:
    """Writes what `asrscale.evaluate` reads."""
    model.save_pretrained(Path(case.out, "model"))
    processor.save_pretrained(Path(case.out, "model"))


# --- lhotse's and SpeechBrain's samplers with a plain loop ------------------------------------------------------------


def train_in_a_plain_loop(case: Case, turns: Turns) -> None:
    """Forward, loss, backward, clip, fused AdamW for each batch of a sampler."""
    from transformers import get_linear_schedule_with_warmup

    rows = read_audio(case.audio)
    torch.manual_seed(case.seed)
    model, processor = load(case)
    model.train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in trained if weight.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [weight for weight in trained if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=case.learning_rate, betas=(0.9, BETA2), fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, case.rising_steps, case.steps)
    has_mask = processor.feature_extractor.return_attention_mask
    turns.begin()
    for batch in sampled_batches(case, rows):
        loss = model(**pad_batch(batch, has_mask)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        turns.step_done(sum(len(row["input_values"]) for row in batch))
    save(model, processor, case)


def sampled_batches(case: Case, rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yields the utterances of each step."""
    seconds = np.array([len(row["input_values"]) for row in rows]) / SAMPLE_RATE_HZ
    epochs = SAMPLERS[case.way](seconds, case.max_seconds, case.num_buckets, case.seed)
    for _, batch in zip(range(case.steps), endless(epochs), strict=False):
        yield [rows[utterance] for utterance in batch]


def pad_batch(batch: list[dict[str, Any]], has_mask: bool) -> dict[str, torch.Tensor]:
    """What the model's forward pass takes, padded to the longest utterance."""
    waveforms = [torch.from_numpy(row["input_values"]) for row in batch]
    labels = [torch.from_numpy(row["labels"]) for row in batch]
    padded = {
        "input_values": torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True),
        "labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100),
    }
    if has_mask:
        lengths = torch.tensor([len(one) for one in waveforms])
        padded["attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    return padded


# --- transformers' Trainer -------------------------------------------------------------------------------------------


def trainer_settings(way: str, step_utterances: int) -> dict[str, Any]:
    """What the ways differ in: how many utterances a pass has, and which ones.

    `batch_rebalance` needs at least two passes a step: it sorts the utterances of a step into them.
    """
    passes, strategy = {
        "notebook": (max(1, round(step_utterances / NOTEBOOK_BATCH)), "random"),
        "trainer-grouped": (1, "group_by_length"),
        "trainer-rebalanced": (2, "batch_rebalance"),
    }[way]
    return dict(
        per_device_train_batch_size=max(1, round(step_utterances / passes)),
        gradient_accumulation_steps=passes,
        train_sampling_strategy=strategy,
    )


def train_with_trainer(case: Case, turns: Turns) -> None:
    """As transformers' example for CTC does."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    rows = read_audio(case.audio)
    model, processor = load(case)
    collator = Collator(processor, NOTEBOOK_SAMPLES if case.way == "notebook" else None)
    mean_seconds = sum(len(row["input_values"]) for row in rows) / len(rows) / SAMPLE_RATE_HZ

    class Told(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            turns.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.step_done(collator.take_samples())

    arguments = TrainingArguments(
        output_dir=case.out, max_steps=case.steps, seed=case.seed,
        **trainer_settings(case.way, round(case.step_seconds / mean_seconds)),
        lr_scheduler_type="linear", learning_rate=case.learning_rate, warmup_steps=case.rising_steps,
        weight_decay=WEIGHT_DECAY, adam_beta2=BETA2, max_grad_norm=CLIP, optim="adamw_torch_fused",
        save_strategy="no", logging_steps=100, report_to=[], remove_unused_columns=False, disable_tqdm=True,
        use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=collator, callbacks=[Told],
        processing_class=processor.feature_extractor,  # says that the lengths are those of input_values
    )  # fmt: skip
    # The model takes any keyword, so that Trainer believes that its loss is a sum over the passes of a step.
    trainer.model_accepts_loss_kwargs = False
    trainer.train()
    save(model, processor, case)


class Collator:
    """Pads as transformers' example does, and counts the samples before."""

    def __init__(self, processor: Any, num_samples: int | None) -> None:
        self.processor, self.num_samples, self.samples = processor, num_samples, 0

    def __call__(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        self.samples += sum(len(row["input_values"]) for row in batch)
        inputs = [{"input_values": row["input_values"]} for row in batch]
        how: dict[str, Any] = {"padding": True}
        if self.num_samples is not None:
            how = {"padding": "max_length", "max_length": self.num_samples, "truncation": True}
        padded = self.processor.feature_extractor.pad(inputs, return_tensors="pt", **how)
        labels = self.processor.tokenizer.pad([{"input_ids": row["labels"]} for row in batch], return_tensors="pt")
        padded["labels"] = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
        return padded

    def take_samples(self) -> int:
        """Returns how many there were since the last call; a pass is collated before the one before it is computed."""
        samples, self.samples = self.samples, 0
        return samples


# --- asrscale --------------------------------------------------------------------------------------------------------


def train_with_asrscale(case: Case, turns: Turns) -> None:
    """As launch/train.py does, on one rank."""
    from asrscale.training import loop
    from asrscale.training.config import train_config
    from asrscale.training.run import train
    from asrscale.training.stopping import watching

    add, take_steps, samples = loop.Meter.add, loop.take_steps, 0

    def add_samples(self: Any, step: Any, *given: Any) -> None:
        nonlocal samples
        samples = step.audio_samples
        add(self, step, *given)

    def told(*given: Any) -> Iterator[Any]:
        turns.begin()
        for reached in take_steps(*given):
            turns.step_done(samples)
            yield reached

    loop.take_steps, loop.Meter.add = told, add_samples  # type: ignore[method-assign]
    units = 1 if ONE_UNIT in case.way else 2
    config = train_config(
        config="zero0" if ZERO0 in case.way else "zero2", run=case.out, model=case.model, seed=case.seed,
        train=(f"{case.data}/train",), valid=(f"{case.data}/{case.dev}",),
        max_steps=case.steps, schedule="linear", learning_rate=case.learning_rate, warmup_steps=case.rising_steps,
        weight_decay=WEIGHT_DECAY, adam_beta2=BETA2, max_gradient_norm=CLIP,
        batch_seconds=case.step_seconds / units, units_per_step=units,
        freeze_feature_encoder=case.frozen_stem, activation_checkpointing=0,
        mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0,
        log_steps=100, save_steps=10**6, eval_steps=10**6, wandb="off",
    )  # fmt: skip
    with watching(Path(config.general.run)) as watch:
        train(config, watch)
