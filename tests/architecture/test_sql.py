"""每个 .sql 文件都在迁移后的库上 PREPARE 一遍：列名写错、语法不通，在这里就红。"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy.orm import configure_mappers

from kaguan.database.metadata import Base
from kaguan.database.pool import Pool
from kaguan.product.tables import metadata
from tests.support.folded import folded
from tests.support.statements import DEFINITION, ROOT, STATEMENTS, name_of


def test_there_are_statements_to_check_and_none_is_passed_over() -> None:
    assert STATEMENTS
    assert set(ROOT.rglob("sql/*.sql")) == {*STATEMENTS, DEFINITION}  # 其余的是表结构，由迁移执行


@folded("path", STATEMENTS)
async def test_every_statement_prepares_against_the_migrated_schema(path: Path, pool: Pool) -> None:
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    statement = re.sub(r"%\((\w+)\)s", number, STATEMENTS[path]).replace("%%", "%")
    async with pool.connection() as connection:
        await connection.execute(f"prepare probe as {statement}".encode())
        await connection.execute("deallocate probe")


def test_what_a_success_writes_is_in_no_index_of_the_record() -> None:
    """成功的结算改哪几列，从语句里读；索引的列与条件都不提它们，那一次更新才是 HOT（docs/adr/0044）。"""
    (settled,) = (STATEMENTS[path] for path in STATEMENTS if path.name == "settle_done.sql")
    (assigned,) = re.findall(r"update tb_task t\s+set (.+?)\s+from", settled, re.DOTALL)
    written = set(re.findall(r"(\w+) = ", assigned))
    assert {"status", "finished_at"} <= written
    for index in metadata.tables["tb_task"].indexes:
        predicate = str(index.dialect_options["postgresql"]["where"])
        assert not written & {*index.columns.keys(), *re.findall(r"\w+", predicate)}, index.name


def test_whoever_ends_a_task_counts_it() -> None:
    """走势看的是 ``tb_ended``：哪条语句写下结束的时间而不记一笔，那里就少了一个。"""
    ending = [path for path in STATEMENTS if re.search(r"finished_at = (?!null)", STATEMENTS[path])]
    assert ending
    assert [name_of(path) for path in ending if "insert into tb_ended" not in STATEMENTS[path]] == []


def test_no_foreign_keys_and_no_relationships() -> None:
    configure_mappers()
    assert not [table.name for table in metadata.tables.values() if table.foreign_keys]
    assert not [m.class_.__name__ for m in Base.registry.mappers if m.relationships]
