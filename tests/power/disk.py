"""一块会断电的盘：写下的先只在眼前，同步过的才在盘上；断电之后，眼前的退回盘上的。

假定的，照着真的盘与 ext4（data=ordered）：

- 一个文件的内容与长短，到 ``fsync``/``fdatasync`` 这个文件才在盘上（``O_SYNC``、``O_DSYNC`` 的写，内核随即来同步）；
- 名字（新建、改名、删除）有两种盘。``posix``：到 ``fsync`` 它所在的目录才在盘上；``journal``：同 ext4，先后是一条日志，
  任何一次同步都把此前的带上。两种盘上改名都不可分：要么旧的，要么新的；
- 断电时没有同步的可以全丢，也可以留下任意一部分（真的盘随时会自己写回）：覆盖的逐个扇区各凭运气，新长出来的只留一段开头
  （文件的长短不跑在内容前面，原来末尾的那一页与它同去留），名字的先后不变，``posix`` 盘上各凭运气，``journal`` 盘上留
  前面一段。

权限与主人当场就在盘上：断电与它们无关。
"""

from __future__ import annotations

import random
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

SECTOR = 512  # 字节：盘一次写成的
PAGE = 4_096  # 字节：文件长出来的那一页整页写下，长短才改
Change: TypeAlias = "tuple[tuple[Directory, bytes, Inode | None], ...]"


@dataclass(eq=False, slots=True)
class Inode:
    number: int
    mode: int
    uid: int
    gid: int
    modified: int = field(default_factory=time.time_ns)


@dataclass(eq=False, slots=True)
class File(Inode):
    """``dirty`` 是眼前与盘上不同的各段。"""

    live: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    dirty: list[tuple[int, int]] = field(default_factory=list)

    def write(self, offset: int, data: memoryview) -> None:
        self.resize(max(len(self.live), offset))
        end = offset + len(data)
        self.live[offset:end] = data
        self._mark(offset, end)

    def resize(self, size: int) -> None:
        if size < len(self.live):
            self._mark(size, len(self.live))
            del self.live[size:]
        elif size > len(self.live):
            self._mark(len(self.live), size)
            self.live.extend(bytes(size - len(self.live)))

    def _mark(self, start: int, end: int) -> None:
        self.modified = time.time_ns()
        if self.dirty and self.dirty[-1][1] == start:
            start, _ = self.dirty.pop()
        self.dirty.append((start, end))

    def sync(self) -> None:
        size = len(self.live)
        del self.durable[size:]
        self.durable.extend(bytes(size - len(self.durable)))
        for start, end in self.dirty:
            self.durable[start:end] = self.live[start:end]
        self.dirty.clear()

    def lose(self, source: random.Random, share: float) -> None:
        """断电：没同步的每个扇区有 ``share`` 的机会留下。"""
        if not self.dirty:
            return
        old, size = len(self.durable), len(self.live)
        for start, end in self.dirty:
            for sector in range(start - start % SECTOR, min(end, old, size), SECTOR):
                if source.random() < share:
                    until = min(sector + SECTOR, old, size)
                    self.durable[sector:until] = self.live[sector:until]
        grown = int((size - old) * share * source.random()) if size > old else 0
        if grown:
            page = old - old % PAGE
            self.durable[page:] = self.live[page : old + grown]
        elif source.random() < share:
            del self.durable[size:]
        self.live = bytearray(self.durable)
        self.dirty.clear()


@dataclass(eq=False, slots=True)
class Directory(Inode):
    live: dict[bytes, Inode] = field(default_factory=dict)
    durable: dict[bytes, Inode] = field(default_factory=dict)


def _apply(change: Change, *, durable: bool) -> None:
    for directory, name, inode in change:
        names = directory.durable if durable else directory.live
        names.pop(name, None)
        if inode is not None:
            names[name] = inode
        directory.modified = time.time_ns()


class Disk:
    """``journal``：名字的先后是一条日志；否则同步了目录才算。"""

    def __init__(self, seed: Path, *, journal: bool) -> None:
        self.journal = journal
        self.off = False
        self._numbers = iter(range(1, 1 << 62))
        self._pending: list[Change] = []
        self.root = self._planted(seed)

    def _planted(self, place: Path) -> Directory:
        """``place`` 里现有的都已在盘上。"""
        status = place.stat()
        directory = Directory(next(self._numbers), status.st_mode, status.st_uid, status.st_gid)
        for path in place.iterdir():
            entry = path.stat()
            if stat.S_ISDIR(entry.st_mode):
                directory.live[path.name.encode()] = self._planted(path)
            else:
                content = bytearray(path.read_bytes())
                directory.live[path.name.encode()] = File(
                    next(self._numbers), entry.st_mode, entry.st_uid, entry.st_gid, live=content, durable=content[:]
                )
        directory.durable = dict(directory.live)
        return directory

    def make(self, directory: Directory, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        kind = Directory if stat.S_ISDIR(mode) else File
        inode = kind(next(self._numbers), mode, uid, gid)
        self.change(((directory, name, inode),))
        return inode

    def change(self, change: Change) -> None:
        """改名字，先只在眼前；一次改动里的几处不可分。"""
        _apply(change, durable=False)
        self._pending.append(change)

    def sync(self, inode: Inode) -> None:
        if isinstance(inode, File):
            inode.sync()
        self._commit([change for change in self._pending if self.journal or self._touches(change, inode)])

    @staticmethod
    def _touches(change: Change, inode: Inode) -> bool:
        return any(directory is inode for directory, _, _ in change)

    def _commit(self, changes: list[Change]) -> None:
        for change in changes:
            _apply(change, durable=True)
            self._pending.remove(change)

    def cut(self, source: random.Random, share: float) -> None:
        """断电。``share`` 0：没同步的全丢；别的：各有这么大的机会留下。"""
        kept = [change for change in self._pending if source.random() < share]
        if self.journal:
            kept = self._pending[: len(kept)]
        self._commit(kept)
        self._pending.clear()
        self.off = True
        for inode in self._on_disk(self.root):
            if isinstance(inode, File):
                inode.lose(source, share)
            elif isinstance(inode, Directory):
                inode.live = dict(inode.durable)

    def _on_disk(self, directory: Directory) -> Iterator[Inode]:
        yield directory
        for inode in directory.durable.values():
            if isinstance(inode, Directory):
                yield from self._on_disk(inode)
            else:
                yield inode
