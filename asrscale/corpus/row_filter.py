"""The --filter expression: which rows of a source are used. Nothing of it is executed."""

import ast
import operator
from collections.abc import Mapping
from typing import Any

from asrscale.common.errors import CliError
from asrscale.corpus.rows import Row

_COMPARE = dict(Eq=operator.eq, NotEq=operator.ne, Lt=operator.lt, LtE=operator.le, Gt=operator.gt, GtE=operator.ge)


def row_matches(condition: ast.expr, row: Row) -> bool:
    """Whether a row fulfils a parsed filter; raises CliError where the two do not fit together."""
    try:
        return bool(_value(condition, {"text": row.text, **row.extra}))
    except (ValueError, TypeError, KeyError) as error:  # KeyError: `is`
        raise CliError(f"{row.source} line {row.line}: --filter: {error}: correct the row or the filter") from error


def _value(node: ast.expr, columns: Mapping[str, str]) -> Any:
    """What an expression is for a row; always the whole of it, so that the first row tells what is not known."""
    match node:
        case ast.Constant(value=str() | int() | float()):
            return node.value
        case ast.Name():
            return columns.get(node.id, "")
        case ast.Tuple() | ast.List():
            return [_value(item, columns) for item in node.elts]
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, columns)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.BoolOp():
            return (all if isinstance(node.op, ast.And) else any)([_value(part, columns) for part in node.values])
        case ast.Compare():
            values = [_value(part, columns) for part in (node.left, *node.comparators)]
            return all(_compare(*pair) for pair in zip(node.ops, values, values[1:], strict=False))
    raise ValueError(f"'{ast.unparse(node)}' is not known")


def _compare(comparison: ast.cmpop, left: Any, right: Any) -> bool:
    if isinstance(comparison, ast.In | ast.NotIn):
        inside = left in right if isinstance(right, str) else any(_compare(ast.Eq(), left, item) for item in right)
        return inside == isinstance(comparison, ast.In)
    compare = _COMPARE[type(comparison).__name__]
    try:
        return bool(compare(float(left), float(right)))
    except ValueError:
        if isinstance(left, str) and isinstance(right, str):
            return bool(compare(left, right))
        if "" in (left, right):
            return isinstance(comparison, ast.NotEq)
        raise
