"""The most likely path of a text through the frames of its recording.

Shapes: F frames, V vocabulary, L labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import torch
from torch import Tensor

from asrscale.alignment.anchors import Piece, RecognisedWord, cut_pieces
from asrscale.alignment.script import ScriptWord
from asrscale.common.errors import AudioError
from asrscale.speech.ctc_text import words_of_path
from asrscale.speech.vocabulary import Vocabulary

# torchaudio keeps a byte for each frame and each of 2 L + 1 states.
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Span:
    """Frames from `start` to before `end`, and how likely it is that what is aligned to them was said, up to 1."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class AlignedWord:
    """A word of the text in the recording; both are None and empty where nothing of it is spoken."""

    word: ScriptWord
    span: Span | None
    characters: tuple[Span, ...]


def align_words(
    script: Sequence[ScriptWord], log_probabilities: Tensor, vocabulary: Vocabulary, *, piece_frames: int
) -> list[AlignedWord]:
    """Returns when each word is spoken.

    Args:
        script: The text.
        log_probabilities: (F, V) of the whole recording, float32 on the CPU.
        vocabulary: Of the model.
        piece_frames: As for `cut_pieces`.

    Raises:
        AudioError: The text is too long for the recording, or hardly anything of the two is the same.
    """
    spoken = [word for word in script if word.labels]
    path = log_probabilities.argmax(-1).tolist()
    recognised = [
        RecognisedWord(tuple(vocabulary.encode(word.text)), word.start_frame, word.end_frame)
        for word in words_of_path(path, vocabulary)
    ]
    labels = [word.labels for word in spoken]
    pieces = cut_pieces(labels, recognised, len(log_probabilities), piece_frames=piece_frames)
    found = chain.from_iterable(_align_piece(spoken, piece, log_probabilities, vocabulary) for piece in pieces)
    return [next(found) if word.labels else AlignedWord(word, None, ()) for word in script]


def _align_piece(
    spoken: Sequence[ScriptWord], piece: Piece, log_probabilities: Tensor, vocabulary: Vocabulary
) -> list[AlignedWord]:
    """Returns when each word of a piece is spoken; raises AudioError where that cannot be found."""
    words = spoken[piece.first_word : piece.end_word]
    if not words:
        return []
    frames = log_probabilities[piece.first_frame : piece.end_frame]
    labels = _labels_of(words, vocabulary)
    _check_size(words, labels, len(frames))
    # Not at the top: there are installations without torchaudio, which all else does without.
    from torchaudio.functional import forced_align

    path, path_log_probabilities = forced_align(
        frames[None], torch.tensor([labels], dtype=torch.int32), blank=vocabulary.blank_id
    )
    shortfall = path_log_probabilities[0] - frames.amax(-1)
    spans = iter(_spans_of_labels(path[0].tolist(), shortfall.tolist(), vocabulary.blank_id, piece.first_frame))
    aligned = []
    for number, word in enumerate(words):
        if number and vocabulary.delimiter_id is not None:
            next(spans)
        characters = tuple(next(spans) for _ in word.labels)
        score = math.prod(span.score for span in characters) ** (1 / len(characters))
        aligned.append(AlignedWord(word, Span(characters[0].start, characters[-1].end, score), characters))
    return aligned


def _labels_of(words: Sequence[ScriptWord], vocabulary: Vocabulary) -> list[int]:
    """Returns (L,) the labels of words, with the word delimiter between them where there is one."""
    between = () if vocabulary.delimiter_id is None else (vocabulary.delimiter_id,)
    labels = list(words[0].labels)
    for word in words[1:]:
        labels += [*between, *word.labels]
    return labels


def _check_size(words: Sequence[ScriptWord], labels: Sequence[int], num_frames: int) -> None:
    """Raises AudioError where labels do not fit frames, or an alignment does not fit memory."""
    repeats = sum(label == other for label, other in pairwise(labels))
    place = f"from {words[0].written!r} to {words[-1].written!r}"
    if len(labels) + repeats > num_frames:
        raise AudioError(f"too much text: {len(labels):,} letters in {num_frames:,} frames, {place}")
    if num_frames * (2 * len(labels) + 1) > MOST_BYTES:
        raise AudioError(
            f"other text: {len(words):,} words, {place}, of which no two in a row are recognised as written"
        )


def _spans_of_labels(path: Sequence[int], shortfall: Sequence[float], blank_id: int, first_frame: int) -> list[Span]:
    """Returns where each label of a path lies: frames of the same token, which a blank or another token ends.

    The score of one is how much less likely it is than the best token of its frames: the geometric mean of the ratios.
    """
    spans = []
    frame = 0
    while frame < len(path):
        end = frame + 1
        while end < len(path) and path[end] == path[frame]:
            end += 1
        if path[frame] != blank_id:
            score = math.exp(sum(shortfall[frame:end]) / (end - frame))
            spans.append(Span(first_frame + frame, first_frame + end, score))
        frame = end
    return spans
