"""Reads the vocabulary of a checkpoint: vocab.json, and what the files beside it say of its special tokens.

For training, evaluation, transcription and the checks of a build alike: from a folder, an id of the hub, or the path
of a vocab.json. The rules are those of transformers' Wav2Vec2CTCTokenizer, so that the rows of a head mean what they
mean there.
"""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asrscale.common.checkpoint_files import checkpoint_file, checkpoint_json, may_be_hub_id
from asrscale.common.errors import CliError
from asrscale.common.system_files import is_plain_name
from asrscale.speech.languages import matching_codes
from asrscale.speech.vocabulary import Vocabulary

VOCAB_FILE = "vocab.json"

# In which order transformers gives ids to special tokens that vocab.json lacks, and their names without settings.
_ADDED_IN_ORDER = ("bos_token", "eos_token", "unk_token", "pad_token", "word_delimiter_token")
_DEFAULTS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "word_delimiter_token": "|",
}

# Their names where nothing beside vocab.json says which: those of transformers' documentation, of fairseq, of others.
_KNOWN_NAMES = {
    "pad_token": ("[PAD]", "<pad>", "<blank>", "<BLANK>"),
    "unk_token": ("[UNK]", "<unk>"),
    "word_delimiter_token": ("|",),
    "bos_token": ("<s>",),
    "eos_token": ("</s>",),
}

MAX_REASON_CHARACTERS = 200  # of an error of the hub, in ours

_SHOWN_LANGUAGES = 100  # of a vocabulary for many, in an error


@dataclass(frozen=True)
class _Files:
    """What the files of a checkpoint say; {} for one that it lacks."""

    tokens: dict[str, int]
    tokenizer: dict[str, Any]
    special: dict[str, Any]
    added: dict[str, int]
    config: dict[str, Any]


def read_vocabulary(name: str, language: str = "") -> Vocabulary:
    """Returns the vocabulary that `--vocab` names: a model folder, an id of the hub, or the path of a vocab.json.

    Args:
        name: The folder, id or path.
        language: Which of the languages of a vocabulary for many; "" where it has one only.

    Raises:
        CliError: There is none, or it is not usable; names `--vocab`.
    """
    is_file = os.path.isfile(name)
    if not is_file and not os.path.isdir(name) and not may_be_hub_id(name):
        raise CliError(f"--vocab {name}: no such file or folder: give a model folder, an id of the hub or a vocab.json")
    try:
        vocabulary = _read_vocabulary_file(name, language) if is_file else checkpoint_vocabulary(name, language)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        why = " ".join(str(error).split())[:MAX_REASON_CHARACTERS]
        cure = "give a folder with a vocab.json"
        if not os.path.exists(name):
            cure = f"download the model first, as with hf download {name} --local-dir FOLDER, and give FOLDER"
        raise CliError(f"--vocab {name} cannot be read ({why}): {cure}") from error
    except CliError as error:
        raise CliError(f"--vocab {name}: {error}") from error
    if vocabulary is None:
        raise CliError(f"--vocab {name} has no {VOCAB_FILE}: give a model that was fine-tuned, or its {VOCAB_FILE}")
    return vocabulary


def _read_vocabulary_file(path: str, language: str) -> Vocabulary:
    """Returns the vocabulary in a file, with the settings beside it where it is the vocab.json of a folder."""
    folder = str(Path(path).parent)
    if Path(path).name == VOCAB_FILE and checkpoint_json(folder, "tokenizer_config.json"):
        vocabulary = checkpoint_vocabulary(folder, language)
        assert vocabulary is not None, "the file exists"
        return vocabulary
    tokens = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(tokens, dict):
        raise ValueError("it holds no JSON object of tokens and their ids")
    return _vocabulary_of(_Files(_tokens_of(tokens, language), {}, {}, {}, {}))


