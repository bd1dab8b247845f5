"""A checkpoint as the start of a training run: with its own head, one for another vocabulary, or a new one.

No trained head is lost in silence: one whose letters are not known is refused, and what is drawn at random is said.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from asrscale.common.checkpoint_files import split_revision
from asrscale.common.errors import CliError
from asrscale.model.checkpoints import (
    Checkpoint,
    check_has_adapters,
    find_language,
    open_checkpoint,
    set_language,
)
from asrscale.model.configuring import TrainingSettings, configure, set_vocabulary
from asrscale.model.families import head_of
from asrscale.model.heads import draw_head, move_head
from asrscale.model.language_adapters import Languages, find_adapter, has_adapters, reset_adapter
from asrscale.model.model_folders import PROVENANCE_FILE
from asrscale.model.padding import make_padding_invariant
from asrscale.model.processors import check_fits_head, load_processor, read_own_vocabulary
from asrscale.model.recognizer import Recognizer
from asrscale.model.weights import LoadedModel, load_weights
from asrscale.speech.vocabulary import Vocabulary


@dataclass(frozen=True)
class Start:
    """How a run wants its checkpoint.

    Attributes:
        of_shards: The vocabulary of the training data, for a model without one.
        requested: The vocabulary that `--vocab` asks for, or None; `of_shards` itself for `--vocab shards`.
        language: Which language of a model of many; "" where none was asked for.
        train_adapter: Whether only the adapter and the head of the language are trained.
        new_head: Whether the head is drawn at random, whatever the checkpoint has.
        settings: What the model's configuration gets for training.
    """

    of_shards: Vocabulary
    requested: Vocabulary | None
    language: str
    train_adapter: bool
    new_head: bool
    settings: TrainingSettings


def start_from(name: str, start: Start) -> Recognizer:
    """Returns the model of a checkpoint as a run starts with it, in fp32: nothing is trained in its own type.

    Raises:
        CliError: It cannot be loaded or has no such language; or it has a trained head, and nobody says of what.
    """
    checkpoint = open_checkpoint(name)
    code = find_language(checkpoint, start.language, may_be_new=True)
    if start.train_adapter:
        check_has_adapters(checkpoint)
    if code:
        recognizer = _start_with_language(checkpoint, start, code)
    else:
        vocabulary = read_own_vocabulary(checkpoint, None)
        if vocabulary is None:
            recognizer = _start_without_vocabulary(checkpoint, start)
        else:
            recognizer = _start_with_vocabulary(checkpoint, start, vocabulary)
    make_padding_invariant(recognizer.model)
    return replace(recognizer, notes=(*checkpoint.source.notes, *recognizer.notes))


def _load(checkpoint: Checkpoint, settings: TrainingSettings, vocabulary: Vocabulary | None = None) -> LoadedModel:
    """Returns the model of a checkpoint with its own head, or one for a vocabulary as far as that has its size."""
    configure(checkpoint.config, settings)
    if vocabulary:
        set_vocabulary(checkpoint.config, vocabulary)
    return load_weights(checkpoint.name, checkpoint.source, checkpoint.config, dtype=torch.float32)


def _start_with_vocabulary(checkpoint: Checkpoint, start: Start, vocabulary: Vocabulary) -> Recognizer:
    """Returns a checkpoint that was fine-tuned: with its own head, or with one for the requested vocabulary."""
    processor = load_processor(checkpoint, vocabulary)
    loaded = _load(checkpoint, start.settings)
    notes = []
    if loaded.head_rows is None:
        notes.append(f"{checkpoint.name} has a vocabulary and no head: its head is drawn at random")
    else:
        check_fits_head(checkpoint, vocabulary, loaded)
    has_head = loaded.head_rows is not None
    recognizer = Recognizer(loaded.model, processor, vocabulary, notes=tuple(notes), transcribes=has_head)
    return _with_requested_head(recognizer, start)


def _with_requested_head(recognizer: Recognizer, start: Start) -> Recognizer:
    """Returns a model with a head for the vocabulary that was asked for, if one was, and a new one if that was."""
    if start.requested:
        _check_special_tokens(recognizer, start.requested)
        recognizer = move_head(recognizer, start.requested)
    if start.new_head:
        head_of(recognizer.model).reset_parameters()
        recognizer = replace(recognizer, transcribes=False)
    return recognizer


def _check_special_tokens(recognizer: Recognizer, requested: Vocabulary) -> None:
    """Raises CliError where languages would be exported together whose special tokens have different names.

    A tokenizer of transformers has one name for the blank of all its languages.
    """
    if not recognizer.languages or not recognizer.languages.others:
        return
    other = next(iter(recognizer.languages.others))
    for role in ("blank", "unknown", "word_delimiter"):
        own_name, name = getattr(requested, role), getattr(recognizer.vocabulary, role)
        if own_name != name:
            raise CliError(
                f"--vocab has {own_name or 'no token'} for its {role}, {other}, which is exported with it, {name}: "
                "name them alike, or start from the base itself"
            )


def _start_without_vocabulary(checkpoint: Checkpoint, start: Start) -> Recognizer:
    """Returns a checkpoint without a vocabulary.

    One that was pretrained only gets a new head. A trained head is kept where its vocabulary is given.
    """
    vocabulary = start.requested or start.of_shards
    processor = load_processor(checkpoint, vocabulary)
    blank_of_head = checkpoint.config.pad_token_id
    loaded = _load(checkpoint, start.settings, vocabulary)
    keeps_head = False
    if loaded.head_rows is not None and not start.new_head:
        keeps_head = True
        _check_is_its_vocabulary(checkpoint, start, loaded.head_rows, blank_of_head)
    else:
        head_of(loaded.model).reset_parameters()
    return Recognizer(loaded.model, processor, vocabulary, transcribes=keeps_head)


def _check_is_its_vocabulary(checkpoint: Checkpoint, start: Start, rows: int, blank: int | None) -> None:
    """Raises CliError unless the vocabulary of a trained head is given, as far as size and blank show.

    That of the shards is not: a head of as many other letters would be kept without an error.
    """
    head = f"--model {checkpoint.name} has a trained head of {rows} tokens with blank {blank}"
    new_head = "--new_head true to draw a new one"
    if start.requested is None or start.requested is start.of_shards:
        raise CliError(
            f"{head} and no vocab.json that says which: give the one that it was trained with by --vocab, or {new_head}"
        )
    size = len(start.requested.tokens)
    if (size, start.requested.blank_id) != (rows, blank):
        raise CliError(
            f"{head}, and --vocab {size} tokens with blank {start.requested.blank_id}: give the vocabulary that it was "
            f"trained with, or {new_head}"
        )


def _start_with_language(checkpoint: Checkpoint, start: Start, code: str) -> Recognizer:
    """Returns a checkpoint of many languages, set to one of them, or to one that it lacks."""
    is_known = code in checkpoint.languages
    vocabulary = read_own_vocabulary(checkpoint, code) if is_known else _vocabulary_of_new(checkpoint, start)
    assert vocabulary is not None, "it has a part for each language"
    if vocabulary.spaced:
        raise CliError("--language: a model of many languages cannot learn labels such as phones: leave it out")
    loaded = _load(checkpoint, start.settings)
    languages = _languages(checkpoint, loaded, code, keeps_others=start.train_adapter)
    recognizer = Recognizer(loaded.model, load_processor(checkpoint, vocabulary, languages), vocabulary, languages)
    if is_known and set_language(checkpoint, loaded, code):
        check_fits_head(checkpoint, vocabulary, loaded)
        return _with_requested_head(replace(recognizer, transcribes=True), start)

    if has_adapters(checkpoint.config):
        reset_adapter(loaded.model)
    draw_head(loaded.model, vocabulary)
    what = "adapter for" if is_known else "language"
    note = f"{checkpoint.name} has no {what} {code}: its adapter and head start at random"
    return _with_requested_head(replace(recognizer, notes=(note,)), start)


def _vocabulary_of_new(checkpoint: Checkpoint, start: Start) -> Vocabulary:
    """Returns the vocabulary of a language that a checkpoint lacks: with special tokens as the others have them.

    transformers has one name for the blank of all languages of a tokenizer, and one id.
    """
    letters = start.of_shards
    like = read_own_vocabulary(checkpoint, min(checkpoint.languages))
    assert like is not None, "it has a part for each language"
    own_special = (letters.blank, letters.unknown, letters.word_delimiter, *letters.special)
    special = sorted({like.blank, like.unknown, like.word_delimiter, *like.special} - {""}, key=like.tokens.index)
    text = [token for token in letters.tokens if token not in own_special]
    return replace(like, tokens=(*special, *text), spaced=letters.spaced)


def _languages(checkpoint: Checkpoint, loaded: LoadedModel, code: str, *, keeps_others: bool) -> Languages:
    """Returns the language of a run, and others that were trained before on the same weights, if these are kept.

    Those of a base for many are left to that: it may have a thousand.
    """
    folder = checkpoint.source.vocabulary
    base = _name_for_good(checkpoint.source.weights, loaded)
    if not keeps_others or not Path(folder, PROVENANCE_FILE).is_file():
        return Languages(code, base)
    others = {
        other: tokens
        for other, tokens in checkpoint.languages.items()
        if other != code and find_adapter(folder, other) is not None
    }
    return Languages(code, base, folder, others)


def _name_for_good(weights: str, loaded: LoadedModel) -> str:
    """Returns a name for the weights that were loaded that means the same elsewhere in the tree, and later."""
    if Path(weights).exists():
        return str(Path(weights).resolve())
    id, revision = split_revision(weights)
    commit = getattr(loaded.model.config, "_commit_hash", None) or revision
    return f"{id}@{commit}" if commit else id
