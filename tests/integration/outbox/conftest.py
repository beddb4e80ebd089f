"""别的应用的库。"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from kaguan.config import Settings


@pytest.fixture
def empty_database(settings: Settings) -> Iterator[str]:
    """一个没有迁移过的库。"""
    url = settings.database.url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("create database shop")
        yield url.rpartition("/")[0] + "/shop"
        # 不用 force：自动清理正在里面时，应用的角色无权终结它；不用，PostgreSQL 自己请它走，别的会话至多等 5 秒
        admin.execute("drop database shop")
