"""The --filter expression, which decides the rows of a source that are used.

It is written like Python and parsed as such, but interpreted here: nothing of it is executed. It may hold columns by
their names, the transcript as `text`, numbers, strings, lists, comparisons, `in`, `and`, `or` and `not`. Two values
that can both be read as numbers are compared as numbers. An empty cell equals "", and no number.
"""

import ast
import operator
from collections.abc import Mapping
from typing import Any

from asrscale.common.errors import CliError
from asrscale.sources.rows import Row

EVERY_ROW = "1"  # the expression that stands for no filter: true for every row


_COMPARISONS: dict[type[ast.cmpop], Any] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def parse_filter(expression: str | None) -> ast.expr:
    """Returns the parsed expression; None and an empty one take every row.

    Raises:
        CliError: It cannot be parsed. What cannot be interpreted is reported by `row_matches`.
    """
    try:
        return ast.parse((expression or EVERY_ROW).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CliError(f"--filter '{expression}': {error}: write it as 'up_votes>=2 and down_votes==0'") from error


def filter_columns(condition: ast.expr) -> set[str]:
    """Returns the names of the columns that a parsed filter uses, without the transcript."""
    names = {node.id for node in ast.walk(condition) if isinstance(node, ast.Name)}
    return names - {"text"}


def row_matches(condition: ast.expr, row: Row) -> bool:
    """Whether a row fulfils a parsed filter.

    Raises:
        CliError: The filter holds something that is not supported, or compares a number with a cell that holds none;
            names the row.
    """
    try:
        return bool(_evaluate(condition, {"text": row.text, **row.extra}))
    except (ValueError, TypeError, RecursionError) as error:
        raise CliError(f"{row.source} line {row.line}: --filter: {error}: correct the row or the filter") from error


def _evaluate(node: ast.expr, columns: Mapping[str, str]) -> Any:
    """Returns the value of an expression for a row: a text, number, truth value or list of them.

    `and` and `or` evaluate all of their parts, so that already the first row shows what is not supported.

    Raises:
        ValueError: A part is not supported, or a cell holds no number where one is needed.
        TypeError: Values of these types cannot be compared.
    """
    match node:
        case ast.Constant(value=str() | int() | float() as constant):
            return constant
        case ast.Name():
            return columns.get(node.id, "")
        case ast.Tuple() | ast.List():
            return [_evaluate(item, columns) for item in node.elts]
        case ast.UnaryOp(op=ast.Not()):
            return not _evaluate(node.operand, columns)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.BoolOp():
            values = [_evaluate(part, columns) for part in node.values]
            return all(values) if isinstance(node.op, ast.And) else any(values)
        case ast.Compare():
            return _evaluate_comparisons(node, columns)
    raise ValueError(f"'{ast.unparse(node)}' is not supported")


def _evaluate_comparisons(node: ast.Compare, columns: Mapping[str, str]) -> bool:
    """Whether every comparison of a chain such as `1 <= up_votes <= 2` holds."""
    values = [_evaluate(part, columns) for part in (node.left, *node.comparators)]
    neighbours = zip(node.ops, values[:-1], values[1:], strict=True)
    return all(_holds(comparison, left, right) for comparison, left, right in neighbours)


def _holds(comparison: ast.cmpop, left: Any, right: Any) -> bool:
    """Whether `left comparison right` holds; raises as `_evaluate`."""
    if isinstance(comparison, ast.In):
        return _is_in(left, right)
    if isinstance(comparison, ast.NotIn):
        return not _is_in(left, right)
    if type(comparison) not in _COMPARISONS:
        raise ValueError("'is' is not supported")

    compare = _COMPARISONS[type(comparison)]
    try:
        return bool(compare(_number(left), _number(right)))
    except ValueError:
        if isinstance(left, str) and isinstance(right, str):
            return bool(compare(left, right))
        if left == "" or right == "":
            return isinstance(comparison, ast.NotEq)
        raise


def _number(value: Any) -> int | float:
    """Returns a number or a cell as one; integers stay exact, as identifiers may be longer than a float holds."""
    if isinstance(value, int | float):
        return value
    try:
        return int(value)
    except ValueError:
        return float(value)


def _is_in(value: Any, container: Any) -> bool:
    """Whether a text holds the text `value`, or a list has an item that equals it."""
    if isinstance(container, str):
        return value in container
    return any(_holds(ast.Eq(), value, item) for item in container)
