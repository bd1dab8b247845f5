import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.data.index import Index, read_index
from asrscale.model.recognizer import Recognizer
from asrscale.results.beside import NOTHING, Beside
from asrscale.results.report import ReportFiles, data_set_name, evaluate_data_sets


@pytest.fixture(scope="module")
def world() -> World:
    with distributed.joined_ranks() as joined:
        yield joined


def report(
    recognizer: Recognizer, indexes: dict[str, Index], world: World, files: ReportFiles, beside: Beside = NOTHING
) -> str:
    found = evaluate_data_sets(
        recognizer, indexes, world, files, metric="auto", beside=beside, memory_cap_seconds=40.0, threads=1, cache=None
    )
    assert not found.unwritten
    return found.text


def test_every_data_set_has_a_line_a_breakdown_and_its_files(
    tone_recognizer: Recognizer, tone_shards: Path, world: World, tmp_path: Path
) -> None:
    folders = [str(tone_shards / name) for name in ("valid", "train")]
    indexes = {folder: read_index([folder]) for folder in folders}
    text = report(tone_recognizer, indexes, world, ReportFiles("the model", tmp_path / "out", page=None))
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == folders
    together = lines[3].removeprefix("all data").split()
    assert together[0] == str(sum(map(len, indexes.values()))) and together[2:4] == ["0.00%", "0.00%"]
    of_folders = [line for line in lines[3:] if line.startswith(tuple(folders))]
    assert [line.split(": ")[1][:10] for line in of_folders[:2]] == ["WER 0.00% "] * 2
    assert [line.split(": ")[1] for line in of_folders[2:]] == ["confidence"] * 2
    assert lines[-1] == f"predictions and all rates: {tmp_path / 'out'}/*.jsonl and *.json"
    names = {f"shards-{name}.{kind}" for name in ("valid", "train") for kind in ("json", "jsonl")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for folder, index in indexes.items():
        found = json.loads((tmp_path / "out" / f"{data_set_name(folder)}.json").read_text())
        assert (found["data"], found["model"], found["utterances"]) == (folder, "the model", len(index))
        rows = (tmp_path / "out" / f"{data_set_name(folder)}.jsonl").read_text().splitlines()
        assert [json.loads(row)["key"] for row in rows] == index.keys.to_pylist()


def test_what_cannot_be_written_is_named_and_the_rates_are_there(
    tone_recognizer: Recognizer, tone_shards: Path, world: World, tmp_path: Path
) -> None:
    folders = [str(tone_shards / name) for name in ("valid", "train")]
    (tmp_path / "file").touch()
    files = ReportFiles("the model", tmp_path / "file", page=str(tmp_path / "nowhere" / "page.html"))
    indexes = {folder: read_index([folder]) for folder in folders}
    found = evaluate_data_sets(
        tone_recognizer,
        indexes,
        world,
        files,
        metric="auto",
        beside=NOTHING,
        memory_cap_seconds=40.0,
        threads=1,
        cache=None,
    )
    assert [line.split()[0] for line in found.text.splitlines()[1:3]] == folders
    predictions, page = found.unwritten[:2]
    assert str(tmp_path / "file") in predictions and "nowhere/page.html: No such file" in page
    assert len(found.unwritten) == 4


def test_names_of_prediction_files_stay_apart() -> None:
    assert data_set_name("a/cv/test") == "cv-test" != data_set_name("a/orders/test")


def test_data_sets_of_different_scripts_have_a_table_each(
    tone_recognizer: Recognizer, tone_shards: Path, world: World, tmp_path: Path
) -> None:
    english = read_index([str(tone_shards / "valid")])
    chinese = dataclasses.replace(english, characters=Counter("你好"))
    text = report(tone_recognizer, {"en": english, "zh": chinese}, world, ReportFiles("m", tmp_path, page=None))
    lines = text.splitlines()
    assert [line.split()[3] for line in lines if line.startswith("data ")] == ["WER", "CER"]
    assert [line.split()[0] for line in lines[1:4:2]] == ["en", "zh"]
    assert lines[4].startswith("en: WER decides: 0% of the letters") and lines[5].startswith("zh: CER decides: 100% of")


def test_the_last_line_has_the_rates_of_all_utterances_and_not_the_mean_of_rates(
    tone_recognizer: Recognizer, tone_shards: Path, world: World, tmp_path: Path
) -> None:
    right = read_index([str(tone_shards / "valid")])
    few = right.take(np.arange(5))
    wrong = dataclasses.replace(few, texts=pa.array(["bad dog"] * len(few), pa.large_string()))
    files = ReportFiles("m", tmp_path, page=None)
    beside = Beside(english=lambda text: " ".join(word for word in text.split() if word != "bad"))
    text = report(tone_recognizer, {"right": right, "wrong": wrong}, world, files, beside)
    line = text.splitlines()[3].removeprefix("all data").split()
    found = [json.loads((tmp_path / f"{data_set_name(name)}.json").read_text()) for name in ("right", "wrong")]
    assert line[0] == str(len(right) + 5)
    assert line[2] == rate_of(found, "wer", "words") and line[3] == rate_of(found, "cer", "characters")
    english = [one["english"] for one in found]
    assert line[-2:] == [rate_of(english, "wer", "words"), rate_of(english, "cer", "characters")]
    assert len({line[2], line[-2], "0.00%"}) == 3


def rate_of(found: list[dict[str, float]], metric: str, size: str) -> str:
    """The error rate of data sets together, as the table shows it."""
    edits = sum(round(one[metric] * one[size]) for one in found)
    return f"{edits / sum(one[size] for one in found):.2%}"
