"""Filters: which rows they take, and what is not supported in them."""

import ast

import pytest
from helpers.filters import LINES_OF_FILTERS, ROWS

from asrscale.common.errors import CliError
from asrscale.corpus.row_filter import filter_columns, parse_filter, row_matches
from asrscale.sources.rows import Row


def lines_taken(expression: str | None) -> list[int]:
    condition = parse_filter(expression)
    return [row.line for row in ROWS if row_matches(condition, row)]


@pytest.mark.parametrize(("expression", "lines"), LINES_OF_FILTERS)
def test_filters(expression: str, lines: list[int]) -> None:
    assert lines_taken(expression) == lines


@pytest.mark.parametrize("expression", [None, ""])
def test_no_filter_takes_every_row(expression: str | None) -> None:
    assert lines_taken(expression) == [row.line for row in ROWS]


def test_the_columns_of_a_filter() -> None:
    condition = parse_filter(" up_votes >= 2 and not ('us' in accent or text == gender)")
    assert isinstance(condition, ast.BoolOp)
    assert filter_columns(condition) == {"up_votes", "accent", "gender"}
    assert filter_columns(parse_filter(None)) == set()


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("up_votes >=", "invalid syntax"),
        ("up_votes = 2", "invalid syntax"),
        ("__import__('os').system('touch /tmp/x')", "is not supported"),
        ("accent.upper() == 'US'", "is not supported"),
        ("up_votes > -down_votes", "is not supported"),
        ("up_votes + 1 > 2", "is not supported"),
        ("up_votes ** 99 > 2", "is not supported"),
        ("accent[0] == 'u'", "is not supported"),
        ("up_votes == 2 or (lambda: 1)()", "is not supported"),  # also where the first row decides without it
        ("[x for x in text]", "is not supported"),
        ("f'{text}' == 'to'", "is not supported"),
        ("accent is None", "is not supported"),
        ("accent is text", "'is' is not supported"),
        ("text == None", "is not supported"),
        ("accent > 3", "could not convert string to float: 'us'"),
        ("accent in 3", "not iterable"),
        ("not " * 3_000 + "text", "recursion"),
        ("(" * 500 + "1" + ")" * 500, "too many nested parentheses"),
    ],
)
def test_filters_that_are_refused(expression: str, message: str) -> None:
    with pytest.raises(CliError) as caught:
        lines_taken(expression)
    assert message in str(caught.value)
    assert "--filter" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_of_any_length_are_compared_exactly() -> None:
    row = Row(line=2, source="a.csv", audio="a.wav", text="one", extra={"id": "12345678901234567891", "n": "1e400"})
    nines = "9" * 400
    small, large = f"id < {nines}", f"n > {nines}"
    expressions = (*(f"id == 1234567890123456789{digit}" for digit in (0, 1)), small, large, f"id in [{nines}]")
    taken = [expression for expression in expressions if row_matches(parse_filter(expression), row)]
    assert taken == ["id == 12345678901234567891", small, large]
