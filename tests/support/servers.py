"""测试自己的 PostgreSQL 与 Valkey：起到就绪，离开时体面地停；每个用例的库是模板库的副本。"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
from psycopg.errors import ObjectInUse

from kaguan.dev.program import Program, wait_until_ready
from tests.support.eventually import PATIENCE

TEMPLATE = "kaguan_template"
RECORDING = "kaguan_recording"  # 同上，另记历史
# 不等磁盘：杀进程不会丢页缓存。``synchronous_commit`` 仍开着，否则崩溃会丢已答复的提交
UNSYNCED = ("fsync=off", "full_page_writes=off")
# 库可以丢的：不落盘、口令不拉伸，换速度
DISPOSABLE = (*UNSYNCED, "synchronous_commit=off", "autovacuum_naptime=10s", "scram_iterations=1")


def told(program: Program, settings: Sequence[str]) -> Program:
    """PostgreSQL，另加这些设置；同名的以后给的为准。"""
    return replace(program, argv=(*program.argv, *(part for setting in settings for part in ("-c", setting))))


def in_memory_only(program: Program) -> Program:
    """Valkey，不写 AOF。"""
    return replace(program, argv=(*program.argv, "--appendonly", "no"))


def alone(admin: psycopg.Connection, statement: str) -> None:
    """建库、删库的一句：里面还有别的会话，PostgreSQL 只等五秒；断开了的后端轮不到处理器，也还在，就再来。"""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            admin.execute(statement.encode())
        except ObjectInUse:
            if time.monotonic() > until:
                raise
        else:
            return


@contextmanager
def running(program: Program, log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """启动一个服务器直到就绪，离开时体面地停。"""
    with log_file.open("ab") as log:
        process = subprocess.Popen(program.argv, stdout=log, stderr=log, **program.spawn_options())
    try:
        asyncio.run(wait_until_ready(replace(program, ready_timeout=PATIENCE), lambda: process.poll() is None))
        yield process
    finally:
        process.send_signal(program.stop_signal)
        process.wait(timeout=PATIENCE)
