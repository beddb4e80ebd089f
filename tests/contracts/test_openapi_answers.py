"""每条路由照文档的例子真的答一次：状态、媒体类型、正文、响应头都和文档说的一样，头一个不多一个不少。"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from api.routes import ROUTES
from kaguan.config import load_settings
from tests.contracts.documented import DOCUMENT, header_faults, response_of, schema_of
from tests.support.eventually import eventually
from tests.support.in_hand import HOLD
from tests.support.serving import Api, serving

V1 = "/api/v1"
TASK = V1 + "/tasks/{task_id}"
NIGHTLY = {
    "name": "nightly",
    "cron": "0 3 * * *",
    "type": "data:sync",
    "payload": {"sync_type": "usage", "start_date": "{today-1}", "end_date": "{today-1}"},
}
NOBODY = {"Authorization": ""}
OPEN = [
    "/health",
    "/health/live",
    "/health/ready",
    f"{V1}/health",
    f"{V1}/health/live",
    f"{V1}/health/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
]


class Caller:
    """照文档发请求，拿应答对照文档；``succeeded`` 是成功答过的路由，``refused`` 是没有成的，与它的应答。"""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.succeeded: set[tuple[str, str]] = set()
        self.refused: dict[tuple[str, str], str] = {}

    async def call(
        self, method: str, pattern: str, headers: dict[str, str] | None = None, times: int = 1, **path: Any
    ) -> Any:
        """应答的 ``data``；请求体用文档里的例子。不是 JSON 的没有 ``data``。"""
        sent = {"Authorization": f"Bearer {self.api.token}", **(headers or {})}
        body = DOCUMENT["paths"][pattern][method.lower()].get("requestBody")
        example = None if body is None else body["content"]["application/json"]["example"]
        data = None
        for _ in range(times):
            async with self.api.session.request(method, pattern.format(**path), headers=sent, json=example) as response:
                text = await response.text()
                declared = response_of(method, pattern, response.status)
                assert header_faults(declared["headers"], response.headers) == [], f"{method} {pattern}: {text}"
                content = declared["content"][response.content_type]
                if response.content_type == "application/json":
                    answer = json.loads(text)
                    schema_of(content).validate(answer)
                    data = answer["data"]
            if response.ok:
                self.succeeded.add((method, pattern))
            else:
                self.refused[method, pattern] = text
        return data

    async def answers(self, path: str) -> bool:
        """成功答过；一秒之内没有问到库的健康检查，照文档答 503，再问。"""
        await self.call("GET", path)
        return ("GET", path) in self.succeeded

    def unanswered(self) -> dict[tuple[str, str], str]:
        """没有成功答过的路由，与最后一次拒绝的应答。"""
        routes = {(route.method, route.pattern) for route in ROUTES}
        return {route: self.refused.get(route, "") for route in routes - self.succeeded}

    async def all_of(self, method: str, *patterns: str) -> None:
        for pattern in patterns:
            await self.call(method, pattern)


@pytest.fixture
async def caller(environ: dict[str, str]) -> AsyncIterator[Caller]:
    async with serving(load_settings({**environ, "KAGUAN_SCHEDULES": json.dumps([NIGHTLY])})) as api:
        yield Caller(api)


async def test_every_route_answers_its_example_with_the_status_body_and_headers_documented(caller: Caller) -> None:
    once = {"Idempotency-Key": "once"}
    for kind in ("users", "orders"):
        item = f"{V1}/{kind}/{{id}}"
        created = await caller.call("POST", f"{V1}/{kind}", {**once, "Idempotency-Key": kind}, times=2)
        await caller.call("GET", f"{V1}/{kind}")
        await caller.call("GET", item, id=created["id"])
        await caller.call("PUT", item, {"If-Match": '"1"'}, id=created["id"])
    for kind, number in (("orders", 1), ("users", 1)):
        await caller.call("DELETE", f"{V1}/{kind}/{{id}}", id=number)
    registered = await caller.call("POST", f"{V1}/sims", times=2)
    for accept in ("application/json", "text/csv"):
        await caller.call("POST", f"{V1}/sims/imports", {"Accept": accept})
    for path in ("/{iccid}", "/{iccid}/usage"):
        await caller.call("GET", f"{V1}/sims{path}", iccid=registered["items"][0]["iccid"])
    card = {"iccid": registered["items"][0]["iccid"]}
    for accept in ("application/json", "text/csv"):
        await caller.call("GET", f"{V1}/sims", {"Accept": accept})
        await caller.call("GET", f"{V1}/sims/{{iccid}}/events", {"Accept": accept}, **card)
    await caller.call("PUT", f"{V1}/sims/{{iccid}}", {"If-Match": '"1"'}, **card)
    await caller.call("PATCH", f"{V1}/sims/{{iccid}}", {"If-Match": '"2"'}, **card)
    await caller.call("POST", f"{V1}/sims/{{iccid}}/refresh", {"Idempotency-Key": "refresh"}, times=2, **card)
    await change_of(caller, card)
    await caller.call("DELETE", f"{V1}/sims/{{iccid}}", {"If-Match": '"3"'}, **card)
    for kind in ("sync", "sim", "batch", "replay", "email"):
        accepted = await caller.call("POST", f"{V1}/tasks/{kind}", {"Idempotency-Key": f"task-{kind}"}, times=2)
    task_id = accepted["task_id"]
    await caller.call("POST", TASK + "/change", task_id=task_id)
    await caller.call("POST", TASK + "/cancel", task_id=task_id)
    await caller.call("GET", TASK + "/events", task_id=task_id)
    await caller.call("GET", TASK, task_id=task_id)
    await caller.call("POST", TASK + "/payload", task_id=task_id)
    for path in ("", "/vanished"):
        await caller.call("GET", f"{V1}/tasks{path}")
    [(running,)] = await caller.api.rows("select id from tb_task where status = 'pending' order by id limit 1")
    await caller.api.rows(HOLD, "w", "1 minute", [running])
    await caller.call("GET", TASK + "/stack", task_id=running)
    await caller.call("POST", f"{V1}/workers/{{name}}/drain", name="w")
    await caller.call("GET", f"{V1}/workers")
    await caller.api.rows("delete from tb_work where task_id = %s", running)
    failing = "update tb_task set status = 'failed', finished_at = now() where type = 'data:sync' returning id"
    [(failed,)] = await caller.api.rows(failing)
    await caller.call("POST", TASK + "/retry", task_id=failed)
    await caller.api.rows("update tb_task set status = 'uncertain' where id = %s", failed)
    await caller.call("POST", TASK + "/resolve", task_id=failed)
    await caller.call("GET", f"{V1}/schedules")
    await caller.call("GET", f"{V1}/schedules/{{name}}", name="nightly")
    for word in ("run", "disable", "enable"):
        await caller.call("POST", f"{V1}/schedules/{{name}}/{word}", name="nightly")
    await caller.all_of("POST", *(f"{V1}/tasks/{deed}" for deed in ("cancel", "discard", "retry")))
    await caller.all_of("GET", f"{V1}/holders", f"{V1}/stats", f"{V1}/verdict/history", f"{V1}/audit")
    paused = await caller.call("POST", f"{V1}/pauses")
    await caller.call("GET", f"{V1}/pauses")
    await caller.call("DELETE", f"{V1}/pauses/{{pause_id}}", pause_id=paused["id"])
    await limits_of(caller)
    await acknowledged(caller)
    for path in OPEN:
        await eventually(partial(caller.answers, path))
    await caller.call("GET", "/assets/{name}", name="page.css")
    assert caller.unanswered() == {}


async def acknowledged(caller: Caller) -> None:
    await caller.api.rows(
        "insert into tb_task (id, type, queue, principal, payload, max_attempts, status) "
        "values (gen_random_uuid(), 'email:send', 'default', 'p', '{}', 3, 'uncertain')"
    )
    made = await eventually(lambda: caller.call("POST", f"{V1}/verdict/acknowledgements"))
    await caller.call("GET", f"{V1}/verdict/acknowledgements")
    await caller.call("DELETE", f"{V1}/verdict/acknowledgements/{{acknowledgement_id}}", acknowledgement_id=made["id"])


async def limits_of(caller: Caller) -> None:
    for path, name in (("types", "sim:status_sync"), ("carriers", "onelink")):
        await caller.call("PUT", f"{V1}/limits/{path}/{{name}}", name=name)
        await caller.call("GET", f"{V1}/limits")
        await caller.call("DELETE", f"{V1}/limits/{path}/{{name}}", name=name)


async def change_of(caller: Caller, card: dict[str, Any]) -> None:
    change = await caller.call("POST", f"{V1}/sims/changes", {"Idempotency-Key": "change"}, times=2)
    for accept in ("application/json", "text/csv"):
        await caller.call("GET", f"{V1}/sims/changes/{{change}}", {"Accept": accept}, change=change["id"])
    await caller.call("GET", f"{V1}/sims/{{iccid}}/changes", **card)


async def test_every_route_refuses_a_stranger_with_the_headers_documented(caller: Caller) -> None:
    for route in ROUTES:
        if route.scope is not None:
            names: dict[str, Any] = {
                "id": 1,
                "iccid": "89",
                "name": "nightly",
                "change": 1,
                "task_id": UUID(int=7),
                "pause_id": UUID(int=7),
                "acknowledgement_id": UUID(int=7),
            }
            await caller.call(route.method, route.pattern, NOBODY, **names)
    assert caller.succeeded == set()
