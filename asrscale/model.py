"""The recogniser: a stock `Wav2Vec2ForCTC`, its processor, its vocabulary, and the arithmetic around it.

Shapes: B utterances of a pass, T samples, F frames, L labels, V vocabulary.
"""

import json
import logging
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2FeatureEncoder
from transformers.utils import cached_file, is_flash_attn_2_available

from asrscale.audio import PCM_SCALE, SAMPLE_RATE_HZ
from asrscale.errors import CliError
from asrscale.text import Vocabulary, build_vocabulary, read_vocabulary, vocabulary_from_dict

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
logging.getLogger("huggingface_hub").setLevel(logging.ERROR)

_DROPOUTS = ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout")

# Small architectures that start from random weights, by name. `tiny` learns a small-vocabulary corpus on a
# laptop's CPU in minutes: its stem of two wide convolutions (30 ms frames) is what makes it fast, and layer
# normalisation makes its output independent of padding.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "tiny": dict(
        hidden_size=96, num_hidden_layers=2, num_attention_heads=4, intermediate_size=384,
        conv_dim=[128, 96], conv_kernel=[400, 3], conv_stride=[160, 3], num_feat_extract_layers=2,
        feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True,
        num_conv_pos_embeddings=31, num_conv_pos_embedding_groups=8,
        **dict.fromkeys(_DROPOUTS, 0.0),
    ),
}  # fmt: skip

