from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from asrscale.data.index import Index, read_index
from asrscale.data.source_columns import UNKNOWN
from asrscale.results.grouping import GROUPINGS, duration_spans, group_values


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


def test_every_utterance_has_a_group_in_each_grouping(valid: Index) -> None:
    speakers = pa.array(["anna", None] + [""] * (len(valid) - 2), pa.large_string())
    values = group_values(replace(valid, speakers=speakers))
    assert set(values) == set(GROUPINGS) and {len(groups) for groups in values.values()} == {len(valid)}
    assert set(values["data_set"]) == {"valid"}
    assert values["speaker"] == ["anna"] + [UNKNOWN] * (len(valid) - 1)
    assert set(values["accent"]) == {"tones"} and set(values["up_votes"]) == {"1"}
    assert set(values["gender"]) == {UNKNOWN}


def test_a_span_of_durations_begins_at_its_edge(valid: Index) -> None:
    seconds = [0.5, 1.0, 1.999, 2.0, 9.99, 10.0, 30.0, 3_000.0]
    some = valid.take(np.arange(len(seconds)))
    spans = duration_spans(replace(some, num_samples=np.array([round(16_000 * duration) for duration in seconds])))
    assert spans == [
        " 0 to 1 s", " 1 to 2 s", " 1 to 2 s", " 2 to 4 s", " 8 to 10 s", "10 to 15 s", "30 to … s", "30 to … s",
    ]  # fmt: skip
    assert sorted(spans) == spans
