"""Columns that say which part of a recording a row is: its start, end and length."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

OFFSET_COLUMN = "offset"  # NeMo's: where a segment starts in its recording, in seconds

LENGTH_COLUMN = "duration"  # NeMo's: how long the recording or segment is, in seconds


# A manifest's durations are rounded; one that is shorter than the recording by more means a part of it.
SEGMENT_TOLERANCE_SECONDS = 0.1

# What gives the rate of a recording whose times are numbers of samples.
RATE_COLUMNS = ("sample_rate", "sampling_rate", "samplerate", "sample_rate_hz", "sampling_rate_hz")

Role: TypeAlias = Literal["start", "end"]
Unit: TypeAlias = Literal["seconds", "milliseconds", "samples", "frames"]

# Other names of columns, with underscores for anything that is no letter and in lower case: start, begin_time,
# segment_end_ms, stop, StartTime, "end (samples)".
_TIME_COLUMN = re.compile(
    r"(?:(?:segment|seg|clip|utterance|utt|audio|speech)_)?"
    r"(?:(?P<start>start|begin)|(?P<end>end|stop))"
    r"(?:_?(?:time|at|pos|position|offset))?"
    r"(?:_?in)?"
    r"(?:_(?:(?P<seconds>s|sec|secs|second|seconds)|(?P<milliseconds>ms|msec|msecs|millis|milliseconds?)"
    r"|(?P<samples>samples?)|(?P<frames>frames?)))?"
)

_SECONDS = re.compile(r"\d+(\.\d*)?(e[-+]?\d{1,2})?", re.ASCII | re.IGNORECASE)

# A number, maybe with its unit behind it.
_NUMBER = re.compile(
    r"(?P<number>\d+(?:\.\d*)?(?:e[-+]?\d{1,2})?) ?"
    r"(?:(?P<seconds>s|secs?|seconds?)|(?P<milliseconds>ms|msecs?|milliseconds?)|(?P<samples>samples?))?",
    re.ASCII | re.IGNORECASE,
)

# [hours:]minutes:seconds, with the decimal comma of subtitles, too.
_CLOCK = re.compile(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:[.,]\d*)?)", re.ASCII)


def read_segment(columns: Mapping[str, str], *, is_cut: bool = False) -> tuple[float | None, float | None]:
    """Returns where a row's segment starts in its recording and how long it is, in seconds.

    NeMo's `offset` and `duration` are seconds. Others' start and end may also be hh:mm:ss, or have the unit
    milliseconds or samples in the name of the column or behind the number.

    Args:
        columns: The columns that are not empty.
        is_cut: Leave columns like `start` and `end` alone.

    Returns:
        The start, None for a whole recording; and the length, None where the row has none.

    Raises:
        ValueError: A time is none, or an end is not after its start; the message names the column.
    """
    start_seconds = _number_of_seconds(OFFSET_COLUMN, columns)
    seconds = _number_of_seconds(LENGTH_COLUMN, columns)
    if start_seconds is not None or is_cut:
        return start_seconds, seconds

    start_column, end_column = (_time_column(role, columns) for role in ("start", "end"))
    if start_column:
        start_seconds = _seconds_of_time(start_column, columns)
    if not end_column:
        return start_seconds, seconds
    if start_seconds is None:
        raise ValueError(f"'{end_column}' is the end of a segment that has no start")
    end_seconds = _seconds_of_time(end_column, columns)
    if end_seconds <= start_seconds:
        end, start = columns[end_column], columns[start_column]
        raise ValueError(f"{end_column} '{end}' is not after {start_column} '{start}'")
    return start_seconds, end_seconds - start_seconds


def is_time(column: str) -> bool:
    """Whether a column has this name because its fields are times."""
    return column in (OFFSET_COLUMN, LENGTH_COLUMN) or _role_and_unit(column) is not None


def _number_of_seconds(column: str, columns: Mapping[str, str]) -> float | None:
    """Returns a column's number of seconds, or None where the row has no such column."""
    if column not in columns:
        return None
    field = columns[column]
    if not _SECONDS.fullmatch(field.strip()):
        raise ValueError(f"{column} '{field}' is no number of seconds")
    return float(field)


def _time_column(role: Role, columns: Mapping[str, str]) -> str:
    """Returns the first column that gives the start, or the end, of a segment; empty where there is none."""
    for column in columns:
        meaning = _role_and_unit(column)
        if meaning and meaning[0] == role:
            return column
    return ""


@lru_cache(maxsize=10_000)  # each row has the same columns
def _role_and_unit(column: str) -> tuple[Role, Unit] | None:
    """Returns what the name of a column says of its fields, or None where they are no times."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column)
    match = _TIME_COLUMN.fullmatch(re.sub(r"[^a-z]+", "_", words.lower()).strip("_"))
    if not match:
        return None
    role: Role = "start" if match["start"] else "end"
    units: tuple[Unit, ...] = ("milliseconds", "samples", "frames")
    return role, next((unit for unit in units if match[unit]), "seconds")


def _seconds_of_time(column: str, columns: Mapping[str, str]) -> float:
    """Returns the time in a column, in seconds; raises ValueError where it has none or its unit is not known."""
    field = columns[column].strip()
    clock = _CLOCK.fullmatch(field)
    if clock:
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))

    number = _NUMBER.fullmatch(field)
    if not number:
        raise ValueError(f"{column} '{field}' is no time in seconds or hh:mm:ss")
    unit = _unit_of(column, number)
    if unit == "milliseconds":
        return float(number["number"]) / 1000
    if unit == "seconds":
        return float(number["number"])
    rate_hz = next((columns[name] for name in RATE_COLUMNS if name in columns), "").strip()
    is_known = unit == "samples" and _SECONDS.fullmatch(rate_hz) and float(rate_hz) > 0
    if not is_known:
        raise ValueError(
            f"{column} '{field}' is a number of {unit}, of which no column '{RATE_COLUMNS[0]}' gives the rate"
        )
    return float(number["number"]) / float(rate_hz)


def _unit_of(column: str, number: re.Match[str]) -> Unit:
    """Returns the unit behind a number, or else that of its column."""
    units: tuple[Unit, ...] = ("seconds", "milliseconds", "samples")
    of_column = _role_and_unit(column)
    return next((unit for unit in units if number[unit]), of_column[1] if of_column else "seconds")
