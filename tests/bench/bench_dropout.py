"""What dropout costs, by hashes (`asrscale.model.dropout`) and by torch's generator, beside none: `make bench`.

Forward and backward passes of training, side by side in turn, on one thread; the best of several rounds.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale.data.batches import Batch
from asrscale.model.architectures import DROPOUT_SETTINGS, TINY
from asrscale.model.building import build_recognizer
from asrscale.model.forward import count_frames, ctc_losses, forward_logits
from asrscale.model.freezing import freeze_feature_encoder
from asrscale.model.regularisation import attach_regulariser, prepare_pass

PROBABILITY = 0.1
ROUNDS = 12

# Settings of a model, whether its stem is frozen, and the seconds of each utterance of a pass.
PASSES = {
    "tiny": (TINY, False, [3.0] * 13),
    "wav2vec2-base, 2 layers": ({"num_hidden_layers": 2}, True, [8.0] * 2),
}


def passes(settings: dict[str, object], frozen: bool, lengths: list[float], folder: str) -> dict[str, list[float]]:
    """Seconds of each round of a pass, by the way to drop."""
    probabilities = {"none": 0.0, "torch's generator": PROBABILITY, "hashes": PROBABILITY}
    steps = {}
    for name, probability in probabilities.items():
        path = Path(folder, name)
        torch.manual_seed(0)
        config = Wav2Vec2Config(**settings | dict.fromkeys(DROPOUT_SETTINGS, probability))  # type: ignore[arg-type]
        Wav2Vec2ForCTC(config).wav2vec2.save_pretrained(path)
        recognizer = build_recognizer(str(path), "")
        recognizer.model.train()
        if frozen:
            freeze_feature_encoder(recognizer.model)
        regulariser = None
        if name == "hashes":
            regulariser = attach_regulariser(recognizer.model, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0)
        steps[name] = (recognizer, regulariser)

    num_samples = torch.tensor([int(seconds * 16_000) for seconds in lengths])
    waveforms = torch.randint(-3000, 3000, (len(lengths), int(num_samples.max())), dtype=torch.int16)
    labels = torch.randint(5, 30, (len(lengths), int(max(lengths) * 12)))
    num_labels = torch.full((len(lengths),), labels.shape[1])
    batch = Batch(np.arange(len(lengths)), waveforms, num_samples, labels, num_labels)

    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS + 1):
        for name, (recognizer, regulariser) in steps.items():
            started = time.process_time()
            if regulariser is not None:
                prepare_pass(regulariser, recognizer.model, batch, seed=1, step=number)
            logits = forward_logits(recognizer.model, recognizer, batch.waveforms, batch.num_samples)
            num_frames = count_frames(recognizer.model, batch.num_samples)
            ctc_losses(logits, num_frames, batch.labels, batch.num_labels, 0).mean().backward()
            recognizer.model.zero_grad()
            seconds[name].append(time.process_time() - started)
    return {name: taken[1:] for name, taken in seconds.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for model, (settings, frozen, lengths) in PASSES.items():
        with TemporaryDirectory() as folder:
            taken = passes(settings, frozen, lengths, folder)
        least = min(taken["none"])
        for name, values in taken.items():
            print(f"{model}: {name:18} {min(values):7.3f} s of the processor, {min(values) / least:.3f}")