# Padded audio that the convolutional stem takes at once where it needs no gradient: enough to keep a GPU busy, and an
# eighth or less of a pass. docs/experiments.md has what it saves and costs.
SLICE_SAMPLES = 10 * SAMPLE_RATE_HZ


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A model with all that is needed to feed it and to read it."""

    model: Wav2Vec2ForCTC
    processor: transformers.Wav2Vec2Processor
    vocabulary: Vocabulary

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes a stock Hugging Face model folder with safetensors weights."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)


class MaskedGroupNorm(nn.GroupNorm):
    """The first norm of group-norm checkpoints (base, large-960h), with statistics over real frames only.

    Stock group norm averages over the padding too: an utterance's text depends on its batch. The state dict is stock.
    """

    num_frames: Tensor | None = None  # (B,) of the pass that is being computed

    def forward(self, x: Tensor) -> Tensor:
        """Normalises each channel of (B, C, F) over its real frames, in fp32."""
        if self.num_frames is None:
            return super().forward(x)
        normalised = standardise(x.float(), self.num_frames[:, None, None], self.eps)
        return (normalised * self.weight[:, None] + self.bias[:, None]).to(x.dtype)


class SlicedFeatureEncoder(Wav2Vec2FeatureEncoder):  # type: ignore[misc]
    """The convolutional stem; frozen, it takes a few utterances at a time, which changes nothing: no norm sees two.

    Its first layer, 512 channels at 3,200 Hz, was the memory peak of a step with activation checkpointing.
    """

    num_samples: Tensor | None = None  # (B,) of the pass that is being computed; None: no utterance is padded

    def forward(self, input_values: Tensor) -> Tensor:
        """Features (B, C, F) of waveforms (B, T)."""
        if self._requires_grad:
            return self._features(input_values, slice(None))
        size = max(1, SLICE_SAMPLES // input_values.shape[1])
        slices = [slice(start, start + size) for start in range(0, len(input_values), size)]
        with torch.no_grad():
            return torch.cat([self._features(input_values, rows) for rows in slices])

    def _features(self, input_values: Tensor, rows: slice) -> Tensor:
        first = self.conv_layers[0]
        if isinstance(first.layer_norm, MaskedGroupNorm) and self.num_samples is not None:
            (kernel,), (stride,) = first.conv.kernel_size, first.conv.stride
            first.layer_norm.num_frames = ((self.num_samples[rows] - kernel) // stride + 1).clamp(min=1)
        features: Tensor = super().forward(input_values[rows])
        return features


def ignore_padding(model: Wav2Vec2ForCTC) -> Wav2Vec2ForCTC:
    """Makes the group norm, if there is one, ours, and the stem around it; other norms see one frame at a time."""
    encoder = model.wav2vec2.feature_extractor
    encoder.__class__ = SlicedFeatureEncoder
    if model.config.feat_extract_norm == "group":
        norm = encoder.conv_layers[0].layer_norm
        assert norm.num_groups == norm.num_channels, "transformers normalises each channel by itself"
        norm.__class__ = MaskedGroupNorm
    return model


def build_recognizer(
    name: str, characters: Iterable[str], *, seed: int = 0, vocab: str | None = None, attention: str = "auto",
    mask_time_prob: float = 0.0, mask_feature_prob: float = 0.0, dropout: float | None = None,
) -> Recognizer:  # fmt: skip
    """Makes the model that a run trains.

    Args:
        name: A name of `ARCHITECTURES`, a Hugging Face id, or a model folder.
        characters: The characters of the training transcripts, for a model without a vocabulary of its own.
        seed: Seeds whatever weights are drawn at random; the global generator is seeded with it.
        vocab: `shards` builds a vocabulary from `characters`, else the path of a vocab.json; a trained head keeps its
            rows of the characters that both know. None is the checkpoint's own.
        attention: The implementation in transformers; `auto` is its own choice.
        mask_time_prob: SpecAugment over time is wanted, so the model needs its mask vector; `regularise` applies it.
        mask_feature_prob: SpecAugment over features is wanted.
        dropout: Sets every dropout of the model; None keeps what the checkpoint has.

    Raises:
        CliError: The model cannot be found, or its vocabulary is not usable.
    """
    settings = _settings(attention, mask_time_prob, mask_feature_prob, dropout)
    wanted = None if vocab is None else build_vocabulary(characters) if vocab == "shards" else read_vocabulary(vocab)
    torch.manual_seed(seed)
    if name in ARCHITECTURES:
        vocabulary = wanted or build_vocabulary(characters)
        config = Wav2Vec2Config(**ARCHITECTURES[name] | settings | _vocabulary_config(vocabulary))
        return Recognizer(ignore_padding(Wav2Vec2ForCTC(config)), _new_processor(vocabulary, config), vocabulary)
    settings["dtype"] = torch.float32  # a checkpoint's own may be bf16, which is not to be trained in
    config = _load(Wav2Vec2Config, name)
    own = _own_processor(name, config)
    if own is not None:
        recognizer = Recognizer(ignore_padding(_load(Wav2Vec2ForCTC, name, **settings)), *own)
        return move_head(recognizer, wanted) if wanted else recognizer
    vocabulary = wanted or build_vocabulary(characters)
    settings |= _vocabulary_config(vocabulary)
    model = _load(Wav2Vec2ForCTC, name, **settings, ignore_mismatched_sizes=True)
    # Rows of a head that was trained on other letters must not be taken for ours because their number fits.
    model.lm_head.reset_parameters()
    return Recognizer(ignore_padding(model), _new_processor(vocabulary, config), vocabulary)


def move_head(recognizer: Recognizer, vocabulary: Vocabulary) -> Recognizer:
    """The same recogniser for another vocabulary: rows of tokens that both have keep their weights, others are drawn.

    Never by size: other letters of the same number would fit without a word.
    """
    model, old = recognizer.model, recognizer.model.lm_head
    head = nn.Linear(old.in_features, len(vocabulary.tokens))
    twins = vocabulary.twins(recognizer.vocabulary)
    with torch.no_grad():
        head.weight[list(twins)] = old.weight[list(twins.values())]
        head.bias[list(twins)] = old.bias[list(twins.values())]
    model.lm_head = head
    model.config.update(_vocabulary_config(vocabulary))
    processor = _new_processor(vocabulary, model.config)
    processor.feature_extractor = recognizer.processor.feature_extractor
    return Recognizer(model, processor, vocabulary)


def sketch_recognizer(
    name: str, *, dtype: torch.dtype, attention: str = "auto", dropout: float | None = None
) -> Recognizer:
    """What `build_recognizer` makes, in training mode but without any weights: on torch's meta device.

    `name` may also be a config.json file. The vocabulary is a stand-in.
    """
    vocabulary, settings = build_vocabulary(""), _settings(attention, 0.05, 0.0, dropout)
    given = ARCHITECTURES.get(name)
    config = Wav2Vec2Config(**given | _vocabulary_config(vocabulary)) if given else _load(Wav2Vec2Config, name)
    config._attn_implementation = settings.pop("attn_implementation")
    config.update(settings)
    with torch.device("meta"):
        model = ignore_padding(Wav2Vec2ForCTC(config))
    # transformers makes the mask vector of a raw tensor, on the CPU all the same.
    return Recognizer(model.to(device="meta", dtype=dtype).train(), _new_processor(vocabulary, config), vocabulary)


def load_recognizer(folder: str) -> Recognizer:
    """Loads a fine-tuned model, a folder or a Hugging Face id, with the vocabulary it was trained with.

    Raises:
        CliError: It cannot be found, or has no vocabulary.
    """
    if (own := _own_processor(folder, _load(Wav2Vec2Config, folder))) is None:
        raise CliError(f"{folder} has no vocabulary (vocab.json), so it cannot transcribe: fine-tune it first")
    model = ignore_padding(_load(Wav2Vec2ForCTC, folder)).eval()
    freeze_feature_encoder(model)  # for the memory of a sliced stem
    return Recognizer(model, *own)


def freeze_feature_encoder(model: Wav2Vec2ForCTC) -> None:
    """Keeps the convolutional stem as it is: without gradients, in slices."""
    model.freeze_feature_encoder()
    # Ranks cut their passes into different numbers of slices: ZeRO-3 must gather the stem's weights once, not for each.
    model.wav2vec2.feature_extractor._z3_leaf = True  # what deepspeed.utils.set_z3_leaf_module sets


def checkpoint_activations(model: Wav2Vec2ForCTC, every: int = 1) -> None:
    """Recomputes every so many-th layer in the backward pass instead of storing its activations; 0 none."""
    if every:
        model.activation_checkpointing_enable({"use_reentrant": False}, every_n_layers=every)


def count_frames(model: Wav2Vec2ForCTC, num_samples: Tensor) -> Tensor:
    """(B,) frames of utterances of (B,) samples, by the model's own convolutions."""
    frames: Tensor = model._get_feat_extract_output_lengths(num_samples)
    return frames.clamp(min=0)


