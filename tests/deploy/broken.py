"""对照：弄坏的新版，装得好好的，与上一版却不能并存；好的新版，换的次序反了。检查必须判它们不合格。"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.releases import Damage
from tests.deploy.rolling import API, RELAY, Roll

CONTRACTION = """from alembic import op

revision = "9999"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table tb_outbox drop column principal")


def downgrade() -> None:
    op.execute("alter table tb_outbox add column principal text")
"""
JOB_ARGUMENT = 'kwargs={"deliveries"'
PAYLOAD_VERSION = "    v: int = 1\n"


@dataclass(frozen=True, slots=True)
class Broken:
    """``name`` 写进文档；``damage`` 弄坏源码；``script`` 走到弄坏的那一步为止；``told`` 是裁判至少要说的话。"""

    name: str
    damage: Damage
    script: Callable[[Roll], Awaitable[None]]
    told: str


def drop_a_column(source: Path) -> None:
    """迁移收得太早：上一版的受理还写着的一列，没有了。"""
    versions = source / "migrations" / "versions"
    head = max(path.name for path in versions.glob("0*.py"))[:4]
    (versions / "9999_contraction.py").write_text(CONTRACTION.format(head=head), "utf-8")


def change_the_job(source: Path) -> None:
    """投递的参数换了名字，上一版的 worker 读不懂。"""
    _change(source / "src" / "kaguan" / "outbox" / "deliver" / "deliveries.py", JOB_ARGUMENT, 'kwargs={"tokens"')


def raise_the_payload(source: Path) -> None:
    """好的新版，载荷高了一版；错的是次序。"""
    _change(source / "src" / "kaguan" / "outbox" / "task_type.py", PAYLOAD_VERSION, "    v: int = 2\n")


def _change(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    if old not in text:
        raise LookupError(f"要弄坏的片段已不在源码里：{old}")
    file.write_text(text.replace(old, new), "utf-8")


async def _migrated(roll: Roll) -> None:
    async with roll.phase("全旧，弄坏的迁移"):
        await roll.migrate("up")


async def _handed_over(roll: Roll) -> None:
    async with roll.phase("弄坏的 relay，旧 worker"):
        await roll.migrate("up")
        await roll.replace(RELAY, roll.new_release)


async def _api_first(roll: Roll) -> None:
    """新 API 写下的，旧 worker 读不懂，留给升级过的。"""
    async with roll.phase("先换 API"):
        await roll.migrate("up")
        await roll.replace(API, roll.new_release)


CONTROLS = (
    Broken("迁移删了旧版还写着的一列", drop_a_column, _migrated, "HTTP 答复在约定之外"),
    Broken("投递的格式旧 worker 读不懂", change_the_job, _handed_over, "未了结的任务"),
    Broken("没有弄坏，载荷高了一版，先换 API、没换 worker", raise_the_payload, _api_first, "未了结的任务"),
)
