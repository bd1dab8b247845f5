"""How much memory the content of a Parquet file takes: two kilobytes of it may hold the same megabyte a thousand times.

What a file says of its own sizes is that of its pages. A column with a dictionary has each of its values once in them.
"""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def check_expanded_size(source: object, metadata: pq.FileMetaData, row_group: int, *, max_bytes: int) -> None:
    """Raises ValueError where the columns of text of a row group are larger than `max_bytes` once they are read.

    Args:
        source: What `pyarrow.parquet.ParquetFile` opens. It is read only where the sizes in `metadata` leave it open.
        metadata: Of the file.
        row_group: The number of the row group.
        max_bytes: Of each column.
    """
    rows = metadata.row_group(row_group).num_rows
    for number in range(metadata.num_columns):
        chunk = metadata.row_group(row_group).column(number)
        size_bytes = int(chunk.total_uncompressed_size)
        may_expand = chunk.has_dictionary_page and size_bytes * rows > max_bytes
        if may_expand and size_bytes <= max_bytes:
            size_bytes = _expanded_bytes(source, metadata, row_group, chunk.path_in_schema)
        if size_bytes > max_bytes:
            raise ValueError(f"{chunk.path_in_schema} has {size_bytes:,} bytes in {rows:,} rows")


def _expanded_bytes(source: object, metadata: pq.FileMetaData, row_group: int, name: str) -> int:
    """Returns the bytes of a column of text in a row group, of which each different value is read once."""
    with pq.ParquetFile(source, metadata=metadata, read_dictionary=[name]) as file:
        column = file.read_row_group(row_group, columns=[name], use_threads=False).column(0)
    total = 0
    for chunk in column.chunks:
        if not isinstance(chunk, pa.DictionaryArray):  # numbers
            return int(column.nbytes)
        lengths = pc.binary_length(chunk.dictionary)
        total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return total
