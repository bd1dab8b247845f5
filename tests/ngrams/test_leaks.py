import pytest

from asrscale.ngrams.leaks import EvaluationSentences, Leaks, without_leaks

LONG = "this sentence is of the test set"


@pytest.mark.parametrize(
    ("line", "is_in"),
    [
        ("yes please", True),
        ("he said yes please", False),
        (LONG, True),
        (f"before it {LONG} and after", True),
        (f"this sentence {LONG}", True),
        ("this sentence is of the test", False),
        ("a quite different line of many more words", False),
    ],
)
def test_whole_lines_and_long_sentences_inside_of_lines_are_found(line: str, is_in: bool) -> None:
    assert EvaluationSentences([LONG.split(), ["yes", "please"]]).is_in(line.split()) == is_in


def test_what_is_left_out_is_counted() -> None:
    leaks = Leaks()
    lines = [["a"], ["b"], ["a"], ["c"]]
    assert list(without_leaks(lines, EvaluationSentences([["a"]]), leaks)) == [["b"], ["c"]]
    assert leaks.left_out == 2 and leaks.examples == ["a", "a"]
