"""Pages of Parquet files that say other sizes than the footer."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.parquet import with_other_promise

from asrscale.data import parquet_pages
from asrscale.data.parquet_pages import check_pages


def check(content: bytes) -> None:
    file = io.BytesIO(content)
    metadata = pq.read_metadata(file)
    for group in range(metadata.num_row_groups):
        check_pages(file, metadata, group)


def written(table: pa.Table, **options: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


TEXTS = [f"bad dog {number}" for number in range(5_000)]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip", "brotli", "lz4", "none"])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_what_arrow_writes_is_as_it_says(version: str, compression: str, use_dictionary: bool) -> None:
    columns = {"text": TEXTS, "speaker": ["a", None] * 2_500, "audio": [{"bytes": text.encode()} for text in TEXTS]}
    how = {"data_page_version": version, "compression": compression, "use_dictionary": use_dictionary}
    check(written(pa.table(columns), **how, row_group_size=2_000, data_page_size=10_000, write_page_checksum=True))


def test_a_page_of_which_less_is_promised_is_refused() -> None:
    content = written(pa.table({"text": ["x" * 3_000_000 + "y"]}), compression="zstd", use_dictionary=False)
    assert len(content) < 30_000
    check(content)
    with pytest.raises(ValueError, match=r"the pages of text hold 3,\d+,\d+ bytes, 777 are promised"):
        check(with_other_promise(content, 777))


def test_a_page_too_large_for_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_pages, "_MOST_PAGE_BYTES", 1 << 20)
    content = written(pa.table({"text": [b"x" * (3 << 20)]}), compression="zstd", use_dictionary=False)
    with pytest.raises(ValueError, match="a page of 3,145,"):
        check(content)


@pytest.mark.parametrize(
    "damage", [b"\x00", b"\xff" * 40, b"\x15\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x1c" * 40]
)
def test_what_is_no_page_is_refused(damage: bytes) -> None:
    content = written(pa.table({"text": TEXTS}))
    with pytest.raises(ValueError, match="page"):
        check(content[:4] + damage + content[4 + len(damage) :])


def test_a_header_with_long_statistics_is_read_to_its_end() -> None:
    content = written(pa.table({"text": ["a" * 1_500, "b" * 1_500]}), use_dictionary=False)
    start = pq.read_metadata(io.BytesIO(content)).row_group(0).column(0).data_page_offset
    _, header_bytes = parquet_pages._read_header(io.BytesIO(content), start, len(content))
    assert header_bytes > 1 << 10  # or this shows nothing
    check(content)