def standardise(x: Tensor, count: Tensor, epsilon: float) -> Tensor:
    """(…, T) shifted and scaled to zero mean and unit variance over the first `count` (…, 1) of its T values."""
    real = torch.arange(x.shape[-1], device=x.device) < count
    mean = (x * real).sum(-1, keepdim=True) / count
    variance = ((x - mean).square() * real).sum(-1, keepdim=True) / count
    return (x - mean) * torch.rsqrt(variance + epsilon)


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


def _load(kind: type[Any], name: str, **settings: Any) -> Any:
    """`kind.from_pretrained(name)`, with one line for a person when that fails."""
    if not Path(name).exists() and (name.count("/") != 1 or name[0] in "./~"):
        known = f"an id such as facebook/wav2vec2-base-960h nor one of the architectures {', '.join(ARCHITECTURES)}"
        raise CliError(f"--model {name}: no such folder, and neither {known}")
    try:
        loaded = kind.from_pretrained(name, **settings)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CliError(f"--model {name} cannot be loaded: {reason}") from error
    if loaded is not None and getattr(loaded, "model_type", "wav2vec2") != "wav2vec2":
        raise CliError(f"--model {name} is a {loaded.model_type} model, not wav2vec2")
    return loaded


def _own_processor(name: str, config: Wav2Vec2Config) -> tuple[transformers.Wav2Vec2Processor, Vocabulary] | None:
    """The processor and vocabulary that came with a checkpoint, or None when it has no vocabulary."""
    try:
        # A vocabulary that is there but cannot be had must not be taken for none: that would reset the head.
        if cached_file(name, "vocab.json", _raise_exceptions_for_missing_entries=False) is None:
            return None
        tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(name)
    except (OSError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CliError(f"--model {name}: its vocab.json cannot be loaded: {reason}") from error
    special = tokenizer.pad_token, tokenizer.unk_token, tokenizer.word_delimiter_token
    vocabulary = vocabulary_from_dict(tokenizer.get_vocab(), *special)
    ours, heads = (len(vocabulary.tokens), vocabulary.blank_id), (config.vocab_size, config.pad_token_id)
    if ours != heads:
        own, head = (f"{size} tokens with blank {blank}" for size, blank in (ours, heads))
        raise CliError(f"--model {name}: its vocabulary has {own}, its head {head}; they do not belong together")
    try:
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(name)
    except OSError:
        extractor = _new_processor(vocabulary, config).feature_extractor
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise CliError(f"--model {name} hears {extractor.sampling_rate} Hz, the shards hold {SAMPLE_RATE_HZ} Hz")
    return transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer), vocabulary


