"""多进程共写一个日志文件：一行一次追加写，按大小轮转，轮转由文件锁串行；标准库的会丢行（docs/adr/0031）。"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

STALE_CHECK = 1.0  # 秒；多久看一次文件是否已被别的进程换掉
MODE = 0o640


class RotatingFile:
    """追加写的日志文件。

    ``O_APPEND`` 下一次 ``write`` 若干整行，内核保证各进程的行不交错（POSIX write(2)）。超过 ``max_bytes`` 时，在旁边的
    ``.lock`` 上取排他锁再改名；拿到锁后先看 inode，别的进程已经换过就只需重开。写之前看大小不加锁，所以每个进程至多
    多写一次。写失败（盘满等）只计数，
    日志不该拖垮业务。

    Attributes:
        dropped: 因写失败而丢的行数。
    """

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._mutex = threading.Lock()
        self._fd = self._open()
        self._checked_at = time.monotonic()
        self.dropped = 0

    def write(self, lines: bytes) -> None:
        """写一行或几行（自带换行），总在同一个文件里。关闭之后的写入忽略。"""
        with self._mutex:
            if self._fd < 0:
                return
            try:
                self._make_room(len(lines))
                os.write(self._fd, lines)
            except OSError:
                self.dropped += lines.count(b"\n")

    def close(self) -> None:
        with self._mutex:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)

    def _make_room(self, length: int) -> None:
        size = os.fstat(self._fd).st_size
        if size and size + length > self._max_bytes:
            self._rotate(length)
            return
        now = time.monotonic()
        if now - self._checked_at >= STALE_CHECK:
            self._checked_at = now
            if self._is_stale():
                self._reopen()

    def _rotate(self, length: int) -> None:
        lock = os.open(f"{self._path}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_stale():
                self._reopen()
            size = os.fstat(self._fd).st_size
            if size and size + length > self._max_bytes:
                self._shift()
                self._reopen()
        finally:
            os.close(lock)

    def _shift(self) -> None:
        if not self._backups:
            self._path.unlink(missing_ok=True)
            return
        for number in range(self._backups - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        if self._path.exists():
            self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _is_stale(self) -> bool:
        try:
            current = self._path.stat()
        except FileNotFoundError:
            return True
        ours = os.fstat(self._fd)
        return (current.st_ino, current.st_dev) != (ours.st_ino, ours.st_dev)

    def _reopen(self) -> None:
        replaced, self._fd = self._fd, self._open()
        os.close(replaced)
