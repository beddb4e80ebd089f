"""命令行对着真实的库：迁移、令牌、任务、发件箱、体检。"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from redis import Redis

from kaguan.audit.command_line import actor
from kaguan.dev.dev_token import ensure_dev_token
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Submission, accept_one
from kaguan.tokens.service import SCOPES, authenticate
from tests.support.eventually import eventually
from tests.support.in_hand import HAND
from tests.support.invocation import LISTING, Invocation

# 列任务装载的第三方包，与为什么；SAQ、Redis 的客户端、ORM、HTTP、日志与终端的库都不在其中
LOADS = {
    "kaguan": "它自己",
    "typer": "命令行",
    "annotated_doc": "typer 要",
    "shellingham": "typer 要",
    "psycopg": "PostgreSQL",
    "psycopg_binary": "psycopg 的 C 部分",
    "pydantic": "设置、载荷，typer 也要",
    "pydantic_core": "pydantic 要",
    "annotated_types": "pydantic 要",
    "typing_inspection": "pydantic 要",
    "typing_extensions": "pydantic 要",
    "pydantic_settings": "从环境读设置",
    "dotenv": "<数据目录>/env",
    "yaml": "config.dev.yaml",
    "croniter": "其中定时计划的写法",
    "dateutil": "croniter 要",
    "re2": "哪些名字是秘密",
    "orjson": "JSON",
    "opentelemetry": "起头看一眼它的目录；看一个任务要从 traceparent 取号",
}
MOST_MODULES = 600  # 连同标准库的；各版本的解释器差几十个
# 不是谁声明的：解释器与 Cython 自己的
PLUMBING = {"__main__", "cython_runtime", "_distutils_hack", "sitecustomize"}
WAITED = (
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'kaguan-test'"
    " and datname = current_database() and query_start < clock_timestamp() - interval '1 s'"
)
UNREACHABLE = "postgresql://kaguan:x@127.0.0.1:1/kaguan"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environ: dict[str, str]) -> Invocation:
    for key, value in environ.items():
        monkeypatch.setenv(key, value)

    return Invocation(monkeypatch, capsys)


@pytest.fixture
def run_json(run: Invocation) -> Callable[..., Any]:
    def call(*arguments: str) -> Any:
        code, out, err = run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


@pytest.fixture
def task_id(database_url: str) -> UUID:
    """一个刚受理的邮件任务。"""

    async def submit() -> UUID:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            payload = EmailPayload(to=("a@example.com",), subject="x", body="planted-body")
            submission = Submission(EMAIL_SEND, payload, request_id="cli-1")
            return (await accept_one(connection, submission, max_attempts=6)).task_id

    return asyncio.run(submit())


def test_migrations_go_down_and_up_again(run: Invocation, run_json: Callable[..., Any]) -> None:
    head = run_json("migrate", "status")
    assert head["up_to_date"]
    assert run_json("migrate", "down", "base")["current"] is None
    assert run("migrate", "status")[0] == 1
    code, out, err = run("task", "list")
    assert (code, out, err) == (1, "", "数据库还没有迁移；请运行 kaguan migrate up\n")
    assert run_json("migrate", "up") == head


def test_a_database_behind_the_program_is_one_line(run: Invocation, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter view vw_task rename column progress to gone")
    code, out, err = run("task", "list")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "kaguan migrate status" in err


def test_what_nobody_knows_is_one_line(run: Invocation) -> None:
    for command, code, said in (
        (("migrate", "up", "nope"), 2, "没有版本 nope"),
        (("token", "create", "--name", "ci", "--scopes", "everything"), 1, ".*users:read"),
        (("task", "show", "00000000-0000-7000-8000-000000000000"), 1, "任务 .*不存在"),
    ):
        found, out, err = run(*command)
        assert (found, out) == (code, ""), command
        assert re.match(said, err), command
        assert len(err.splitlines()) == 1, command


def test_a_token_works_until_it_is_revoked(run: Invocation, run_json: Callable[..., Any], database_url: str) -> None:
    async def scopes_of(token: str) -> frozenset[str] | None:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            principal = await authenticate(connection, token)
            return None if principal is None else principal.scopes

    created = run_json("token", "create", "--name", "ci", "--scopes", "users:read, tasks:write", "--days", "1")
    token = created["token"]
    assert token.startswith("kg_")
    assert asyncio.run(scopes_of(token)) == frozenset({"users:read", "tasks:write"})
    assert [row["name"] for row in run_json("token", "list")] == ["ci"]
    assert token not in run("token", "list")[1]
    code, _, err = run("token", "create", "--name", "ci", "--scopes", "ops")
    assert (code, err) == (1, "name：已有名为 ci 的有效令牌\n")
    assert run_json("token", "revoke", "ci") == {"name": "ci", "revoked": True}
    assert asyncio.run(scopes_of(token)) is None
    assert run("token", "revoke", "ci")[0] == 1


def test_the_development_token_is_on_the_record_and_one_that_is_kept_is_not(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "dev-token"
    first = asyncio.run(ensure_dev_token(database_url, path))
    assert asyncio.run(ensure_dev_token(database_url, path)) == first
    path.unlink()
    assert asyncio.run(ensure_dev_token(database_url, path)) != first
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select action, target, actor, detail from tb_audit order by id").fetchall()
    issued = {"scopes": sorted(SCOPES), "days": None, "via": "cli"}
    assert rows == [
        ("token.create", "dev", actor(), issued),
        ("token.revoke", "dev", actor(), {"via": "cli"}),
        ("token.create", "dev", actor(), issued),
    ]


def test_a_task_is_listed_shown_cancelled_and_not_cancelled_twice(
    run: Invocation, run_json: Callable[..., Any], task_id: UUID
) -> None:
    listed = run_json("task", "list", "--status", "pending", "--type", "email:send", "--request-id", "cli-1")
    assert [task["task_id"] for task in listed] == [str(task_id)]
    assert run_json("task", "list", "--queue", "low") == []
    for text in (str(task_id)[:8], str(task_id)[-6:], "CLI-1"):
        assert [task["task_id"] for task in run_json("task", "find", text)] == [str(task_id)]
    assert run_json("task", "find", "nobody", "--type", "email:send") == []
    assert run("task", "show", str(task_id), "--payload")[0] == 2
    assert run_json("task", "show", str(task_id), "--payload", "--reason", "4711")["subject"]
    assert str(task_id) in run("task", "list")[1]
    shown = run("task", "show", str(task_id))[1]
    assert "accepted" in shown
    assert "planted-body" not in shown
    assert run_json("task", "cancel", str(task_id))["status"] == "cancelled"
    timeline = run_json("task", "show", str(task_id))["timeline"]
    assert timeline[-1]["actor"].startswith("cli:")
    shown = run("task", "show", str(task_id))[1]
    assert re.search(r"  cancelled attempt=0  delivery=1  actor=cli:", shown)
    assert "{" not in shown
    code, _, err = run("task", "cancel", str(task_id))
    assert code == 1
    assert "不能取消" in err


def test_a_failed_task_is_told_in_words_and_retried(
    run: Invocation, run_json: Callable[..., Any], task_id: UUID, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM tb_outbox")
        connection.execute(
            "UPDATE tb_task SET status = 'failed', attempt = 6, started_at = now(), finished_at = now(),"
            ' last_error = \'{"code": "mail.queued", "parameters": {}, "reason": "排不上发信限额"}\''
        )
    shown = run("task", "show", str(task_id))[1]
    assert re.search(r"^last_error +code=mail.queued  排不上发信限额$", shown, re.MULTILINE)
    assert run_json("task", "retry", str(task_id))["status"] == "pending"
    assert run_json("outbox", "status")["queues"][1]["waiting"] == 1


def test_refusals_are_told_in_the_readers_language(
    run: Invocation, task_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = UUID(int=1)
    assert run("task", "cancel", str(task_id))[0] == 0
    for language, absent, ended in (
        ("zh", "任务 {} 不存在\n", "status：任务已结束（cancelled），不能取消\n"),
        ("en", "task {} not found\n", "status: task is already cancelled\n"),
    ):
        monkeypatch.setenv("KAGUAN_LANGUAGE", language)
        assert run("task", "show", str(unknown)) == (1, "", absent.format(unknown))
        assert run("task", "cancel", str(task_id)) == (1, "", ended)


def test_a_command_speaks_english_alone_to_who_reads_it(
    run: Invocation, task_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGUAN_LANGUAGE", "en")
    for command in (
        "task list", "task find x", "task show {}", "task vanished", "task replay", "outbox status", "outbox redrive",
        "sim list", "schedule list", "token list", "migrate status", "doctor", "task cancel {}",
    ):  # fmt: skip
        code, out, err = run(*command.format(task_id).split())
        assert (code, err) == (3 if command == "doctor" else 0, ""), command  # 没有邮件服务器
        assert out
        assert not re.search(r"[\u4e00-\u9fff\uff00-\uffef]", out), command


def test_what_looking_loads_is_listed(environ: dict[str, str], task_id: UUID) -> None:
    """多出一个，每条命令就多一份起的代价：先在 ``LOADS`` 里说明为什么。"""
    for command, more in (("list",), set()), (("show", str(task_id)), {"psycopg_pool"}):
        found = subprocess.run(
            (*LISTING, "task", *command), capture_output=True, text=True, check=True, env=os.environ | environ
        )
        assert str(task_id) in found.stdout
        imported = found.stderr.split()
        packages = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - PLUMBING
        assert {
            name for name in packages if not name.startswith(("_cython_", "_sysconfigdata_"))
        } == LOADS.keys() | more
        assert len(imported) <= MOST_MODULES


def test_redrive_puts_handed_over_tasks_back_into_the_outbox(
    run_json: Callable[..., Any], task_id: UUID, database_url: str
) -> None:
    assert run_json("outbox", "redrive") == {"redriven": 0}
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM tb_outbox")
        connection.execute(HAND, ([task_id],))
    assert run_json("outbox", "redrive", "--older-than", "3600") == {"redriven": 0}
    assert run_json("outbox", "redrive") == {"redriven": 1}
    shown = run_json("task", "show", str(task_id))
    assert (shown["status"], shown["delivery"]) == ("pending", 2)


def test_doctor_finds_the_servers_in_order_and_names_what_is_missing(run: Invocation) -> None:
    code, out, _ = run("doctor", "--json")
    findings = {finding["part"]: finding for finding in json.loads(out)}
    assert code == 3  # 没有邮件服务器
    assert findings["PostgreSQL"]["ok"]
    off = findings["落盘"]  # 测试的库不等磁盘：要留意，不算异常
    assert (off["ok"], off["attention"], off["detail"]) == (True, True, "fsync、synchronous_commit 是 off")
    assert findings["Redis"]["ok"]
    assert "KAGUAN_SMTP__URL" in findings["SMTP"]["advice"]
    assert (findings["告警"]["ok"], "KAGUAN_ALERTS__URL" in findings["告警"]["detail"]) == (True, True)


def test_doctor_names_a_token_with_a_name_of_the_system_and_a_key_of_ours_that_a_stranger_wrote(
    run: Invocation, direct_url: str, environ: dict[str, str]
) -> None:
    """令牌是早先发的，新的发不出来。"""
    with psycopg.connect(direct_url, autocommit=True) as connection:
        connection.execute(
            "insert into tb_api_token (name, token_hash, hint, scopes)"
            " values ('schedule', sha256('x'), 'kg_x', '{ops}')"
        )
    with Redis.from_url(environ["KAGUAN_REDIS__URL"]) as redis:
        redis.hset("kaguan:epoch", "a", "stranger's")
    code, out, _ = run("doctor", "--json")
    found = json.loads(out)
    (token,) = [one for one in found if one.get("part") == "令牌"]
    (redis_line,) = [one for one in found if one.get("part") == "Redis"]
    assert (code, token["ok"], redis_line["ok"]) == (3, False, False)
    assert "schedule" in token["detail"]
    assert "kaguan:epoch 不是我们的类型" in redis_line["detail"]


def test_doctor_names_the_session_that_locks_what_it_cannot_read(run: Invocation, direct_url: str) -> None:
    with (
        closing(psycopg.connect(direct_url, application_name="kaguan-test")) as waiter,
        psycopg.connect(direct_url) as holder,
        psycopg.connect(direct_url, autocommit=True) as looker,  # 一个事务里看到的，一直是头一眼的
    ):
        holder.execute("lock table tb_outbox in access exclusive mode")  # 查得了版本，看不了发件箱
        waiter.pgconn.send_query(b"select from tb_outbox")  # 一直等着：体检自己的那一句等多久，看机器的快慢
        asyncio.run(eventually(lambda: looker.execute(WAITED).fetchone() == (1,)))
        code, out, _ = run("doctor", "--json")
        pid = str(holder.info.backend_pid)
    lines = json.loads(out)
    assert code == 3
    assert next(line for line in lines if line["part"] == "PostgreSQL")["ok"]
    found = {line["code"]: line for line in lines if "code" in line}
    assert "database" not in found
    assert pid in json.dumps(found["locked"], ensure_ascii=False)


def test_an_unreachable_database_is_exit_code_3_in_one_line(run: Invocation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGUAN_DATABASE__URL", UNREACHABLE)
    for command in (("task", "list"), ("migrate", "status"), ("token", "list")):
        code, out, err = run(*command)
        assert (code, out) == (3, "")
        assert err.startswith("PostgreSQL 不可用")
        assert len(err.splitlines()) == 1
    code, out, _ = run("doctor")
    assert code == 3
    assert "异常  PostgreSQL" in out
    assert out.count("KAGUAN_DATABASE__URL") == 1  # 检查说过的，判断不再说一遍
