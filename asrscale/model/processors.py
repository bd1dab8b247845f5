"""The processor and vocabulary of a checkpoint, or new ones.

A processor is transformers' pair of a feature extractor, which prepares waveforms, and a tokenizer, which turns token
ids into text. That of Wav2Vec2-BERT makes log-mel features, those of all other families normalise waveforms.
"""

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from transformers import (
    PreTrainedConfig,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2PhonemeCTCTokenizer,
    Wav2Vec2Processor,
)

from asrscale.common.checkpoint_files import split_revision
from asrscale.common.errors import CliError
from asrscale.common.output_folder import disk_errors_as_cli_errors
from asrscale.model.checkpoints import Checkpoint
from asrscale.model.families import head_of
from asrscale.model.language_adapters import Languages
from asrscale.model.quiet import quiet_huggingface
from asrscale.model.reasons import one_line_errors
from asrscale.model.weights import LoadedModel
from asrscale.speech.frames import LOG_MEL_BINS, stacked_windows
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.speech.vocabulary import Vocabulary
from asrscale.speech.vocabulary_files import checkpoint_vocabulary

FeatureExtractor: TypeAlias = Wav2Vec2FeatureExtractor | SeamlessM4TFeatureExtractor
Processor: TypeAlias = Wav2Vec2Processor | Wav2Vec2BertProcessor


def read_own_vocabulary(checkpoint: Checkpoint, code: str | None) -> Vocabulary | None:
    """Returns the vocabulary that came with a checkpoint, or None where it has none.

    Args:
        checkpoint: The checkpoint.
        code: One of its languages, where it names some.

    Raises:
        CliError: The vocabulary cannot be loaded or is not usable.
    """
    place = checkpoint.source.vocabulary
    try:
        with one_line_errors("its vocab.json", place):
            return checkpoint_vocabulary(place, code or "")
    except CliError as error:
        raise CliError(f"--model {checkpoint.name}: {error}") from error


@quiet_huggingface()
def load_processor(checkpoint: Checkpoint, vocabulary: Vocabulary, languages: Languages | None = None) -> Processor:
    """Returns a processor with a checkpoint's own feature extractor, or a new one where it has none.

    The tokenizer is a new one with the same ids: what settings such as `clean_up_tokenization_spaces` would change in a
    text is not passed on to the exported model.

    Args:
        checkpoint: The checkpoint.
        vocabulary: Of the tokenizer.
        languages: As for `new_tokenizer`.

    Raises:
        CliError: The model is for another sample rate.
    """
    extractor = _load_feature_extractor(checkpoint)
    return _join(extractor, vocabulary, languages)


def check_fits_head(checkpoint: Checkpoint, vocabulary: Vocabulary, loaded: LoadedModel) -> None:
    """Raises CliError unless a model's head, as it was loaded, has the size and the blank of its vocabulary."""
    size = len(vocabulary.tokens)
    blank = vocabulary.blank_id
    # That of a language is read from a file of its own.
    rows = head_of(loaded.model).out_features if checkpoint.languages else loaded.head_rows
    head_blank = loaded.model.config.pad_token_id
    if size != rows or blank != head_blank:
        raise CliError(
            f"--model {checkpoint.name}: its vocabulary has {size} tokens with blank {blank}, its head {rows} tokens "
            f"with blank {head_blank}; they do not belong together"
        )
    if rows != loaded.model.config.vocab_size:
        raise CliError(
            f"--model {checkpoint.name}: its config.json has a vocab_size of {loaded.model.config.vocab_size}, its "
            f"head {rows} tokens: correct it"
        )


def _load_feature_extractor(checkpoint: Checkpoint) -> FeatureExtractor:
    """Returns a checkpoint's feature extractor, or a new one where it has none.

    Raises:
        CliError: It is not for audio at 16 kHz, or for other log-mel features than its model.
    """
    extractor = _new_feature_extractor(checkpoint.config)
    kind = type(extractor)
    for place in (checkpoint.source.vocabulary, checkpoint.source.settings):  # the last one that has one counts
        id, revision = split_revision(place)
        with one_line_errors(f"--model {checkpoint.name}: its preprocessor_config.json", place), suppress(OSError):
            extractor = kind.from_pretrained(id, revision=revision)
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise CliError(
            f"--model {checkpoint.name} is for audio at {extractor.sampling_rate} Hz, the shards hold "
            f"{SAMPLE_RATE_HZ} Hz"
        )
    if isinstance(extractor, SeamlessM4TFeatureExtractor):
        _check_fits_projection(checkpoint.name, extractor, checkpoint.config)
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


def _join(extractor: FeatureExtractor, vocabulary: Vocabulary, languages: Languages | None = None) -> Processor:
    """Returns the stock processor of a feature extractor and a new tokenizer."""
    kind = Wav2Vec2BertProcessor if isinstance(extractor, SeamlessM4TFeatureExtractor) else Wav2Vec2Processor
    return kind(feature_extractor=extractor, tokenizer=_new_tokenizer(vocabulary, languages))


def with_vocabulary(processor: Processor, vocabulary: Vocabulary, languages: Languages | None) -> Processor:
    """Returns a processor with the same feature extractor and another vocabulary; that of one of `languages`."""
    return _join(processor.feature_extractor, vocabulary, languages)


def _new_tokenizer(
    vocabulary: Vocabulary, languages: Languages | None = None
) -> Wav2Vec2CTCTokenizer | Wav2Vec2PhonemeCTCTokenizer:
    """Returns a tokenizer that adds no tokens, for which the head would have no rows.

    With `languages`, its vocab.json has a part for each, and it is set to theirs.
    """
    ids: dict[str, Any] = {token: number for number, token in enumerate(vocabulary.tokens)}
    if languages:
        ids = {**languages.others, languages.code: ids}
    beginning, end = (*vocabulary.special, None, None)[:2]
    special: dict[str, str | None] = {
        "bos_token": beginning,
        "eos_token": end,
        # A token that there has to be, and may be none of the head's: transformers has no vocabulary without it.
        "unk_token": vocabulary.unknown or vocabulary.blank,
        "pad_token": vocabulary.blank,
    }
    with (
        disk_errors_as_cli_errors("TMPDIR", os.environ.get("TMPDIR", "/tmp")),
        tempfile.TemporaryDirectory() as folder,  # the tokenizers only read from files
    ):
        vocab_file = Path(folder, "vocab.json")
        vocab_file.write_text(json.dumps(ids))
        if vocabulary.spaced:
            return Wav2Vec2PhonemeCTCTokenizer(vocab_file, do_phonemize=False, **special)
        return Wav2Vec2CTCTokenizer(
            vocab_file,
            word_delimiter_token=vocabulary.word_delimiter or vocabulary.blank,
            do_lower_case=vocabulary.lower_cased,
            target_lang=languages.code if languages else None,
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
