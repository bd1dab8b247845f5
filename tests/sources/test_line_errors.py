"""Mistakes in the lines of a source, counted together."""

import pytest

from asrscale.common.errors import CliError
from asrscale.sources.line_errors import LineError, refuse_all_mistakes


def mistake(line: int, cure: str = "correct it") -> LineError:
    return LineError("a.csv", line, f"field '{line}' is wrong", cure)


def refusal(items: list[str | LineError]) -> str:
    """The one line with which the items are refused."""
    with pytest.raises(CliError) as caught:
        list(refuse_all_mistakes(items))
    return str(caught.value)


def test_items_without_a_mistake_pass_one_by_one() -> None:
    assert list(refuse_all_mistakes(["a", "b"])) == ["a", "b"]
    items = refuse_all_mistakes(["a", mistake(3), "b"])
    assert next(items) == "a"


def test_the_first_mistake_is_named_and_all_are_counted() -> None:
    assert refusal(["a", mistake(3)]) == "a.csv line 3: field '3' is wrong: correct it"
    assert refusal([mistake(3), "a", mistake(7)]).endswith(": correct it (1 more line of this kind: 7)")
    many = [mistake(line) for line in range(2, 1_202)]
    assert refusal([*many]).endswith(" (1,199 more lines of this kind: 3, 4, 5, 6, 7, …)")
    others = [mistake(9, "add a speaker")] * 2
    assert refusal([mistake(3), mistake(4), *others]).endswith(" (1 more line of this kind: 4; 2 with other mistakes)")
