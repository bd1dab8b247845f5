"""Columns of times to segments."""

import pytest

from asrscale.sources.segments import is_time, read_segment


@pytest.mark.parametrize(
    ("columns", "start_seconds", "seconds"),
    [
        ({}, None, None),
        ({"duration": "1.5"}, None, 1.5),
        ({"offset": " 2.", "duration": "15e-1"}, 2.0, 1.5),
        ({"offset": "2", "start": "7", "end": "9"}, 2.0, None),
        ({"start": "3", "end": "7.5"}, 3.0, 4.5),
        ({"start_time": "3", "end_time": "7.5", "duration": "100"}, 3.0, 4.5),
        ({"begin": "3", "stop": "7.5"}, 3.0, 4.5),
        ({"Segment Start": "3", "segmentEnd": "7.5"}, 3.0, 4.5),
        ({"starttime": "3", "endtime": "7.5"}, 3.0, 4.5),
        ({"start": "3", "duration": "4.5"}, 3.0, 4.5),
        ({"start": "3"}, 3.0, None),
        ({"start": "0", "end": "1e1"}, 0.0, 10.0),
        ({"start": "1:02:03.25", "end": "01:02:04"}, 3723.25, 0.75),
        ({"start": "00:00:01,500", "end": "00:02"}, 1.5, 0.5),
        ({"start_ms": "3000", "end_ms": "7500"}, 3.0, 4.5),
        ({"startTimeMs": "3000", "End (milliseconds)": "7500"}, 3.0, 4.5),
        ({"start": "3000ms", "end": "7.5 s"}, 3.0, 4.5),
        ({"start_sample": "8000", "end_sample": "24000", "sample_rate": "8000"}, 1.0, 2.0),
        ({"begin": "8000 samples", "end": "24000 samples", "sampling_rate": "8000"}, 1.0, 2.0),
    ],
)
def test_segments(columns: dict[str, str], start_seconds: float | None, seconds: float | None) -> None:
    assert read_segment(columns) == (start_seconds, seconds)


def test_times_of_a_recording_that_is_cut_out_already_are_left_alone() -> None:
    assert read_segment({"start": "3", "end": "7.5"}, is_cut=True) == (None, None)
    assert read_segment({"start": "soon", "offset": "1", "duration": "2"}, is_cut=True) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"duration": "0:03"}, "duration '0:03' is no number of seconds"),
        ({"offset": "-1"}, "offset '-1' is no number of seconds"),
        ({"start": "-1", "end": "2"}, "start '-1' is no time in seconds or hh:mm:ss"),
        ({"start": "1", "end": "NaN"}, "end 'NaN' is no time"),
        ({"start": "1", "stop": "soon"}, "stop 'soon' is no time"),
        ({"start": "1:75", "end": "2"}, "start '1:75' is no time"),
        ({"start": "3", "end": "3"}, "end '3' is not after start '3'"),
        ({"start": "3", "end": "2"}, "end '2' is not after start '3'"),
        ({"end": "2"}, "'end' is the end of a segment that has no start"),
        ({"start_sample": "8000"}, "start_sample '8000' is a number of samples, of which no column 'sample_rate'"),
        ({"start_sample": "8", "sample_rate": "0"}, "start_sample '8' is a number of samples"),
        ({"start_frame": "80", "sample_rate": "16000"}, "start_frame '80' is a number of frames"),
    ],
)
def test_what_is_no_segment_is_refused_by_name(columns: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_segment(columns)
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize("column", ["text", "gender", "started", "weekend", "endpoint", "stopwords", "start_word"])
def test_columns_of_other_things(column: str) -> None:
    assert not is_time(column)
    assert read_segment({column: "x"}) == (None, None)
