import json
from pathlib import Path
from typing import Any

import pytest
from helpers.folders import make_folder

from asrscale.common.errors import CliError
from asrscale.data.index import Index, read_index
from asrscale.results.other_evaluation import read_other, read_others


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return read_index([str(make_folder(tmp_path / "cv" / "valid", (2, 1)))])


def rows_of(index: Index) -> list[dict[str, Any]]:
    keys, texts = index.keys.to_pylist(), index.texts.to_pylist()
    return [{"key": key, "reference": text, "hypothesis": "so"} for key, text in zip(keys, texts, strict=True)]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_hypotheses_come_by_their_keys_in_any_order(index: Index, tmp_path: Path) -> None:
    other = read_other("--compare", write(tmp_path / "o.jsonl", rows_of(index)[::-1]), index)
    assert other.hypotheses == dict.fromkeys(index.keys.to_pylist(), "so")


def test_references_may_be_written_in_another_form(index: Index, tmp_path: Path) -> None:
    rows = [row | {"reference": row["reference"].upper() + "."} for row in rows_of(index)]
    assert len(read_other("--compare", write(tmp_path / "o.jsonl", rows), index).hypotheses) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:2], "is of other utterances: 1 of --data are not in it, such as valid-00000003"),
        (lambda rows: [], "3 of --data are not in it"),
        (lambda rows: [*rows, rows[0] | {"key": "more"}], "is of other utterances: more is not in --data"),
        (lambda rows: [*rows, rows[0]], "line 4: valid-00000001 is there twice"),
        (lambda rows: [rows[0] | {"reference": "else"}, *rows[1:]], "'else', not 'text 1' as in --data"),
        (lambda rows: [{"key": "valid-00000001"}, *rows[1:]], "line 1 has no key, reference and hypothesis"),
        (lambda rows: [rows[0] | {"hypothesis": None}, *rows[1:]], "line 1 has no key, reference and hypothesis"),
        (lambda rows: ["text"], "line 1 is no JSON object"),
    ],
)
def test_other_utterances_and_references_are_refused_in_one_line(
    change: Any, message: str, index: Index, tmp_path: Path
) -> None:
    path = write(tmp_path / "o.jsonl", change(rows_of(index)))
    with pytest.raises(CliError) as caught:
        read_other("--compare", path, index)
    line = str(caught.value)
    assert line.startswith(f"--compare {path} ") and message in line and "\n" not in line
    assert line.endswith("such as OTHER/eval/NAME.jsonl")


def test_what_is_no_file_of_predictions_is_refused(index: Index, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    for name in ("nowhere.jsonl", ".", "page.html", "bytes.jsonl", "deep.jsonl"):
        with pytest.raises(CliError, match="cannot be read") as caught:
            read_other("--seeds", str(tmp_path / name), index)
        assert "\n" not in str(caught.value)
    path = write(tmp_path / "o.jsonl", rows_of(index))
    with pytest.raises(CliError, match="--compare: a file is given twice"):
        read_others("--compare", [path, str(tmp_path / "cv" / ".." / "o.jsonl")], index)


def test_utterances_that_were_damaged_there_may_be_missing(index: Index, tmp_path: Path) -> None:
    path = write(tmp_path / "o.jsonl", rows_of(index)[:2])
    (tmp_path / "o.json").write_text(json.dumps({"damaged": ["valid-00000003"]}))
    assert len(read_other("--compare", path, index).hypotheses) == 2
    (tmp_path / "o.json").write_text(json.dumps({"damaged": ["valid-00000001"]}))
    with pytest.raises(CliError, match="such as valid-00000003"):
        read_other("--compare", path, index)
