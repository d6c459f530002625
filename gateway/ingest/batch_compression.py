"""How the batches of the log are compressed: by one compressor that is kept, at its first level.

aiokafka makes a compressor for every batch, clears its tables of a megabyte for some kilobytes of
events, and has no setting for the level. Kept at level 1 it costs a third of that, and the batches
are no larger. So its function is replaced, where its batch builder looks it up.
"""

import sys
from typing import Final

from aiokafka.record.default_records import DefaultRecordBatchBuilder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL: Final = 1

_compressor: Final = zstd.ZstdCompressor(level=LEVEL)
_WHOLE: Final = zstd.ZstdCompressor.FLUSH_FRAME


def compress(batch: bytes) -> bytes:
    """Compress a batch, whole; on the loop's thread alone."""
    return _compressor.compress(batch, _WHOLE)


def use_own_compressor() -> None:
    """Have aiokafka's producers in this process compress their batches with `compress`."""
    builder = sys.modules[DefaultRecordBatchBuilder.__module__]
    assert hasattr(builder, "zstd_encode"), "aiokafka compresses in another way now"
    vars(builder)["zstd_encode"] = compress
