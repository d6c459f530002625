"""One month of usage events as a Parquet file: written from a COPY, read back into one.

Columns are those of `usage_event`, and the refs that its ids stand for, so that a file can be read
without the database. A quantity is text, because Parquet's decimals have a scale and quantities
have all the digits that they were sent with.
"""

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

ROWS_A_GROUP: Final = 100_000
"""Rows that are in memory at once, written or read."""

_TEXT: Final = pa.string()
_NAME: Final = pa.dictionary(pa.int32(), pa.string())

SCHEMA: Final = pa.schema(
    [
        ("event_ref", _TEXT),
        ("occurred_at", pa.timestamp("us", tz="UTC")),
        ("fingerprint", pa.int64()),
        ("rated_at", pa.int64()),
        ("origin_offset", pa.int64()),
        ("origin_partition", pa.int16()),
        ("shard_key", pa.int32()),
        ("tenant_id", pa.int32()),
        ("customer_id", pa.int32()),
        ("meter_id", pa.int32()),
        ("tenant_ref", _NAME),
        ("customer_ref", _NAME),
        ("usage_product_ref", _NAME),
        ("quantity", _TEXT),
        ("additional_data", _TEXT),
    ]
)

#: What of a file is a row of `usage_event`, in an order of its own.
ROW_COLUMNS: Final = tuple(
    name for name in SCHEMA.names if name not in {"tenant_ref", "customer_ref", "usage_product_ref"}
)

_FORM: Final = csv.ConvertOptions(
    column_types={
        field.name: pa.int64()
        if field.name == "occurred_at"
        else (_TEXT if field.type == _NAME else field.type)
        for field in SCHEMA
    },
    null_values=[""],
    strings_can_be_null=True,
    quoted_strings_can_be_null=False,  # an unquoted nothing is null, a quoted one is an empty text
)


def write_month(source: int, path: Path) -> int:
    """Write a file from what Postgres' COPY sends as CSV with a header; return its rows.

    source: a file descriptor to read from; it is closed. The file appears under its name when it
    is whole and on the disk.
    """
    part = path.with_name(path.name + ".part")
    rows = 0
    with (
        os.fdopen(source, "rb") as stream,
        csv.open_csv(
            stream,
            read_options=csv.ReadOptions(block_size=8 << 20),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=_FORM,
        ) as reader,
        pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer,
    ):
        for batch in reader:
            table = pa.Table.from_batches([batch]).cast(SCHEMA)
            writer.write_table(table, row_group_size=ROWS_A_GROUP)
            rows += batch.num_rows
    _sync(part)
    part.rename(path)
    _sync(path.parent)
    return rows


def _sync(path: Path) -> None:
    """Have a file, or the names in a directory, on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def rows_of(path: Path) -> Iterator[bytes]:
    """Yield a file's rows as CSV for COPY: `ROW_COLUMNS`, no header, nulls unquoted."""
    options = csv.WriteOptions(include_header=False, quoting_style="all_valid")
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS_A_GROUP, columns=list(ROW_COLUMNS)):
            text = BytesIO()
            csv.write_csv(batch.select(ROW_COLUMNS), text, options)
            yield text.getvalue()


async def stream(path: Path) -> AsyncIterator[bytes]:
    """Yield what `rows_of` does, for a driver that asks asynchronously."""
    for chunk in rows_of(path):
        yield chunk


def sha256_of(path: Path) -> bytes:
    """Return the SHA-256 of a file's bytes, as `sha256sum` does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
