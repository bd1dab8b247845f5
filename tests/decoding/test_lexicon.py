import numpy as np

from asrscale.decoding.lexicon import NO_NODE, NO_WORD, ROOT, Lexicon, build_lexicon


def walk(lexicon: Lexicon, spelling: list[int]) -> int:
    node = ROOT
    for token in spelling:
        node = int(lexicon.children(np.array([node]), np.array([token]))[0])
    return node


def test_every_word_is_found_and_nothing_else() -> None:
    spellings = [[0, 1], [0], [2, 2, 1], [0, 1, 2], [0, 1]]
    lexicon = build_lexicon(spellings, [10, 11, 12, 13, 14], [-1.0, -2.0, -3.0, -0.5, -4.0], 3)
    words = [int(lexicon.words[walk(lexicon, spelling)]) for spelling in spellings]
    assert words == [10, 11, 12, 13, 10]  # of those spelled alike the likelier one
    assert walk(lexicon, [1]) == NO_NODE and walk(lexicon, [0, 1, 2, 0]) == NO_NODE
    assert lexicon.words[walk(lexicon, [2])] == NO_WORD
    assert lexicon.outlooks[walk(lexicon, [0])] == -0.5 and lexicon.outlooks[walk(lexicon, [2, 2])] == -3.0


def test_a_lexicon_may_be_empty() -> None:
    assert walk(build_lexicon([], [], [], 3), [0]) == NO_NODE
