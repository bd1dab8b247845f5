"""Waveforms to logits, loss and text.

Shapes: B utterances of a pass, T samples, F frames, L labels, V vocabulary.
"""

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2ForCTC

from asrscale.model.padding import standardise
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import PCM_SCALE


def count_frames(model: Wav2Vec2ForCTC, num_samples: Tensor) -> Tensor:
    """(B,) frames of utterances of (B,) samples, by the model's own convolutions."""
    frames: Tensor = model._get_feat_extract_output_lengths(num_samples)
    return frames.clamp(min=0)


def forward_logits(model: nn.Module, recognizer: Recognizer, waveforms: Tensor, num_samples: Tensor) -> Tensor:
    """Logits (B, F, V) of int16 waveforms (B, T), zero after each utterance's end, and their (B,) true lengths.

    Those of an utterance's own frames do not depend on its padding. `model` is `recognizer`'s, or the engine around it.
    """
    x = waveforms.float() / PCM_SCALE
    mask = (torch.arange(x.shape[1], device=x.device) < num_samples[:, None]).long()
    if recognizer.processor.feature_extractor.do_normalize:  # as Wav2Vec2FeatureExtractor does, epsilon included
        x = standardise(x, num_samples[:, None], 1e-7) * mask
    recognizer.model.wav2vec2.feature_extractor.num_samples = num_samples
    logits: Tensor = model(x.to(recognizer.model.dtype), attention_mask=mask).logits
    return logits


def ctc_losses(logits: Tensor, num_frames: Tensor, labels: Tensor, num_labels: Tensor, blank: int) -> Tensor:
    """(B,) CTC loss of each utterance divided by its label length, in fp32.

    Of logits (B, F, V) in any precision with (B,) true frames, and labels (B, L) with (B,) true lengths of at least 1;
    beyond them may stand anything.
    """
    log_probs = torch.log_softmax(logits.float(), dim=-1).transpose(0, 1)
    with torch.backends.cudnn.flags(enabled=False):  # cuDNN's CTC has returned wrong gradients (pytorch#21680)
        losses = nn.functional.ctc_loss(log_probs, labels, num_frames, num_labels, blank=blank, reduction="none")
    return losses / num_labels


def greedy_texts(recognizer: Recognizer, logits: Tensor, num_frames: Tensor) -> list[str]:
    """The best path of each utterance as text: argmax on the device, cut to its true length, collapsed."""
    paths, lengths = logits.argmax(-1).cpu(), num_frames.tolist()
    tokenizer = recognizer.processor.tokenizer
    return [tokenizer.decode(path[:frames].tolist()) for path, frames in zip(paths, lengths, strict=True)]
