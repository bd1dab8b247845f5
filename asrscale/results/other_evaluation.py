"""What another model, or another seed, was found to say: the predictions that `asrscale.evaluate` wrote of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asrscale.common.errors import CliError
from asrscale.data.index import Index
from asrscale.speech.normalisation import normalise

SHOWN_CHARACTERS = 40  # of a reference that differs


@dataclass(frozen=True)
class OtherEvaluation:
    """An evaluation of another model on the same utterances.

    Attributes:
        name: The file.
        hypotheses: What it says, as the model said it, by the keys of the utterances.
    """

    name: str
    hypotheses: Mapping[str, str]


def read_others(flag: str, paths: Sequence[str], index: Index) -> list[OtherEvaluation]:
    """Reads the evaluations that a flag names, and checks that they are of the utterances of `index`.

    Raises:
        CliError: As `read_other`, or a file is given twice.
    """
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise CliError(f"{flag}: a file is given twice: give each once")
    return [read_other(flag, path, index) for path in paths]


def read_other(flag: str, path: str, index: Index) -> OtherEvaluation:
    """Reads an evaluation, and checks that it is of the utterances of `index`.

    Utterances that were damaged in that evaluation, by the JSON beside it, may be missing.

    Args:
        flag: What the file was given by, for messages.
        path: NAME.jsonl of an evaluation.
        index: The data set.

    Raises:
        CliError: It cannot be read, or its utterances or references are others than those of the data set.
    """
    numbers = {key: number for number, key in enumerate(index.keys.to_pylist())}
    hypotheses: dict[str, str] = {}
    for line, row in _rows(flag, path):
        key, reference, hypothesis = (row.get(name) for name in ("key", "reference", "hypothesis"))
        if not (isinstance(key, str) and isinstance(reference, str) and isinstance(hypothesis, str)):
            raise CliError(f"{flag} {path} line {line} has no key, reference and hypothesis: {_CURE}")
        if key not in numbers:
            raise CliError(f"{flag} {path} is of other utterances: {key} is not in --data: {_CURE}")
        if key in hypotheses:
            raise CliError(f"{flag} {path} line {line}: {key} is there twice: {_CURE}")
        _check_reference(flag, path, index, numbers[key], reference)
        hypotheses[key] = hypothesis
    damaged = _damaged(path)
    missing = [key for key in numbers if key not in hypotheses and key not in damaged]
    if missing:
        count = f"{len(missing):,} of --data are not in it, such as {missing[0]}"
        raise CliError(f"{flag} {path} is of other utterances: {count}: {_CURE}")
    return OtherEvaluation(path, hypotheses)


_CURE = "give what asrscale.evaluate wrote of another model on the same data, such as OTHER/eval/NAME.jsonl"


def _rows(flag: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the lines of a file with their numbers; raises CliError for what is no JSON object."""
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is no JSON object")
                yield number, row
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CliError(f"{flag} {path} cannot be read ({reason}): {_CURE}") from error


def _check_reference(flag: str, path: str, index: Index, utterance: int, reference: str) -> None:
    """Raises CliError where a reference is not that of an utterance, both after the steps of the data set."""
    own = index.texts[utterance].as_py()
    rules = index.rules(utterance)
    if reference == own or normalise(reference, rules) == normalise(own, rules):
        return
    key = index.keys[utterance].as_py()
    theirs, ours = (text[:SHOWN_CHARACTERS] for text in (reference, own))
    raise CliError(f"{flag} {path} has another reference of {key}: '{theirs}', not '{ours}' as in --data: {_CURE}")


def _damaged(path: str) -> set[str]:
    """Returns the keys of the utterances that the evaluation left out as damaged, by the JSON beside it."""
    try:
        found = json.loads(Path(path).with_suffix(".json").read_text("utf-8"))
        return set(found["damaged"])
    except (OSError, ValueError, LookupError, TypeError):
        return set()
