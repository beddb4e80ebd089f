"""一个进程的池，钟与服务器都由备库说；像进程死去那样断开。"""

from __future__ import annotations

from functools import partial
from typing import Any

import psycopg

from kaguan.database.sql import load
from kaguan.outbox.testing.stepped import SteppedConnection, SteppedPool, connect, pids_of
from tests.simulation.process import Process
from tests.simulation.standby import SEARCH_PATH
from tests.support.eventually import PATIENCE

OPTIONS = f"-c statement_timeout={PATIENCE:.0f}s -c search_path={SEARCH_PATH}"


def pool_of(process: Process, spare: list[SteppedConnection], url: str) -> SteppedPool:
    """空闲的连接各进程共用。"""
    return SteppedPool(lambda: process, spare, partial(connect, url, options=OPTIONS))


def terminate(admin: psycopg.Connection[Any], connections: list[SteppedConnection]) -> None:
    """没提交的回滚，等它真的断了。"""
    parameters = {"milliseconds": int(PATIENCE * 1000), "pids": pids_of(connections)}
    admin.execute(load("kaguan.outbox.testing", "terminate"), parameters)
