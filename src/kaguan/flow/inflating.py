"""压缩的正文：收下了才解开，一小块一小块地解，块间让别的请求先走。

aiohttp 自己解压是在读的时候：被拒的请求它也读完才断开，几百 KB 就能占住事件循环一秒；服务器因此一律不许它解。
"""

from __future__ import annotations

import zlib

from kaguan.flow.time_slice import TimeSlice

PIECE = 64 * 1024  # 字节：一口气读这么多，解出这么多，不到一毫秒
ANY_HEADER = zlib.MAX_WBITS | 32  # gzip 与 zlib 的头都认
COMPRESSED = frozenset({"gzip", "deflate"})
GZIP = b"\x1f\x8b"
ZLIB_METHOD = 8  # RFC 1950 §2.2：头一个字节的低四位；不是它就是不带头的 deflate


class CorruptError(Exception):
    """解不开，或不完整。"""


async def inflate(packed: bytes, most: int) -> bytes | None:
    """解开；解出的多于 ``most`` 字节就停手，答 None。

    Raises:
        CorruptError: 解不开，不完整，或后面还跟着别的。
    """
    if not packed:
        return b""
    bare = packed[0] & 0x0F != ZLIB_METHOD and not packed.startswith(GZIP)
    stream = zlib.decompressobj(-zlib.MAX_WBITS if bare else ANY_HEADER)
    time_slice, pieces, left, ended = TimeSlice(), [], most, False
    for start in range(0, len(packed), PIECE):
        tail = packed[start : start + PIECE]
        while tail:
            if ended:
                raise CorruptError
            try:
                piece = stream.decompress(tail, PIECE)
            except zlib.error:
                raise CorruptError from None
            left -= len(piece)
            if left < 0:
                return None
            pieces.append(piece)
            ended = stream.eof
            tail = stream.unused_data if ended else stream.unconsumed_tail
            await time_slice.pause_when_used()
    if not ended:
        raise CorruptError
    return b"".join(pieces)
