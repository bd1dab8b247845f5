"""Loads Hugging Face checkpoints: model, processor, vocabulary."""

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import transformers
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC
from transformers.utils import cached_file

from asrscale.common.errors import CliError
from asrscale.model.architectures import ARCHITECTURES
from asrscale.model.freezing import freeze_feature_encoder
from asrscale.model.padding import make_padding_invariant
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.speech.vocabulary import Vocabulary, vocabulary_from_dict

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def load_recognizer(folder: str) -> Recognizer:
    """Loads a fine-tuned model, a folder or a Hugging Face id, with the vocabulary it was trained with.

    Raises:
        CliError: It cannot be found, or has no vocabulary.
    """
    if (own := checkpoint_processor(folder, load_pretrained(Wav2Vec2Config, folder))) is None:
        raise CliError(f"{folder} has no vocabulary (vocab.json), so it cannot transcribe: fine-tune it first")
    model = make_padding_invariant(load_pretrained(Wav2Vec2ForCTC, folder)).eval()
    freeze_feature_encoder(model)  # for the memory of a sliced stem
    return Recognizer(model, *own)


def load_pretrained(kind: type[Any], name: str, **settings: Any) -> Any:
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


def checkpoint_processor(name: str, config: Wav2Vec2Config) -> tuple[transformers.Wav2Vec2Processor, Vocabulary] | None:
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
        extractor = new_processor(vocabulary, config).feature_extractor
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise CliError(f"--model {name} hears {extractor.sampling_rate} Hz, the shards hold {SAMPLE_RATE_HZ} Hz")
    return transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer), vocabulary


def new_processor(vocabulary: Vocabulary, config: Wav2Vec2Config) -> transformers.Wav2Vec2Processor:
    """A stock processor for a vocabulary built here, without <s> and </s>, for which the head has no rows."""
    with tempfile.TemporaryDirectory() as folder:  # the tokenizer only reads from files
        vocab_file = Path(folder, "vocab.json")
        vocab_file.write_text(json.dumps({token: number for number, token in enumerate(vocabulary.tokens)}))
        special = {"bos_token": None, "eos_token": None, "unk_token": vocabulary.unknown, "pad_token": vocabulary.blank}
        tokenizer = Wav2Vec2CTCTokenizer(vocab_file, **special, word_delimiter_token=vocabulary.word_delimiter)
    masks = config.feat_extract_norm == "layer"  # what transformers advises
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE_HZ, do_normalize=True, return_attention_mask=masks)
    return transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)
