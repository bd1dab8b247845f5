"""Checkpoint folders of random weights in the forms that people have, written by stock transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (
    AutoProcessor,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

from asrscale.speech.ctc_text import UNKNOWN_MARK

SIZES = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=[32] * 7,
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, feat_extract_norm="group", mask_time_prob=0.0,
)  # fmt: skip
LIKE_MMS = dict(adapter_attn_dim=8, do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True)
LETTERS = [*"'abcdefghijklmnopqrstuvwxyz", "|", "[UNK]", "[PAD]"]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "|"]
LANGUAGES = {
    "eng": [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz'"],
    "kmr-script_latin": [*SPECIAL, *"abcçdeêfghiîjklmnopqrsştuûvwxyz"],
    "tur": [*SPECIAL, *"abcçdefgğhıijklmnoöprsştuüvyz"],  # noqa: RUF001
}


def extractor() -> Wav2Vec2FeatureExtractor:
    """Returns a feature extractor as the checkpoints of the hub have it."""
    return Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True, return_attention_mask=True)


def speaking_model(vocab_size: int, seed: int = 1, **settings: Any) -> Wav2Vec2ForCTC:
    """Returns a model of random weights whose head is large enough that noise has a text."""
    torch.manual_seed(seed)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**SIZES | settings, vocab_size=vocab_size)).eval()
    torch.nn.init.normal_(model.lm_head.weight, std=1.0)
    return model


def write_letters(folder: Path, **settings: Any) -> Wav2Vec2ForCTC:
    """Writes a model for `LETTERS` with its processor; returns it."""
    model = speaking_model(len(LETTERS), pad_token_id=LETTERS.index("[PAD]"), **settings)
    model.save_pretrained(folder)
    write_letters_processor(folder)
    return model


def write_letters_processor(folder: Path) -> Wav2Vec2Processor:
    """Writes vocab.json, tokenizer_config.json and the feature extractor of `LETTERS`."""
    folder.mkdir(exist_ok=True, parents=True)
    vocab = folder / "vocab.json"
    vocab.write_text(json.dumps({token: id for id, token in enumerate(LETTERS)}))
    tokenizer = Wav2Vec2CTCTokenizer(
        vocab, unk_token="[UNK]", pad_token="[PAD]", word_delimiter_token="|", bos_token=None, eos_token=None
    )
    processor = Wav2Vec2Processor(feature_extractor=extractor(), tokenizer=tokenizer)
    processor.save_pretrained(folder)
    return processor


def write_mms(folder: Path, languages: dict[str, list[str]] = LANGUAGES, set_to: str = "eng") -> None:
    """Writes a folder as facebook/mms-1b-all is: a model, a vocabulary for each language, and a file of its adapter."""
    model = speaking_model(len(languages[set_to]), pad_token_id=0, **LIKE_MMS)
    model.save_pretrained(folder)
    ids = {code: {token: id for id, token in enumerate(tokens)} for code, tokens in languages.items()}
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False))
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json", target_lang=set_to)
    Wav2Vec2Processor(feature_extractor=extractor(), tokenizer=tokenizer).save_pretrained(folder)
    generator = torch.Generator().manual_seed(2)
    for code, tokens in languages.items():
        weights = {}
        for name, weight in model._get_adapters().items():
            shape = (len(tokens), *weight.shape[1:]) if name.startswith("lm_head") else weight.shape
            weights[name] = torch.randn(shape, generator=generator)
        save_file(weights, folder / f"adapter.{code}.safetensors")


def sound(seconds: float = 1.5) -> np.ndarray:
    """Returns (T,) int16 noise at 16 kHz."""
    return np.random.default_rng(4).integers(-9000, 9000, int(seconds * 16_000), dtype=np.int16)


def stock_logits(model: Wav2Vec2ForCTC, pcm: np.ndarray) -> torch.Tensor:
    """Returns the logits (F, V) that transformers computes for int16 samples."""
    inputs = extractor()(pcm / 32768.0, sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(inputs.to(model.dtype)).logits[0]
    return logits


def stock_text(folder: Path, pcm: np.ndarray, language: str | None = None) -> str:
    """Returns the text that stock transformers gives a recording, with the adapter of a language if one is named."""
    processor = AutoProcessor.from_pretrained(folder)
    model = Wav2Vec2ForCTC.from_pretrained(folder)
    if language:
        processor.tokenizer.set_target_lang(language)
        model.load_adapter(language)
    text: str = processor.tokenizer.decode(stock_logits(model, pcm).argmax(-1))
    for special in ("<s>", "</s>", "<unk>", "[UNK]"):
        text = text.replace(special, UNKNOWN_MARK)  # our sign for what is no text
    return text