def checkpoint_vocabulary(checkpoint: str, language: str = "") -> Vocabulary | None:
    """Returns the vocabulary of a model folder or an id of the hub, or None where it has no vocab.json.

    Raises:
        OSError: A file cannot be downloaded or read.
        ValueError: A file holds not what it should.
        CliError: The vocabulary is not usable: without the name of the checkpoint.
    """
    # One that exists but cannot be downloaded must not count as missing: that would reset the head.
    if checkpoint_file(checkpoint, VOCAB_FILE) is None:
        return None
    tokenizer = checkpoint_json(checkpoint, "tokenizer_config.json")
    tokens = checkpoint_json(checkpoint, VOCAB_FILE, optional=False)
    # The size of a head in config.json, and the ids of added tokens, are those of one of many languages.
    is_of_one = not _languages_of(tokens)
    return _vocabulary_of(
        _Files(
            tokens=_tokens_of(tokens, language),
            tokenizer=tokenizer,
            special=checkpoint_json(checkpoint, "special_tokens_map.json"),
            added=_added_tokens(checkpoint, tokenizer) if is_of_one else {},
            config=checkpoint_json(checkpoint, "config.json") if is_of_one else {},
        )
    )


def checkpoint_languages(checkpoint: str) -> dict[str, dict[str, int]]:
    """Returns the tokens of each language of a checkpoint by its code, such as `tur`; {} where it names no languages.

    Raises:
        OSError: Its vocab.json cannot be downloaded or read.
        ValueError: Its vocab.json holds not what it should.
    """
    return _languages_of(checkpoint_json(checkpoint, VOCAB_FILE, optional=False))


def choose_language(languages: Collection[str], language: str) -> str | None:
    """Returns the code of a checkpoint that a language has there, or None where it is none of the checkpoint's.

    Args:
        languages: The codes of the checkpoint, at least one.
        language: By any code; "" for the only one that there is.

    Raises:
        CliError: Several are meant: without the name of the checkpoint.
    """
    codes = sorted(languages)
    if language:
        codes = matching_codes(language, codes)
        if len(codes) > 1:
            raise CliError(f"--language {language} may be {' or '.join(codes)}: give one of these")
    elif len(codes) > 1:
        raise CliError(f"it has a vocabulary for each of {len(codes):,} languages: {_ask_for_one(codes)}")
    return codes[0] if codes else None


def no_such_language(languages: Collection[str], language: str) -> str:
    """Returns what to say where a checkpoint lacks a language."""
    return f"none of its {len(languages):,} languages is {language}: {_ask_for_one(sorted(languages))}"


def _ask_for_one(codes: list[str]) -> str:
    further = len(codes) - _SHOWN_LANGUAGES
    more = f" and {further:,} more in its {VOCAB_FILE}" if further > 0 else ""
    return f"give --language with one of {', '.join(codes[:_SHOWN_LANGUAGES])}{more}"


