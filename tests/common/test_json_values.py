"""JSON that may be damaged."""

import pytest

from asrscale.common.json_values import parse_json, parse_object


def test_values_and_objects() -> None:
    assert parse_json(b"[1, null]") == [1, None]
    assert parse_object('{"a": {"b": 1}}') == {"a": {"b": 1}}


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"a":' * 100_000, b"\xff", "1", "[]", "null"])
def test_what_is_no_object_is_a_value_error(content: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(content)
