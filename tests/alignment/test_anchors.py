from itertools import pairwise

import numpy as np
import pytest

from asrscale.alignment.anchors import ANCHOR_WORDS, RecognisedWord, cut_pieces


def words(*labels: int, frames: int = 10) -> list[RecognisedWord]:
    """Words of one label each, of `frames` frames with a pause of four between."""
    return [
        RecognisedWord((label,), number * (frames + 4), number * (frames + 4) + frames)
        for number, label in enumerate(labels)
    ]


def test_cuts_are_in_the_middle_of_pauses_between_words_that_are_the_same() -> None:
    recognised = words(*range(20))
    pieces = cut_pieces([word.labels for word in recognised], recognised, 280, piece_frames=50)
    assert [(piece.first_word, piece.end_word) for piece in pieces] == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20)]
    assert [piece.end_frame for piece in pieces] == [54, 110, 166, 222, 280]


@pytest.mark.parametrize("seed", range(20))
def test_pieces_are_all_of_both_and_cut_where_both_are_at_the_same_word(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 30, 200).tolist()
    recognised = words(*truth)
    script = [(label,) for label in truth]
    for place in sorted(rng.integers(0, 200, 40), reverse=True):  # the text lacks words, has others, has more
        kind = rng.integers(3)
        script[place : place + (kind != 2)] = [(99,)] if kind else []
    pieces = cut_pieces(script, recognised, 2_800, piece_frames=100)
    assert (pieces[0].first_word, pieces[0].first_frame) == (0, 0)
    assert (pieces[-1].end_word, pieces[-1].end_frame) == (len(script), 2_800)
    for piece, after in pairwise(pieces):
        assert (piece.end_word, piece.end_frame) == (after.first_word, after.first_frame)
        assert piece.end_frame - piece.first_frame >= 100
        behind = round((piece.end_frame + 2) / 14)  # the word that is recognised behind the cut
        around = range(-ANCHOR_WORDS, ANCHOR_WORDS)
        assert [script[piece.end_word + n] for n in around] == [recognised[behind + n].labels for n in around]
    assert len(pieces) > 5


def test_where_nothing_agrees_there_is_one_piece() -> None:
    recognised = words(*range(20))
    [piece] = cut_pieces([(50 + n,) for n in range(20)], recognised, 280, piece_frames=50)
    assert (piece.first_word, piece.end_word, piece.first_frame, piece.end_frame) == (0, 20, 0, 280)
    assert len(cut_pieces([(1,), (2,)], [], 280, piece_frames=50)) == 1
