"""The processor and vocabulary of a checkpoint, or new ones.

A processor is transformers' pair of a feature extractor, which prepares waveforms, and a tokenizer, which turns token
ids into text. That of Wav2Vec2-BERT makes log-mel features, those of all other families normalise waveforms.
"""

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from transformers import (
    PreTrainedConfig,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2PhonemeCTCTokenizer,
    Wav2Vec2Processor,
)

from asrscale.common.errors import CliError
from asrscale.model.quiet import quiet_huggingface
from asrscale.model.reasons import short_reason
from asrscale.speech.frames import LOG_MEL_BINS, stacked_windows
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.speech.vocabulary import Vocabulary
from asrscale.speech.vocabulary_files import checkpoint_vocabulary

FeatureExtractor: TypeAlias = Wav2Vec2FeatureExtractor | SeamlessM4TFeatureExtractor
Processor: TypeAlias = Wav2Vec2Processor | Wav2Vec2BertProcessor


@quiet_huggingface()
def checkpoint_processor(name: str, config: PreTrainedConfig) -> tuple[Processor, Vocabulary] | None:
    """Returns the vocabulary that came with a checkpoint, and a processor for it; None where it has no vocabulary.

    The tokenizer is a new one with the same ids: what settings such as `clean_up_tokenization_spaces` would change in a
    text is not passed on to the exported model.

    Args:
        name: A Hugging Face id, or a model folder.
        config: The checkpoint's own.

    Raises:
        CliError: The vocabulary cannot be loaded or does not fit the head, or the model is for another sample rate.
    """
    try:
        vocabulary = checkpoint_vocabulary(name)
    except (OSError, TypeError, ValueError) as error:
        raise CliError(f"--model {name}: its vocab.json cannot be loaded: {short_reason(error)}") from error
    except CliError as error:
        raise CliError(f"--model {name}: {error}") from error
    if vocabulary is None:
        return None
    _check_fits_head(name, vocabulary, config)
    extractor = _load_feature_extractor(name, config)
    return _join(extractor, vocabulary), vocabulary


def _check_fits_head(name: str, vocabulary: Vocabulary, config: PreTrainedConfig) -> None:
    """Raises CliError unless a checkpoint's head has the size and the blank of its vocabulary."""
    size = len(vocabulary.tokens)
    blank = vocabulary.blank_id
    if size != config.vocab_size or blank != config.pad_token_id:
        raise CliError(
            f"--model {name}: its vocabulary has {size} tokens with blank {blank}, its head {config.vocab_size} tokens "
            f"with blank {config.pad_token_id}; they do not belong together"
        )


def _load_feature_extractor(name: str, config: PreTrainedConfig) -> FeatureExtractor:
    """Returns a checkpoint's feature extractor, or a new one where it has none.

    Raises:
        CliError: It is not for audio at 16 kHz, or for other log-mel features than its model.
    """
    extractor = _new_feature_extractor(config)
    with suppress(OSError):
        extractor = type(extractor).from_pretrained(name)
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise CliError(
            f"--model {name} is for audio at {extractor.sampling_rate} Hz, the shards hold {SAMPLE_RATE_HZ} Hz"
        )
    if isinstance(extractor, SeamlessM4TFeatureExtractor):
        _check_fits_projection(name, extractor, config)
    return extractor


def _check_fits_projection(name: str, extractor: SeamlessM4TFeatureExtractor, config: PreTrainedConfig) -> None:
    """Raises CliError unless a feature extractor makes as many log-mel features as its model takes."""
    stacked = stacked_windows(config.to_dict())
    if (extractor.num_mel_bins, extractor.stride) != (LOG_MEL_BINS, stacked):
        raise CliError(
            f"--model {name}: a frame of its feature extractor has {extractor.stride} windows of "
            f"{extractor.num_mel_bins} bins, one of its model {stacked} of {LOG_MEL_BINS}: they do not belong together"
        )


def new_processor(vocabulary: Vocabulary, config: PreTrainedConfig) -> Processor:
    """Returns a stock processor for a vocabulary that was built here, and a model of this `config`."""
    return _join(_new_feature_extractor(config), vocabulary)


def _join(extractor: FeatureExtractor, vocabulary: Vocabulary) -> Processor:
    """Returns the stock processor of a feature extractor and a new tokenizer."""
    kind = Wav2Vec2BertProcessor if isinstance(extractor, SeamlessM4TFeatureExtractor) else Wav2Vec2Processor
    return kind(feature_extractor=extractor, tokenizer=_new_tokenizer(vocabulary))


def _new_tokenizer(vocabulary: Vocabulary) -> Wav2Vec2CTCTokenizer | Wav2Vec2PhonemeCTCTokenizer:
    """Returns a tokenizer that adds no tokens, for which the head would have no rows."""
    ids = {token: number for number, token in enumerate(vocabulary.tokens)}
    special: dict[str, str | None] = {
        "bos_token": None,
        "eos_token": None,
        # A token that there has to be, and may be none of the head's: transformers has no vocabulary without it.
        "unk_token": vocabulary.unknown or vocabulary.blank,
        "pad_token": vocabulary.blank,
    }
    with tempfile.TemporaryDirectory() as folder:  # the tokenizers only read from files
        vocab_file = Path(folder, "vocab.json")
        vocab_file.write_text(json.dumps(ids))
        if vocabulary.spaced:
            return Wav2Vec2PhonemeCTCTokenizer(vocab_file, do_phonemize=False, **special)
        return Wav2Vec2CTCTokenizer(
            vocab_file,
            word_delimiter_token=vocabulary.word_delimiter or vocabulary.blank,
            do_lower_case=vocabulary.lower_cased,
            **special,
        )


def _new_feature_extractor(config: PreTrainedConfig) -> FeatureExtractor:
    """Returns a feature extractor that makes log-mel features, or normalises each waveform."""
    if config.model_type == "wav2vec2-bert":
        return SeamlessM4TFeatureExtractor(stride=stacked_windows(config.to_dict()))
    return Wav2Vec2FeatureExtractor(
        sampling_rate=SAMPLE_RATE_HZ,
        do_normalize=True,
        # What transformers advises: models with a group norm were trained without a mask.
        return_attention_mask=getattr(config, "feat_extract_norm", "layer") == "layer",
    )