def _languages_of(tokens: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Returns the parts of a vocabulary that has one for each language; {} for any other.

    Raises:
        ValueError: The code of a language is a path, which would lead to another file than that of its adapter.
    """
    if not all(isinstance(part, dict) for part in tokens.values()):
        return {}
    for code in tokens:
        if not is_plain_name(code):
            raise ValueError(f"{code!r} is no code of a language")
    return dict(tokens)


def _tokens_of(tokens: Mapping[str, Any], language: str) -> dict[str, int]:
    """Returns the tokens of a vocabulary, or of its part for a language where it has one for each.

    Raises:
        ValueError: It holds no tokens and their ids.
        CliError: It has many languages, and it is not said which, or none of them is the one that is asked for.
    """
    languages = _languages_of(tokens)
    if languages:
        code = choose_language(languages, language)
        if code is None:
            raise CliError(no_such_language(languages, language))
        tokens = languages[code]
    if not all(isinstance(id, int) for id in tokens.values()):
        raise ValueError("it holds no JSON object of tokens and their ids")
    return dict(tokens)


def _added_tokens(checkpoint: str, tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Returns the tokens that were added to a tokenizer behind those of its vocab.json."""
    added = {token: int(id) for token, id in checkpoint_json(checkpoint, "added_tokens.json").items()}
    for id, token in tokenizer.get("added_tokens_decoder", {}).items():
        added[_text_of(token)] = int(id)
    return added


def _text_of(token: Any) -> str:
    """Returns a token that is written as itself or as an object with its settings; "" for none."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _vocabulary_of(files: _Files) -> Vocabulary:
    """Returns the vocabulary that the files of a checkpoint describe.

    Special tokens behind the last row of the head are left out: no model can say them. Letters there are kept, so that
    head and vocabulary are seen not to belong together.
    """
    names = _special_names(files)
    tokens = _with_added_tokens(files, names)
    if "vocab_size" in files.config:
        head_size = int(files.config["vocab_size"])
        letters = files.tokens.keys() - set(names.values())
        tokens = {token: id for token, id in tokens.items() if id < head_size or token in letters}
    else:
        tokens = files.tokens
    is_phonetic = files.tokenizer.get("tokenizer_class") == "Wav2Vec2PhonemeCTCTokenizer"
    delimiter = names["word_delimiter_token"]
    if delimiter not in tokens and " " in tokens:
        delimiter = " "
    special = (names["bos_token"], names["eos_token"])
    vocabulary = vocabulary_from_dict(tokens, names["pad_token"], names["unk_token"], delimiter)
    return Vocabulary(
        vocabulary.tokens,
        vocabulary.blank,
        vocabulary.unknown,
        vocabulary.word_delimiter,
        special=tuple(token for token in special if token in tokens),
        spaced=is_phonetic,
        lower_cased=bool(files.tokenizer.get("do_lower_case", False)) and not is_phonetic,
    )


def _special_names(files: _Files) -> dict[str, str]:
    """Returns the tokens of each role: what the settings say, or else known names; "" where a role has none."""
    if not files.tokenizer and not files.special:
        return {
            role: next((name for name in known if name in files.tokens), "") for role, known in _KNOWN_NAMES.items()
        }
    names = {}
    for role, default in _DEFAULTS.items():
        settings = next((found for found in (files.tokenizer, files.special) if role in found), {role: default})
        names[role] = _text_of(settings[role])
    return names


def _with_added_tokens(files: _Files, names: Mapping[str, str]) -> dict[str, int]:
    """Returns all tokens of a tokenizer: where a special one has no id, transformers gives it the next."""
    tokens = files.tokens | {token: id for token, id in files.added.items() if token not in files.tokens}
    if files.tokenizer or files.special:
        for role in _ADDED_IN_ORDER:
            if names[role]:
                tokens.setdefault(names[role], max(tokens.values(), default=-1) + 1)
    return tokens


def vocabulary_from_dict(token_to_id: Mapping[str, int], blank: str, unknown: str, word_delimiter: str) -> Vocabulary:
    """Returns the vocabulary of a checkpoint; `unknown` and `word_delimiter` may be tokens that it lacks.

    Raises:
        CliError: The ids are not 0 to n-1, each once, or there is no blank.
    """
    if set(token_to_id.values()) != set(range(len(token_to_id))):
        ids = f"0 to {len(token_to_id) - 1}, each once"
        raise CliError(f"the ids of the vocabulary are not {ids}, so letters would mix: repair its vocab.json")
    if blank not in token_to_id:
        named = f" '{blank}'" if blank else ""
        raise CliError(
            f"the vocabulary has no token{named} for the blank: name it as pad_token in its tokenizer_config.json, or "
            "add [PAD] to its vocab.json"
        )
    tokens = sorted(token_to_id, key=token_to_id.__getitem__)
    return Vocabulary(
        tuple(tokens),
        blank,
        unknown if unknown in token_to_id else "",
        word_delimiter if word_delimiter in token_to_id else "",
    )
