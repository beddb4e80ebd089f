"""一次挂载：内核的请求，由 :mod:`tests.power.disk` 答复。"""

from __future__ import annotations

import errno
import itertools
import os
import random
import stat
import struct
from collections.abc import Callable
from typing import NoReturn

from tests.power import wire
from tests.power.disk import Directory, Disk, File, Inode
from tests.power.wire import ROOT, Code

Handler = Callable[["Inode", memoryview], bytes | bytearray]

CONTROL = b".power"


def refuse(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


def _directory(inode: Inode) -> Directory:
    return inode if isinstance(inode, Directory) else refuse(errno.ENOTDIR)


def _file(inode: Inode) -> File:
    return inode if isinstance(inode, File) else refuse(errno.EISDIR)


class Session:
    """一次挂载，从挂上到卸下。"""

    def __init__(self, disk: Disk, device: int) -> None:
        self._disk = disk
        self._device = device
        self._control = File(ROOT, stat.S_IFREG | 0o600, disk.root.uid, disk.root.gid)
        self._nodes: dict[int, Inode] = {ROOT: disk.root}
        self._numbers: dict[Inode, int] = {disk.root: ROOT}
        self._known: dict[int, int] = {}
        self._fresh = itertools.count(ROOT + 1)
        self._listings: dict[int, list[bytes]] = {}
        self._handles = itertools.count(1)
        self._caller = (0, 0)
        self._handlers: dict[int, Handler] = {
            Code.LOOKUP: self._lookup, Code.GETATTR: self._getattr, Code.SETATTR: self._setattr,
            Code.MKNOD: self._mknod, Code.MKDIR: self._mkdir, Code.UNLINK: self._unlink, Code.RMDIR: self._rmdir,
            Code.RENAME: self._rename, Code.RENAME2: self._rename2, Code.READ: self._read, Code.WRITE: self._write,
            Code.STATFS: self._statfs, Code.FSYNC: self._fsync, Code.FSYNCDIR: self._fsync, Code.INIT: self._init,
            Code.OPENDIR: self._opendir, Code.READDIR: self._readdir, Code.RELEASEDIR: self._releasedir,
            Code.FALLOCATE: self._fallocate,
        }  # fmt: skip

    def serve(self) -> None:
        """到卸下为止。"""
        buffer = bytearray(wire.MAX_WRITE + wire.PAGE)
        view = memoryview(buffer)
        while True:
            try:
                size = os.readv(self._device, [buffer])
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in {errno.ENOENT, errno.EINTR, errno.EAGAIN}:
                    continue
                raise
            self._serve_one(view[:size])

    def _serve_one(self, request: memoryview) -> None:
        _, code, unique, node, uid, gid, _, _ = wire.IN.unpack_from(request)
        body = request[wire.IN.size :]
        if code in wire.UNANSWERED:
            self._forget(code, node, body)
            return
        self._caller = (uid, gid)
        failure, answer = 0, b""
        try:
            if self._disk.off:
                refuse(errno.EIO)
            handler = self._handlers.get(code)
            if handler is None:  # 内核记住，不再来问；OPEN、CREATE、FLUSH 都用不着
                refuse(errno.ENOSYS)
            answer = bytes(handler(self._nodes[node or ROOT], body))
        except OSError as error:
            failure = -(error.errno or errno.EIO)
        try:
            os.writev(self._device, [wire.OUT.pack(wire.OUT.size + len(answer), failure, unique), answer])
        except OSError as error:
            if error.errno != errno.ENOENT:  # 问的人已被杀
                raise

    # ---- 名字

    def _entry(self, inode: Inode) -> bytes:
        number = self._numbers.get(inode)
        if number is None:
            number = self._numbers[inode] = next(self._fresh)
            self._nodes[number] = inode
        self._known[number] = self._known.get(number, 0) + 1
        return wire.ENTRY.pack(number, 0, wire.FOREVER, wire.FOREVER, 0, 0) + wire.attributes(inode)

    def _forget(self, code: int, node: int, body: memoryview) -> None:
        if code == Code.INTERRUPT:  # 没有答得慢的请求
            return
        alone = code == Code.FORGET
        for number, times in [(node, *struct.unpack("<Q", body))] if alone else struct.iter_unpack("<QQ", body[8:]):
            self._known[number] = self._known.get(number, 0) - times
            if self._known[number] <= 0 and number != ROOT:
                del self._known[number]
                self._numbers.pop(self._nodes.pop(number), None)

    def _lookup(self, parent: Inode, body: memoryview) -> bytes:
        name = bytes(body[:-1])
        if name == CONTROL and parent is self._disk.root:
            return self._entry(self._control)
        inode = _directory(parent).live.get(name)
        return wire.UNKNOWN if inode is None else self._entry(inode)

    def _mknod(self, parent: Inode, body: memoryview) -> bytes:
        return self._made(parent, struct.unpack_from("<I", body)[0], body[16:])

    def _mkdir(self, parent: Inode, body: memoryview) -> bytes:
        return self._made(parent, struct.unpack_from("<I", body)[0] | stat.S_IFDIR, body[8:])

    def _made(self, parent: Inode, mode: int, rest: memoryview) -> bytes:
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            refuse(errno.EPERM)
        return self._entry(self._disk.make(_directory(parent), bytes(rest[:-1]), mode, *self._caller))

    def _unlink(self, parent: Inode, body: memoryview) -> bytes:
        directory, name = _directory(parent), bytes(body[:-1])
        if name not in directory.live:
            refuse(errno.ENOENT)
        self._disk.change(((directory, name, None),))
        return b""

    def _rmdir(self, parent: Inode, body: memoryview) -> bytes:
        target = _directory(parent).live.get(bytes(body[:-1]))
        if isinstance(target, Directory) and target.live:
            refuse(errno.ENOTEMPTY)
        return self._unlink(parent, body)

    def _rename(self, parent: Inode, body: memoryview, names: int = 8) -> bytes:
        old, new, _ = bytes(body[names:]).split(b"\0")
        source = _directory(parent)
        target = _directory(self._nodes[struct.unpack_from("<Q", body)[0]])
        inode = source.live.get(old)
        if inode is None:
            refuse(errno.ENOENT)
        self._disk.change(((source, old, None), (target, new, inode)))
        return b""

    def _rename2(self, parent: Inode, body: memoryview) -> bytes:
        if struct.unpack_from("<QI", body)[1]:  # RENAME_NOREPLACE、RENAME_EXCHANGE
            refuse(errno.EINVAL)
        return self._rename(parent, body, names=16)

    def _opendir(self, inode: Inode, _body: memoryview) -> bytes:
        handle = next(self._handles)
        self._listings[handle] = list(_directory(inode).live)
        return struct.pack("<QII", handle, 0, 0)

    def _readdir(self, inode: Inode, body: memoryview) -> bytearray:
        handle, offset, size, *_ = wire.TRANSFER.unpack_from(body)
        answer = bytearray()
        names = self._listings[handle]
        for position in range(offset, len(names)):
            name = names[position]
            child = _directory(inode).live.get(name)
            if child is None:  # 列到一半，没了
                continue
            entry = wire.DIRENT.pack(child.number, position + 1, len(name), stat.S_IFMT(child.mode) >> 12)
            padded = entry + name + bytes(-len(name) % 8)
            if len(answer) + len(padded) > size:
                break
            answer += padded
        return answer

    def _releasedir(self, _inode: Inode, body: memoryview) -> bytes:
        self._listings.pop(struct.unpack_from("<Q", body)[0], None)
        return b""

    # ---- 内容

    def _getattr(self, inode: Inode, _body: memoryview) -> bytes:
        return struct.pack("<QII", wire.FOREVER, 0, 0) + wire.attributes(inode)

    def _setattr(self, inode: Inode, body: memoryview) -> bytes:
        changes = wire.CHANGES.unpack_from(body)
        valid, size, mode, uid, gid = changes[0], changes[3], changes[11], changes[13], changes[14]
        if valid & wire.CHANGED_SIZE:
            _file(inode).resize(size)
        if valid & wire.CHANGED_MODE:
            inode.mode = mode
        if valid & wire.CHANGED_UID:
            inode.uid = uid
        if valid & wire.CHANGED_GID:
            inode.gid = gid
        return self._getattr(inode, body)

    def _read(self, inode: Inode, body: memoryview) -> bytearray:
        _, offset, size, *_ = wire.TRANSFER.unpack_from(body)
        return _file(inode).live[offset : offset + size]

    def _write(self, inode: Inode, body: memoryview) -> bytes:
        _, offset, size, *_ = wire.TRANSFER.unpack_from(body)
        data = body[wire.TRANSFER.size : wire.TRANSFER.size + size]
        if inode is self._control:
            share, seed = bytes(data).split()
            self._disk.cut(random.Random(seed), float(share))
        else:
            _file(inode).write(offset, data)
        return struct.pack("<II", size, 0)

    def _fallocate(self, inode: Inode, body: memoryview) -> bytes:
        _, offset, length, mode, _ = wire.SPAN.unpack_from(body)
        if mode:  # 打洞之类
            refuse(errno.EOPNOTSUPP)
        file = _file(inode)
        file.resize(max(len(file.live), offset + length))
        return b""

    def _fsync(self, inode: Inode, _body: memoryview) -> bytes:
        self._disk.sync(inode)
        return b""

    # ---- 整个

    def _init(self, _inode: Inode, body: memoryview) -> bytes:
        return wire.started(body)

    def _statfs(self, _inode: Inode, _body: memoryview) -> bytes:
        return wire.SPACIOUS
