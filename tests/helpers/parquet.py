"""Parquet files that lie."""

import io

import pyarrow.parquet as pq


def with_other_promise(content: bytes, promised_bytes: int) -> bytes:
    """Returns a file of one column and row group whose footer promises another size than its pages have."""
    chunk = pq.read_metadata(io.BytesIO(content)).row_group(0).column(0)
    honest = _varint(2 * chunk.total_uncompressed_size)
    lie = _varint(2 * promised_bytes, len(honest))
    footer_bytes = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - footer_bytes :]
    assert honest in footer
    return content[: -8 - footer_bytes] + footer.replace(honest, lie)


def _varint(number: int, size: int = 1) -> bytes:
    """Returns a number in 7 bits a byte, in at least so many bytes."""
    digits = []
    while number or len(digits) < size:
        digits.append(number & 0x7F)
        number >>= 7
    return bytes(digit | 0x80 for digit in digits[:-1]) + bytes(digits[-1:])
