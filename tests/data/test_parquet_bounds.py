"""A small file of Parquet that expands is noticed before it does."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asrscale.data.parquet_bounds import check_expanded_size

MEGABYTE = 1_000_000


def check(table: pa.Table, max_bytes: int, *, dictionary: bool) -> int:
    """Checks the only row group of a table's file; returns the size of the file."""
    file = io.BytesIO()
    pq.write_table(table, file, use_dictionary=dictionary)
    size = file.tell()
    file.seek(0)
    check_expanded_size(file, pq.read_metadata(file), 0, max_bytes=max_bytes)
    return size


def test_one_text_a_thousand_times_is_refused_by_its_expanded_size() -> None:
    table = pa.table({"text": pa.array(["x" * MEGABYTE] * 1_000)})
    with pytest.raises(ValueError, match=r"text has 1,000,000,000 bytes in 1,000 rows"):
        check(table, 64 * MEGABYTE, dictionary=True)
    assert check(table, 1_000 * MEGABYTE, dictionary=True) < MEGABYTE


def test_rows_without_a_dictionary_are_as_large_as_their_pages() -> None:
    table = pa.table({"text": pa.array(["x" * 1_000 + str(number) for number in range(1_000)])})
    with pytest.raises(ValueError, match=r"text has [\d,]+ bytes in 1,000 rows"):
        check(table, MEGABYTE, dictionary=False)
    check(table, 2 * MEGABYTE, dictionary=False)


def test_numbers_and_short_texts_pass() -> None:
    table = pa.table({"number": pa.array(range(1_000)), "text": pa.array(["a", "b"] * 500)})
    check(table, MEGABYTE, dictionary=True)
