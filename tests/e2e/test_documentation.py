"""文档为真：README、使用指南与运维手册印着的命令，在真实的一套栈上原样运行；指南里的表与代码一致。"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psycopg
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from api.console.monitor import ROOT as MONITOR
from api.console.registered import routes as console_routes
from api.routes import ROUTES
from kaguan.cli.app import app
from kaguan.cli.configuration import flatten
from kaguan.config import Exemption
from kaguan.config.loading import CONFIG_FILE_VARIABLE, known_keys
from kaguan.config.settings import Settings
from kaguan.database.metadata import Base
from kaguan.outbox.vocabulary import TaskEventKind, TaskStatus
from kaguan.product.task_types import NAMES
from kaguan.words.errors import MEANINGS
from tests.e2e.stack import RunningStack, clean_environment, started
from tests.support import warm
from tests.support.declared_metrics import everywhere
from tests.support.eventually import PATIENCE, eventually
from tests.support.repository import ROOT
from workers.email.receipt import Outage

README = ROOT / "README.md"
GUIDES = ROOT / "docs" / "002-sqlalchemy-postgres-saq"
SUMMARY, MANUAL, ARCHITECTURE, HANDBOOK = (
    GUIDES / f"{name}.md" for name in ("功能总结", "使用指南", "架构说明", "运维手册")
)
PRINTED_PORT = ":8080/"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(kaguan(?: [a-z][a-z-]*)+(?: --[a-z-]+)?)[^`]*`")
COMMAND = re.compile(r"\bkaguan((?: [a-z][a-z-]*)+)")
NOT_RUN_HERE = "# 不跑："  # 块的第一行；后面是缘由
SHIPPED_FILE = re.compile(r"(?<![\w/.])(?:deploy/|observability/|migrations/|src/|requirements)[\w./@*-]*")
MADE_THERE = ("deploy/secrets",)  # 用的人自己造的
DOCUMENTED_CODE = re.compile(r"^# 应答 code (\d+)$", re.MULTILINE)
# 应答不是信封的：事件流、指标、文档、CSV
NOT_ENVELOPE = ("/events", "/metrics", "/openapi.json", "/docs", "text/csv")
ROLES = {"kaguan_owner", "kaguan_app", "kaguan_read"}  # PostgreSQL 的角色，不是指标
REVIVES = ("kaguan task retry", "kaguan task replay", '"dry_run": false')  # 这些块要有失败的任务可重来
FAILS_AT_ONCE = {"KAGUAN_TASKS__MAX_RETRIES": "0"}
LOOK = re.compile(r"kaguan doctor|curl -s \S+/health$")
GIVEN_UP = (
    "delete from tb_outbox where task_id = %(task_id)s",
    """
    update tb_task set status = 'failed', attempt = max_attempts, available_at = now(), finished_at = now(),
        last_error = '{"reason": "1 次尝试用尽：暂时未能投递"}'
    where id = %(task_id)s
    """,
)
# 起进程的命令由别的端到端测试覆盖；降级会毁掉正在用的库
# 起了不停的、要有不明的、在跑的、还没开始的任务的
NOT_RUN = {
    *("up", "api", "relay", "console", "migrate down"),
    *("task resolve", "task stack", "task change", "worker drain", "acknowledge", "verdict remind"),
}


@dataclass(frozen=True, slots=True)
class Block:
    """一个要原样运行的代码块。"""

    document: str
    text: str

    @property
    def expected_codes(self) -> list[int]:
        """各信封应有的码：没有注明就是 0。"""
        documented = DOCUMENTED_CODE.search(self.text)
        code = int(documented[1]) if documented else 0
        commands = self.text.replace("\\\n", " ").splitlines()
        return [
            code for line in commands if line.startswith("curl ") and not any(path in line for path in NOT_ENVELOPE)
        ]


def parted(block: Block) -> tuple[Block, Block]:
    """只看一眼的几行，与别的。"""
    lines = block.text.splitlines(keepends=True)
    looks = [line for line in lines if LOOK.match(line)]
    rest = [line for line in lines if line not in looks]
    return replace(block, text="".join(looks)), replace(block, text="".join(rest))


def blocks(document: Path) -> list[Block]:
    """会碰到栈的 ``sh`` 块，按次序。"""
    found = [Block(document.name, text) for text in fenced(document, "sh") if not text.startswith(NOT_RUN_HERE)]
    return [block for block in found if "curl " in block.text or re.search(r"\bkaguan ", block.text)]


def fenced(document: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(document.read_text("utf-8")) if kind == language]


def not_run_yet(handbook: list[Block], others: list[Block]) -> list[Block]:
    """手册里有新行的块：只有别处原样跑过的几行的，不必再跑。"""
    ran = {line for block in others for line in block.text.splitlines()}
    return [block for block in handbook if not ran.issuperset(block.text.splitlines())]


def envelopes(output: str) -> Iterator[dict[str, Any]]:
    """输出里首尾相接的信封；夹在其间的命令输出不理。"""
    decoder, position = json.JSONDecoder(), 0
    while (start := output.find('{"', position)) >= 0:
        value, position = decoder.raw_decode(output, start)
        if "code" in value and "request_id" in value:
            yield value


def run(block: Block, stack: RunningStack) -> str:
    """在数据目录之上一级、用新的 shell 运行；只把端口换成这一套的，``kaguan`` 由热着的解释器跑。

    返回哪里不对：做不成，或信封的码不是写着的；都对是空的。
    """
    command, descriptor, asking = warm.kaguan()
    quick = f'kaguan() {{ {shlex.join(command)} "$@"; }}\n'
    script = quick + block.text.replace(PRINTED_PORT, f":{stack.env['KAGUAN_API__PORT']}/")
    assert PRINTED_PORT in block.text or "curl " not in block.text, (
        f"{block.document}：地址应为 127.0.0.1{PRINTED_PORT}"
    )
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        env=clean_environment(PATH=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])), **asking),
        pass_fds=[descriptor],
        cwd=stack.data.parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    codes = [one["code"] for one in envelopes(done.stdout)]
    is_right = done.returncode == 0 and codes == block.expected_codes
    return "" if is_right else f"{block.document}：\n{block.text}\n{done.stdout}\n{done.stderr}"


async def look(block: Block, stack: RunningStack) -> None:
    """看的是那一刻：忙的机器上一时没有问到的，再问。"""
    wrong = ""

    async def seen() -> bool:
        nonlocal wrong
        wrong = await asyncio.to_thread(run, block, stack)
        return not wrong

    try:
        await eventually(seen)
    except AssertionError as error:
        error.add_note(wrong)
        raise


async def reaches(stack: RunningStack, task_id: str, wanted: TaskStatus) -> None:
    def there() -> bool:
        status, answer = stack.request("GET", f"/api/v1/tasks/{task_id}")
        return status == HTTPStatus.OK and answer["data"]["status"] == wanted

    await eventually(there)


async def failed_mail(stack: RunningStack) -> str:
    """一封失败了的邮件。中继不在从不算失败，自带的收件端又什么都收：定时到明天的一封，当作已用尽了次数。"""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    mail = {"to": ["a@example.com"], "subject": "先失败", "body": "后成功", "schedule_at": tomorrow}
    status, answer = stack.request("POST", "/api/v1/tasks/email", mail)
    assert status == HTTPStatus.ACCEPTED, answer
    task_id: str = answer["data"]["task_id"]
    async with await psycopg.AsyncConnection.connect(stack.env["KAGUAN_DATABASE__URL"]) as connection:
        for statement in GIVEN_UP:
            await connection.execute(statement, {"task_id": task_id})
    await reaches(stack, task_id, TaskStatus.FAILED)
    return task_id


def leaf_commands(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[str]:
    """命令树的全部叶子，如 ``task list``。"""
    for name, child in group.commands.items():
        if isinstance(child, TyperGroup):
            yield from leaf_commands(child, (*path, name))
        else:
            yield " ".join((*path, name))


def commands() -> set[str]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return set(leaf_commands(group))


async def test_every_printed_command_works_on_a_fresh_stack(place: Path) -> None:
    async with started(place / ".kaguan", place / "log", extra=FAILS_AT_ONCE) as stack:
        others = [*blocks(README), *blocks(MANUAL)]
        for block in (*others, *not_run_yet(blocks(HANDBOOK), others)):
            looking, doing = parted(block)
            if looking.text:
                await look(looking, stack)
            failed = await failed_mail(stack) if any(part in block.text for part in REVIVES) else None
            assert await asyncio.to_thread(run, doing, stack) == ""
            if failed is not None:
                await reaches(stack, failed, TaskStatus.SUCCEEDED)
        for statement in fenced(HANDBOOK, "sql"):
            async with await psycopg.AsyncConnection.connect(stack.env["KAGUAN_DATABASE__URL"]) as connection:
                await connection.execute(statement.encode())
        first = next(line for line in stack.output.splitlines() if "curl -sS" in line)
        assert stack.url in first


def test_every_command_is_printed_in_the_manual() -> None:
    printed = "\n".join(block.text for block in blocks(MANUAL))
    assert commands() >= NOT_RUN
    missing = {name for name in commands() - NOT_RUN if not re.search(rf"\bkaguan {name}\b", printed)}
    assert not missing


def test_every_command_named_in_the_text_exists() -> None:
    named = {
        name
        for path in (README, SUMMARY, MANUAL, ARCHITECTURE, HANDBOOK)
        for name in INLINE.findall(path.read_text("utf-8"))
    }
    assert named
    for name in sorted(named):
        arguments = name.split()[1:]
        words = [argument for argument in arguments if not argument.startswith("--")]
        result = CliRunner().invoke(app, [*words, "--help"])
        assert result.exit_code == 0, name
        assert all(argument in result.stdout for argument in arguments if argument.startswith("--")), name


def test_what_the_handbook_does_not_run_says_why_and_names_commands_and_files_that_exist() -> None:
    left = [text for text in fenced(HANDBOOK, "sh") if text.startswith(NOT_RUN_HERE)]
    assert left
    for text in left:
        reason, _, body = text.partition("\n")
        assert len(reason) > len(NOT_RUN_HERE) + 5
        for words in COMMAND.findall(body):
            assert any(f"{words.strip()} ".startswith(f"{name} ") for name in commands()), words
        for name in SHIPPED_FILE.findall(text):
            assert name.startswith(MADE_THERE) or list(ROOT.glob(name)), name


def test_the_handbook_names_only_metrics_and_keys_that_exist() -> None:
    text = HANDBOOK.read_text("utf-8")
    named = {name.removesuffix("_total") for name in re.findall(r"`(kaguan_[a-z_]+)`", text)} - ROLES
    assert named
    assert named <= {family.name for family in everywhere()[0].registry.collect()}
    assert set(re.findall(r"\bKAGUAN_[A-Z_]+[A-Z]\b", text)) <= known_keys()


def test_the_page_of_an_outage_of_the_relay_explains_every_reason() -> None:
    page = HANDBOOK.read_text("utf-8").partition("### SmtpOutage")[2].partition("\n### ")[0]
    named = page.partition("的 `reason`")[2]
    assert set(re.findall(r"`([a-z]+)`", named)) == set(Outage)


def test_the_configuration_table_is_the_code() -> None:
    documented = dict(re.findall(r"^\| `(KAGUAN_[A-Z_]+)` \| ([^|]*) \|", MANUAL.read_text("utf-8"), re.MULTILINE))
    assert set(documented) == known_keys() - {CONFIG_FILE_VARIABLE}
    defaults = dict(flatten(Settings.model_construct(), "KAGUAN_"))
    assert documented == {key: _shown(value) for key, value in defaults.items()}


def test_the_table_of_exemptions_is_the_code() -> None:
    section = MANUAL.read_text("utf-8").partition("### 生产里不许变弱的")[2].partition("\n## ")[0]
    assert re.findall(r"^\| .+ \| `([a-z_]+)` \|$", section, re.MULTILINE) == list(Exemption)


def _shown(value: object) -> str:
    match value:
        case None:
            return "不设"
        case "" | []:
            return "空"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.12g}"
        case _:
            return str(value)


def test_the_table_of_codes_is_the_code() -> None:
    printed = re.findall(r"^\| (\d+) \| ([\d ]+) \|", MANUAL.read_text("utf-8"), re.MULTILINE)
    documented = {int(code): statuses.split() for code, statuses in printed}
    assert set(documented) == {int(code) for code in MEANINGS}
    for code, meaning in MEANINGS.items():
        assert str(int(meaning.status)) in documented[int(code)], code


def test_the_summary_lists_every_route_and_task_type() -> None:
    text = SUMMARY.read_text("utf-8")
    listed = {(method, path) for method, path in re.findall(r"`([A-Z]+) (/[^`]*)`", text)}
    served = {(route.method, route.pattern) for route in ROUTES}
    served |= {(route.method, route.path) for route in console_routes()}
    assert {(method, path) for method, path in listed if not path.startswith(MONITOR)} == served
    assert ("GET", MONITOR) in listed
    for task_type in NAMES:
        assert f"`{task_type}`" in text
    for name in commands():
        assert f"`kaguan {name}" in text, name


def test_the_architecture_names_every_table_state_and_event() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    assert "stateDiagram-v2" in text
    for name in (*Base.metadata.tables, *TaskStatus, *TaskEventKind):
        assert name in text, name


def test_the_readme_starts_with_the_summary_in_chinese() -> None:
    title, summary = README.read_text("utf-8").split("\n\n")[:2]
    assert title.startswith("# ")
    assert re.search(r"[\u4e00-\u9fff]", summary)
    assert 2 <= summary.count("。") <= 4
