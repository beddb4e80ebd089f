"""真的一套 `kaguan up`，模拟器的故障开着：每个任务都以该有的状态与错误收场；再用命令行等、重放、看计划。

``SESSION_DOCUMENT=docs/evidence/SESSION-CARRIERS.md`` 时把这一场的真实输出写成文档。
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from kaguan.dev.simulator import iccid_at
from kaguan.sims.vocabulary import Carrier
from tests.e2e.carrier_scenes import ATTEMPTS, BREAKER_SCENES, CARDS, COOLDOWN, NO_SUCH_CARD, SCENES, USED_UP, Scene
from tests.e2e.stack import RunningStack, kaguan, started
from tests.support.eventually import PACE, PATIENCE, eventually
from tests.support.occasion import occasion
from tests.support.places import own_port

SETTLED = {"succeeded", "failed", "cancelled", "uncertain"}
PERMANENT = {"malformed_record"}  # 一次就放弃，不耗尽尝试
LIMIT = min(6 * PACE, 20.0)  # 秒；一次调用的：谁停顿一两秒，不成了「过时限」；比「慢过时限」那一幕的短


@dataclass(frozen=True, slots=True)
class Played:
    """演完的一幕。"""

    scene: Scene
    carrier: Carrier
    task: dict[str, Any]


class Session:
    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        self.simulator = stack.env["KAGUAN_CARRIERS__ONELINK__BASE_URL"].rstrip("/")
        today = (datetime.now(UTC) + timedelta(hours=8)).date()
        # 三天前的：两天之内的用量，过了半夜会更正
        self.day, self.today = (today - timedelta(days=3)).isoformat(), today.isoformat()

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        status, answer = await asyncio.to_thread(self.stack.request, method, path, body)  # type: ignore[arg-type] # 只用到可序列化的
        assert status < HTTPStatus.BAD_REQUEST, answer
        data: dict[str, Any] = answer["data"]
        return data

    async def turn(self, knobs: dict[str, Any], carrier: Carrier) -> None:
        """拧旋钮；Control Center 一次一调是它的本性，不归零。"""
        kept: dict[str, Any] = {"max_concurrency": 1} if carrier is Carrier.CONTROL_CENTER else {}
        await self.tell_simulator("PUT", f"faults?carrier={carrier.value}", {**kept, **knobs})

    async def tell_simulator(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """模拟器的管理接口。"""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.simulator}/__admin/{path}", content, method=method)

        def ask() -> dict[str, Any]:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                data: dict[str, Any] = json.load(answer)
            return data

        return await asyncio.to_thread(ask)

    async def list_cards(self, carrier: Carrier) -> None:
        """这家的卡都在一小时前变更过：拨回钟去登记，再拨回来。"""
        cards = [{"iccid": iccid_at(carrier, index)} for index in range(CARDS)]
        await self.tell_simulator("PUT", "clock", {"advance": -3600})
        await self.tell_simulator("PUT", "cards", {"carrier": carrier.value, "cards": cards})
        await self.tell_simulator("PUT", "clock", {"advance": 3600})

    async def register(self) -> None:
        sims = [
            {"iccid": iccid_at(carrier, index), "carrier": carrier.value}
            for carrier in Carrier
            for index in range(CARDS)
        ]
        await self.ask("POST", "/api/v1/sims", {"sims": [*sims, {"iccid": NO_SUCH_CARD, "carrier": "onelink"}]})

    async def play(self, scene: Scene, carrier: Carrier) -> Played:
        if scene.listed:
            await self.list_cards(carrier)
        await self.turn(scene.knobs, carrier)
        path, body = scene.request(carrier, self.day, self.today)
        task_id = (await self.ask("POST", path, body))["task_id"]
        await self.settled(task_id)
        await self.turn({}, carrier)
        return Played(scene, carrier, await self.ask("GET", f"/api/v1/tasks/{task_id}"))

    async def play_all(self, scenes: Sequence[Scene]) -> list[Played]:
        """一幕一幕地演；同一幕的各家同时演。"""
        played: list[Played] = []
        for scene in scenes:
            together = await asyncio.gather(*[self.play(scene, carrier) for carrier in scene.carriers])
            for one in together:
                check(one)
            played += together
        return played

    async def settled(self, task_id: str) -> None:
        async def over() -> bool:
            return (await self.ask("GET", f"/api/v1/tasks/{task_id}"))["status"] in SETTLED

        await eventually(over)

    async def cancelled_while_running(self) -> str:
        """跑到一半取消：在下一个安全点停下。八张卡一张张地问，每张都慢，自己一时做不完。"""
        carrier = Carrier.CONTROL_CENTER
        await self.turn({"latency": LIMIT / 3}, carrier)
        days = {"start_date": self.day, "end_date": self.day}
        body = {"sync_type": "usage", **days, "carrier": carrier.value, "batch_size": 1}
        task_id: str = (await self.ask("POST", "/api/v1/tasks/sync", body))["task_id"]

        async def running() -> bool:
            return bool((await self.ask("GET", f"/api/v1/tasks/{task_id}"))["status"] == "running")

        await eventually(running)
        await self.ask("POST", f"/api/v1/tasks/{task_id}/cancel")
        await self.settled(task_id)
        await self.turn({}, carrier)
        return str((await self.ask("GET", f"/api/v1/tasks/{task_id}"))["status"])


class Receiver:
    """卡状态变更的收件端。"""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str, str]] = []

    async def take(self, request: web.Request) -> web.StreamResponse:
        event = await request.json()
        self.changes += [(change["iccid"], change["old"], change["new"]) for change in event["data"]["changes"]]
        return web.Response(status=204)


def error_of(task: dict[str, Any]) -> str:
    return str((task["error"] or {}).get("reason", "")) if task["status"] != "succeeded" else ""


def check(played: Played) -> None:
    scene, task = played.scene, played.task
    where = f"{scene.title}（{played.carrier}）：{task}"
    assert task["status"] == scene.ends, where
    assert scene.says in error_of(task), where
    assert scene.tells in json.dumps(task["timeline"], ensure_ascii=False), where
    if scene.ends == "failed":
        permanent = any(code in error_of(task) for code in PERMANENT)
        assert task["attempts"] == (1 if permanent else ATTEMPTS), where
        assert permanent or USED_UP in error_of(task), where
    assert {name: task["result"][name] for name in scene.counts} == scene.counts, where


def document(played: list[Played], behind_breaker: list[Played]) -> str:
    """这一场的记录；全是真的输出。"""
    lines = [
        "# 对着会出错的运营商",
        "",
        f"由 `make prove P=contract` 写成，不要手改。{occasion()}。",
        f"真的一套 `kaguan up`，每家 {CARDS} 张卡，至多 {ATTEMPTS} 次尝试；",
        "旋钮见 `kaguan.dev.simulator.faults.Faults`，每一幕的期望见 `tests/e2e/carrier_scenes.py`。",
        "",
        *table(played),
        "",
        "## 断路器",
        "",
        f"另一场：连续 3 次失败就断开，冷却 {COOLDOWN} 秒。",
        "",
        *table(behind_breaker),
    ]
    return "\n".join(lines) + "\n"


def table(played: list[Played]) -> list[str]:
    lines = [
        "| 幕 | 运营商 | 旋钮 | 任务 | 状态 | 尝试 | 错误（任务详情里的原文） | 结果里的数 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, one in enumerate(played, 1):
        knobs = "，".join(f"{name}={value}" for name, value in one.scene.knobs.items()) or "—"
        result, told = one.task["result"] or {}, one.scene.tells
        counts = "，".join(f"{name} {result[name]}" for name in one.scene.counts) or "—"
        cells = (
            str(number),
            one.scene.title,
            one.carrier.value,
            knobs,
            one.task["type"],
            one.task["status"],
            str(one.task["attempts"]),
            error_of(one.task) or (told and f"时间线上：{told}") or "—",
            counts,
        )
        lines.append(f"| {cells[0]} {cells[1]} | " + " | ".join(cells[2:]) + " |")
    return lines


async def test_every_task_ends_as_it_should_while_the_carriers_misbehave(place: Path) -> None:
    target = os.environ.get("SESSION_DOCUMENT")
    receiver, metrics_port = Receiver(), own_port()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    async with TestServer(app) as hook:
        extra = {
            "KAGUAN_WEBHOOKS__URL": str(hook.make_url("/hook")),
            "KAGUAN_WEBHOOKS__SECRET": "whsec_" + base64.b64encode(b"0" * 32).decode(),
            "KAGUAN_TASKS__MAX_RETRIES": str(ATTEMPTS - 1),
            "KAGUAN_TASKS__BACKOFF_BASE": "0.1",
            "KAGUAN_TASKS__BACKOFF_CAP": "2",
            "KAGUAN_CARRIERS__TIME_BUDGET": f"{3 * LIMIT:g}",
            "KAGUAN_CARRIERS__ONELINK__TIMEOUT": f"{LIMIT:g}",
            "KAGUAN_CARRIERS__CONTROL_CENTER__TIMEOUT": f"{LIMIT:g}",
            "KAGUAN_CARRIERS__CONTROL_CENTER__PER_SECOND": "200",
            "KAGUAN_CARRIERS__BREAKER_FAILURES": "1000",
            "KAGUAN_WORKER__METRICS_PORT": str(metrics_port),
            "KAGUAN_SIMULATOR__CARDS": str(CARDS),
        }
        async with started(place / ".kaguan", place / "log", extra=extra) as stack:
            session = Session(stack)
            await session.register()
            played = await session.play_all([scene for scene in SCENES if target or not scene.long])
            assert await session.cancelled_while_running() == "cancelled"
            await commands_agree(stack, session, played)
            await changes_arrived(session, receiver)
            page = await asyncio.to_thread(metrics, metrics_port)
            assert f'kaguan_carrier_unknown_codes_total{{carrier="onelink"}} {2 * CARDS}.0' in page
            for counters in (await session.tell_simulator("GET", "counters")).values():
                assert counters["violations"].keys() == {"rate"}  # 真的数过、拦过；并发从没有超
    if target:
        behind_breaker = await with_an_eager_breaker(place)
        await asyncio.to_thread(Path(target).write_text, document(played, behind_breaker), "utf-8")


async def with_an_eager_breaker(place: Path) -> list[Played]:
    """另起一套：断路器三次就断开；平时断路器自有用例，只有长的一场演它。"""
    extra = {
        "KAGUAN_TASKS__MAX_RETRIES": "3",
        "KAGUAN_TASKS__BACKOFF_BASE": "0.1",
        "KAGUAN_TASKS__BACKOFF_CAP": "0.5",
        "KAGUAN_CARRIERS__CONTROL_CENTER__PER_SECOND": "200",
        "KAGUAN_CARRIERS__BREAKER_FAILURES": "3",
        "KAGUAN_CARRIERS__BREAKER_COOLDOWN": str(COOLDOWN),
    }
    async with started(place / ".kaguan-breaker", place / "log-breaker", extra=extra) as stack:
        session = Session(stack)
        await session.register()
        return await session.play_all(BREAKER_SCENES)


async def commands_agree(stack: RunningStack, session: Session, played: list[Played]) -> None:
    """命令行看到的与接口一样；风浪过去，失败的一次重放全部做成。"""
    ids = [one.task["task_id"] for one in played]
    watched = await asyncio.to_thread(kaguan, "task", "watch", *ids, "--json", data=stack.data)
    assert watched.returncode == 1, watched.stderr
    seen = {row["task_id"]: row["status"] for row in json.loads(watched.stdout)}
    assert seen == {one.task["task_id"]: one.task["status"] for one in played}
    preview = await asyncio.to_thread(kaguan, "task", "replay", "--json", data=stack.data)
    failed = [one for one in played if one.scene.ends == "failed"]
    assert json.loads(preview.stdout)["dry_run"]
    replayed = await asyncio.to_thread(
        kaguan, "task", "replay", "--run", "--wait", "--timeout", "60", "--json", data=stack.data
    )
    assert replayed.returncode == 0, replayed.stderr + replayed.stdout
    assert Counter(row["status"] for row in json.loads(replayed.stdout)) == {"succeeded": len(failed)}
    schedules = await asyncio.to_thread(kaguan, "schedule", "list", "--json", data=stack.data)
    assert {row["name"] for row in json.loads(schedules.stdout)} >= {"usage-daily", "sim-status-hourly"}
    assert await session.ask("GET", "/api/v1/tasks?status=failed&page_size=1") is not None


async def changes_arrived(session: Session, receiver: Receiver) -> None:
    """每张卡收到的变更首尾相接：从 unknown 起，到库里此刻的状态止。"""
    listed = (await session.ask("GET", "/api/v1/sims?page_size=100"))["items"]
    expected = {sim["iccid"]: ends("unknown", sim["lifecycle_state"]) for sim in listed}

    def complete() -> bool:
        net = {iccid: Counter[str]() for iccid in expected}
        for iccid, old, new in receiver.changes:
            net[iccid].update({new: 1})
            net[iccid].subtract({old: 1})
        return {iccid: {state: n for state, n in counts.items() if n} for iccid, counts in net.items()} == expected

    await eventually(complete)


def ends(first: str, last: str) -> dict[str, int]:
    return {} if first == last else {last: 1, first: -1}


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
    return text