def _settings(attention: str, mask_time_prob: float, mask_feature_prob: float, dropout: float | None) -> dict[str, Any]:
    """What a model's configuration gets; CliError where FlashAttention is asked for and not there."""
    if attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise CliError("--attention flash_attention_2 needs a GPU and the flash-attn package: choose auto or sdpa")
    return {
        # transformers' own draws differ between ranks, which corrupts ZeRO's gradients without an error (LayerDrop),
        # and depend on the batch (SpecAugment): `regularise` does both.
        "layerdrop": 0.0,
        "apply_spec_augment": False,
        "mask_time_prob": mask_time_prob,
        "mask_feature_prob": mask_feature_prob,
        "ctc_loss_reduction": "mean",
        "attn_implementation": None if attention == "auto" else attention,
    } | ({} if dropout is None else dict.fromkeys(_DROPOUTS, dropout))


def _vocabulary_config(vocabulary: Vocabulary) -> dict[str, Any]:
    special = {"pad_token_id": vocabulary.blank_id, "bos_token_id": None, "eos_token_id": None}
    return {"vocab_size": len(vocabulary.tokens)} | special


def _new_processor(vocabulary: Vocabulary, config: Wav2Vec2Config) -> transformers.Wav2Vec2Processor:
    """A stock processor for a vocabulary built here, without <s> and </s>, for which the head has no rows."""
    with tempfile.TemporaryDirectory() as folder:  # the tokenizer only reads from files
        vocab_file = Path(folder, "vocab.json")
        vocab_file.write_text(json.dumps({token: number for number, token in enumerate(vocabulary.tokens)}))
        special = {"bos_token": None, "eos_token": None, "unk_token": vocabulary.unknown, "pad_token": vocabulary.blank}
        tokenizer = Wav2Vec2CTCTokenizer(vocab_file, **special, word_delimiter_token=vocabulary.word_delimiter)
    masks = config.feat_extract_norm == "layer"  # what transformers advises
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE_HZ, do_normalize=True, return_attention_mask=masks)
    return transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)


def describe(recognizer: Recognizer) -> dict[str, Any]:
    """What is worth recording about a model: revision, attention, sizes, vocabulary."""
    model = recognizer.model
    return {
        "name_or_path": model.config._name_or_path or None,
        "revision": getattr(model.config, "_commit_hash", None),
        "attention": model.config._attn_implementation,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "vocabulary": list(recognizer.vocabulary.tokens),
    }
