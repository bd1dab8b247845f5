"""The processor and vocabulary of a checkpoint, or new ones.

A processor is transformers' pair of a feature extractor, which prepares waveforms, and a tokenizer, which turns token
ids into text.
"""

import json
import tempfile
from pathlib import Path

from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor
from transformers.utils import cached_file

from asrscale.common.errors import CliError
from asrscale.model.quiet import quiet_huggingface
from asrscale.model.reasons import short_reason
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.speech.vocabulary import Vocabulary, vocabulary_from_dict


@quiet_huggingface()
def checkpoint_processor(name: str, config: Wav2Vec2Config) -> tuple[Wav2Vec2Processor, Vocabulary] | None:
    """Returns the processor and vocabulary that came with a checkpoint, or None where it has no vocabulary.

    Args:
        name: A Hugging Face id, or a model folder.
        config: The checkpoint's own.

    Raises:
        CliError: The vocabulary cannot be loaded or does not fit the head, or the model is for another sample rate.
    """
    tokenizer = _load_tokenizer(name)
    if tokenizer is None:
        return None
    vocabulary = vocabulary_from_dict(
        tokenizer.get_vocab(),
        blank=tokenizer.pad_token,
        unknown=tokenizer.unk_token,
        word_delimiter=tokenizer.word_delimiter_token,
    )
    _check_fits_head(name, vocabulary, config)
    extractor = _load_feature_extractor(name, config)
    return Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer), vocabulary


def _load_tokenizer(name: str) -> Wav2Vec2CTCTokenizer | None:
    """Returns a checkpoint's tokenizer, or None where it has no vocab.json."""
    try:
        # A vocab.json that exists but cannot be downloaded must not count as missing: that would reset the head. So
        # this raises in that case, and returns None only where the file does not exist.
        if cached_file(name, "vocab.json", _raise_exceptions_for_missing_entries=False) is None:
            return None
        return Wav2Vec2CTCTokenizer.from_pretrained(name)
    except (OSError, TypeError, ValueError) as error:
        raise CliError(f"--model {name}: its vocab.json cannot be loaded: {short_reason(error)}") from error


def _check_fits_head(name: str, vocabulary: Vocabulary, config: Wav2Vec2Config) -> None:
    """Raises CliError unless a checkpoint's head has the size and the blank of its vocabulary."""
    size = len(vocabulary.tokens)
    blank = vocabulary.blank_id
    if size != config.vocab_size or blank != config.pad_token_id:
        raise CliError(
            f"--model {name}: its vocabulary has {size} tokens with blank {blank}, its head {config.vocab_size} tokens "
            f"with blank {config.pad_token_id}; they do not belong together"
        )


def _load_feature_extractor(name: str, config: Wav2Vec2Config) -> Wav2Vec2FeatureExtractor:
    """Returns a checkpoint's feature extractor, or a new one where it has none; raises CliError unless at 16 kHz."""
    try:
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(name)
    except OSError:
        extractor = _new_feature_extractor(config)
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise CliError(
            f"--model {name} is for audio at {extractor.sampling_rate} Hz, the shards hold {SAMPLE_RATE_HZ} Hz"
        )
    return extractor


def new_processor(vocabulary: Vocabulary, config: Wav2Vec2Config) -> Wav2Vec2Processor:
    """Returns a stock processor for a vocabulary that was built here, and a model of this `config`."""
    return Wav2Vec2Processor(feature_extractor=_new_feature_extractor(config), tokenizer=_new_tokenizer(vocabulary))


def _new_tokenizer(vocabulary: Vocabulary) -> Wav2Vec2CTCTokenizer:
    """Returns a tokenizer without <s> and </s>, for which the head has no rows."""
    ids = {token: number for number, token in enumerate(vocabulary.tokens)}
    with tempfile.TemporaryDirectory() as folder:  # the tokenizer only reads from files
        vocab_file = Path(folder, "vocab.json")
        vocab_file.write_text(json.dumps(ids))
        return Wav2Vec2CTCTokenizer(
            vocab_file,
            bos_token=None,
            eos_token=None,
            unk_token=vocabulary.unknown,
            pad_token=vocabulary.blank,
            word_delimiter_token=vocabulary.word_delimiter,
        )


def _new_feature_extractor(config: Wav2Vec2Config) -> Wav2Vec2FeatureExtractor:
    """Returns a feature extractor that normalises each waveform."""
    return Wav2Vec2FeatureExtractor(
        sampling_rate=SAMPLE_RATE_HZ,
        do_normalize=True,
        # What transformers advises: models with a group norm were trained without a mask.
        return_attention_mask=config.feat_extract_norm == "layer",
    )
