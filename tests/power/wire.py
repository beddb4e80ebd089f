"""FUSE 的线上格式（<linux/fuse.h>）与用得着的常数。"""

from __future__ import annotations

import struct
from enum import IntEnum

from tests.power.disk import SECTOR, File, Inode

MINOR = 31  # 协议 7.31：Linux 5.4 起都有
ROOT = 1
FOREVER = 1 << 30  # 秒：没有别人在底下改
MAX_WRITE = 1 << 20
PAGE = 4096
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22  # INIT 的旗
CHANGED_MODE, CHANGED_UID, CHANGED_GID, CHANGED_SIZE = 1, 2, 4, 8  # SETATTR 的旗


class Code(IntEnum):
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    READ = 15
    WRITE = 16
    STATFS = 17
    FSYNC = 20
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    INTERRUPT = 36
    BATCH_FORGET = 42
    FALLOCATE = 43
    RENAME2 = 45


UNANSWERED = frozenset({Code.FORGET, Code.INTERRUPT, Code.BATCH_FORGET})
IN = struct.Struct("<IIQQIIII")
OUT = struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
ENTRY = struct.Struct("<QQQQII")
CHANGES = struct.Struct("<IIQQQQQQIIIIIIII")
SPAN = struct.Struct("<QQQII")  # FALLOCATE
TRANSFER = struct.Struct("<QQIIQII")  # READ、WRITE、READDIR
STARTED = struct.Struct("<IIIIHHIIHHI7I")
SPACE = struct.Struct("<QQQQQIIII6I")
DIRENT = struct.Struct("<QQII")
ROOM = 1 << 26  # 块：空间总是够的
UNKNOWN = ENTRY.pack(0, 0, FOREVER, 0, 0, 0) + bytes(ATTRIBUTES.size)
SPACIOUS = SPACE.pack(ROOM, ROOM, ROOM, ROOM, ROOM, PAGE, 255, PAGE, 0, *[0] * 6)


def started(body: memoryview) -> bytes:
    """INIT 的答复。"""
    readahead, offered = struct.unpack_from("<II", body, 8)
    flags = offered & (BIG_WRITES | MAX_PAGES)
    return STARTED.pack(7, MINOR, readahead, flags, 0, 0, MAX_WRITE, 1, MAX_WRITE // PAGE, 0, 0, *[0] * 7)


def attributes(inode: Inode) -> bytes:
    links, size = (1, len(inode.live)) if isinstance(inode, File) else (2, PAGE)
    seconds, rest = divmod(inode.modified, 10**9)
    return ATTRIBUTES.pack(
        inode.number, size, -(-size // SECTOR), seconds, seconds, seconds, rest, rest, rest, inode.mode,
        links, inode.uid, inode.gid, 0, PAGE, 0,
    )  # fmt: skip
