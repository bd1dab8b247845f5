"""Where a long recording and its text can be cut: between words that the model recognises as they are written.

What a forced alignment needs grows with the product of frames and labels: an hour and its text would need 20 GB. So
both are cut where they agree beyond doubt, and each piece is aligned by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rapidfuzz.distance import Levenshtein

Labels: TypeAlias = tuple[int, ...]  # of a word

# A cut lies between words that are the same on both sides, as many as this on each: two words that follow each other
# by chance are rare, four are not found.
ANCHOR_WORDS = 2


@dataclass(frozen=True)
class Piece:
    """Words of the text, from `first_word` to before `end_word`, and the frames in which they are spoken."""

    first_word: int
    end_word: int
    first_frame: int
    end_frame: int


@dataclass(frozen=True)
class RecognisedWord:
    """A word of the model's best path, in frames from `start_frame` to before `end_frame`."""

    labels: Labels
    start_frame: int
    end_frame: int


def cut_pieces(
    script: Sequence[Labels], recognised: Sequence[RecognisedWord], num_frames: int, *, piece_frames: int
) -> list[Piece]:
    """Returns the pieces of a text and its recording, in their order; together they are all of both.

    Args:
        script: The words of the text.
        recognised: The words of the model's best path.
        num_frames: Of the recording.
        piece_frames: A cut is made as soon as a piece is so long; pieces are longer where nothing agrees.
    """
    pieces = []
    first_word = first_frame = 0
    for word, frame in _possible_cuts(script, recognised):
        if frame - first_frame >= piece_frames:
            pieces.append(Piece(first_word, word, first_frame, frame))
            first_word, first_frame = word, frame
    pieces.append(Piece(first_word, len(script), first_frame, num_frames))
    return pieces


def _possible_cuts(script: Sequence[Labels], recognised: Sequence[RecognisedWord]) -> list[tuple[int, int]]:
    """Returns places between words: the number of the word behind one, and the frame in the middle of the pause."""
    recognised_labels = [word.labels for word in recognised]
    cuts = []
    for block in Levenshtein.opcodes(script, recognised_labels):
        if block.tag != "equal":
            continue
        for place in range(ANCHOR_WORDS, block.src_end - block.src_start - ANCHOR_WORDS + 1):
            before, behind = recognised[block.dest_start + place - 1], recognised[block.dest_start + place]
            cuts.append((block.src_start + place, (before.end_frame + behind.start_frame) // 2))
    return cuts
