"""``make prove P=restore``：备份、归档、负载、灾难、恢复到某一刻，照手册先起 relay 定夺，再起全部：信与投递各怎样了。

某一刻记作 T。各组信：甲在 T 之前寄完；乙在 T 时已交给 Redis、T 之后寄出；丙在 T 时对方已收下而没有回话；丁定时在明天；
戊在 T 之后受理并寄出；己在 T 之后受理、灾难时还在 Redis 里等。``--flush`` 在起来之前清空 Redis。
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import typer
from redis.asyncio import Redis

from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import server_identity
from kaguan.dev.valkey import ValkeyServer
from tests.chaos.fleet import Unit
from tests.chaos.servers import Server
from tests.deploy.archive import Archive
from tests.deploy.letters import Drill, printed
from tests.e2e.stack import RunningStack, clean_environment, fetch, kaguan
from tests.support.eventually import PATIENCE, eventually
from tests.support.places import own_port, temporary_place
from tests.support.smtp_server import STALL, Script, smtp_server

MANY = 20
SOME = 10
HALF = SOME // 2  # 定夺时取消的；另一半不管，看它们不会自己再寄
COUNTED = (
    "kaguan_duplicates_suppressed_total",
    "kaguan_tasks_redriven_total",
    "kaguan_vanished_deliveries_total",
    "kaguan_history_cuts_total",
)
UNCERTAIN = "select id from tb_task where status = 'uncertain'"
EXPECTED_STATUS = {
    "before": {"succeeded": MANY},
    "queued": {"cancelled": HALF, "uncertain": SOME - HALF},
    "unanswered": {"uncertain": 1},
    "scheduled": {"pending": SOME},
    "after": {"404": SOME},
    "waiting": {"404": SOME},
}
EXPECTED_COPIES = {"before": {1: MANY}, "queued": {1: SOME}, "unanswered": {1: 1}, "after": {1: SOME}}


def say(text: str) -> None:
    typer.echo(text)


def token(stack: RunningStack, name: str) -> str:
    made = kaguan("token", "create", "--name", name, "--scopes", "tasks:read", "--json", data=stack.data)
    return str(json.loads(made.stdout)["token"])


def counted(stack: RunningStack) -> dict[str, float]:
    """worker 与 relay 的计数，零的不说。"""
    lines = [
        line
        for key in ("KAGUAN_WORKER__METRICS_PORT", "KAGUAN_RELAY__METRICS_PORT")
        for line in fetch(f"http://127.0.0.1:{stack.env[key]}/metrics").splitlines()
        if line.startswith(COUNTED)
    ]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines) if float(value)}


async def before(drill: Drill, stack: RunningStack) -> tuple[datetime, str]:
    """T 之前的；返回 T 与一枚之后会被吊销的令牌。"""
    await drill.submit(stack, "before", MANY)
    await drill.reaches(stack, "before", "succeeded")
    stolen = await asyncio.to_thread(token, stack, "stolen")
    await drill.submit(stack, "scheduled", SOME, schedule_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    drill.mail.script.body.append(STALL)
    await drill.submit(stack, "unanswered", 1)
    await asyncio.wait_for(drill.mail.stalled.wait(), PATIENCE)
    stack.send("worker", signal.SIGSTOP)
    await drill.submit(stack, "queued", SOME)
    await drill.reaches(stack, "queued", "queued")
    return await drill.now(), stolen


async def after(drill: Drill, stack: RunningStack) -> None:
    """T 之后、灾难之前的。"""
    stack.send("worker", signal.SIGCONT)
    await drill.reaches(stack, "queued", "succeeded")
    await drill.submit(stack, "after", SOME)
    await drill.reaches(stack, "after", "succeeded")
    await asyncio.to_thread(kaguan, "token", "revoke", "stolen", data=stack.data)
    stack.send("worker", signal.SIGSTOP)
    await drill.submit(stack, "waiting", SOME)
    await drill.reaches(stack, "waiting", "queued")
    await drill.archive.everything_archived()


async def decide(drill: Drill) -> list[str]:
    """手册的第 5 步：worker 不在，relay 在；不明的与收件端核对，寄过的取消（这里只取消一半）。返回与料想不符的。"""
    addresses = {"KAGUAN_DATA_DIR": str(drill.place / "data"), "KAGUAN_RELAY__METRICS_PORT": str(own_port())}
    relay = Unit(
        "relay",
        (sys.executable, "-m", "relay"),
        clean_environment(**drill.environ, **addresses),
        drill.place / "relay.log",
    )
    await relay.start()
    try:
        doubtful = {*drill.tasks["unanswered"], *drill.tasks["queued"]}

        async def known_unknown() -> bool:
            return {str(one) for (one,) in await drill.rows(UNCERTAIN)} == doubtful

        await eventually(known_unknown)
        listed = await drill.listed("uncertain")
        open_ones = await drill.listed("queued", "pending", "retrying")
    finally:
        await relay.stop()
    sent = {name for name in doubtful if any(name.encode() in mail.content for mail in drill.mail.mails)}
    for task_id in drill.tasks["queued"][:HALF]:
        await asyncio.to_thread(kaguan, "task", "cancel", task_id, data=drill.place / "data")
    say(f"worker 起来之前：不明的 {len(doubtful)} 封，其中 {len(sent)} 封收件端收到过；取消 {HALF} 封")
    right = listed == sent == doubtful and open_ones == set(drill.tasks["scheduled"])
    return [] if right else ["定夺"]


async def named(drill: Drill) -> list[str]:
    """丢了的里面，寄过信的 relay 核对时就点了名，还在 Redis 里等着的由 worker 碰上；返回与料想不符的。"""
    lost = {*drill.tasks["after"], *drill.tasks["waiting"]}

    async def all_known() -> bool:
        return {str(one) for (one,) in await drill.rows("select task_id from tb_vanished")} >= lost

    await eventually(all_known)
    found = {str(task["task_id"]) for task in await printed(drill.place / "data", "task", "vanished")}
    say(f"  不见了的：点了名的 {len(found)} 个，丢了的 {len(lost)} 个")
    return [] if found == lost else ["点名"]


async def look(drill: Drill, stack: RunningStack, stolen: str) -> list[str]:
    """恢复之后看到的；返回与料想不符的。"""
    began = time.monotonic()
    await drill.reaches(stack, "queued", "uncertain", "cancelled")
    await drill.reaches(stack, "unanswered", "uncertain")
    say(f"起来之后 {time.monotonic() - began:.1f} 秒，还欠着的都有了结局")
    wrong = []
    copies = drill.copies()
    for group, expected in EXPECTED_STATUS.items():
        statuses = await drill.statuses(stack, group)
        received = dict(copies.get(group, {}))
        say(f"  {group}：任务 {dict(statuses)}，收件端（份数 → 封数）{received}")
        if (dict(statuses), received) != (expected, EXPECTED_COPIES.get(group, {})):
            wrong.append(group)
    say(f"  计数：{counted(stack)}")
    accepted = await asyncio.to_thread(_status_with, stack, stolen)
    await asyncio.to_thread(kaguan, "token", "revoke", "stolen", data=stack.data)

    async def refused() -> bool:
        return await asyncio.to_thread(_status_with, stack, stolen) == HTTPStatus.UNAUTHORIZED

    await eventually(refused)
    say(f"  T 之后吊销的令牌，现在答 {accepted}；再吊销一次，答 401")
    for group in ("after", "waiting"):
        drill.tasks[group] = []
        await drill.submit(stack, group, SOME)
        await drill.reaches(stack, group, "succeeded")
        say(f"  {group}：同样的 request_id 再提交，收件端 {dict(drill.copies()[group])}")
    said = await asyncio.to_thread(kaguan, "doctor", data=stack.data)
    say("  kaguan doctor：" + "；".join(line for line in said.stdout.splitlines() if not line.startswith("正常")))
    return wrong


def _status_with(stack: RunningStack, bearer: str) -> int:
    path = stack.data / "dev-token"
    kept = path.read_text()
    path.write_text(bearer)
    try:
        return stack.request("GET", "/api/v1/tasks?page_size=1")[0]
    finally:
        path.write_text(kept)


async def drill(place: Path, *, flush: bool) -> list[str]:
    identity = server_identity()
    postgres = PostgresServer(place / "postgres", place / "postgres-password", own_port(), identity)
    valkey = ValkeyServer(place / "valkey", place / "valkey-password", own_port(), identity)
    await postgres.prepare()
    valkey.prepare()
    archive = Archive(postgres, place / "archive")
    archive.prepare()
    original = Server(archive.program(), place / "postgres.log")
    broker = Server(valkey.program(), place / "valkey.log")
    async with smtp_server(Script()) as mail:
        environ = {
            "KAGUAN_DATABASE__URL": postgres.url,
            "KAGUAN_REDIS__URL": valkey.url,
            "KAGUAN_SMTP__URL": mail.url,
        }
        played = Drill(place, archive, mail, environ)
        await original.start()
        await broker.start()
        try:
            async with played.stack() as stack:
                await archive.back_up()
                say("基础备份已取，pg_verifybackup 通过")
                moment, stolen = await before(played, stack)
                await after(played, stack)
                say(f"T = {moment.isoformat()}；此后又寄出 {len(mail.mails) - MANY - 1} 封，{SOME} 个还在 Redis 里等")
                stack.signal(signal.SIGKILL)
                await original.stop(signal.SIGKILL)
                await stack.gone()
            say("灾难：全部 SIGKILL，原来的数据目录不要了；Redis 原样")
            if flush:
                async with Redis.from_url(valkey.url) as client:
                    await client.flushall()
                say("Redis 已清空")
            began = time.monotonic()
            restored = Server(await archive.restored(place / "restored", moment), place / "restored.log")
            await restored.start()
            say(f"恢复到 T，{time.monotonic() - began:.1f} 秒")
            try:
                wrong = await decide(played)
                async with played.stack() as stack:
                    if not flush:
                        wrong += await named(played)
                    return wrong + await look(played, stack, stolen)
            finally:
                await restored.stop()
        finally:
            await asyncio.gather(original.stop(), broker.stop())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.restore")
    parser.add_argument("--flush", action="store_true", help="起来之前清空 Redis")
    options = parser.parse_args()
    with temporary_place("restore") as place:
        wrong = asyncio.run(drill(place, flush=options.flush))
    say(f"与料想不符：{'、'.join(wrong)}" if wrong else "全部如料想")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
