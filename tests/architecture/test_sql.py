"""每个 .sql 文件都在迁移后的库上 PREPARE 一遍：列名写错、语法不通，在这里就红。"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy.orm import configure_mappers

from kaguan.database.metadata import Base
from kaguan.database.pool import Pool
from kaguan.product.tables import metadata
from tests.support.statements import DEFINITION, ROOT, STATEMENTS, name_of


def test_there_are_statements_to_check_and_none_is_passed_over() -> None:
    assert STATEMENTS
    assert set(ROOT.rglob("sql/*.sql")) == {*STATEMENTS, DEFINITION}  # 其余的是表结构，由迁移执行


@pytest.mark.parametrize("path", STATEMENTS, ids=name_of)
async def test_statement_prepares_against_the_migrated_schema(path: Path, pool: Pool) -> None:
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    statement = re.sub(r"%\((\w+)\)s", number, STATEMENTS[path]).replace("%%", "%")
    async with pool.connection() as connection:
        await connection.execute(f"prepare probe as {statement}".encode())


def test_no_foreign_keys_and_no_relationships() -> None:
    configure_mappers()
    assert not [table.name for table in metadata.tables.values() if table.foreign_keys]
    assert not [m.class_.__name__ for m in Base.registry.mappers if m.relationships]
