"""只看的人（``ops:read``）看不见个人信息：收件人、号码、结果里的文字、别人的原话；有 ``ops`` 的看得见。"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import product
from urllib.parse import unquote
from uuid import UUID, uuid4

from aiohttp import web
from psycopg.types.json import Jsonb

from kaguan.config import Settings, load_settings
from kaguan.database.pool import Pool
from kaguan.outbox.deliver.deliveries import Delivery, build_queues, enqueue_many
from kaguan.outbox.vocabulary import Priority
from kaguan.queues.client import build_client
from kaguan.tokens import service as tokens
from kaguan.words.reasons import Reason
from tests.support.console import Visitor, signed_in
from tests.support.pipeline import open_pipeline
from tests.support.serving import Api, serving

SOMEBODY = "li.lei@example.com"
SOMEBODY_IN_AN_ADDRESS = re.compile(r"li\.lei(?:@|%40|%2540)example\.com")
SPOKEN = "mailbox of Li Lei is full"
QUOTED = Reason("mail.reply_quoted", {"reply": "552 5.2.2", "count": 1, "words": SPOKEN})
REFUSED = Reason("mail.refused", {"replies": [QUOTED]}).stored()
WRITTEN = {"reason": f"550 5.1.1 <{SOMEBODY}>: unknown"}
PARAMETER = re.compile(r"\{(\w+)[^}]*\}")
QUERIES = [
    "/console/tasks?status=failed",
    "/console/dead-letters?preview=1&status=failed",
    "/api/v1/tasks?status=failed",
    "/api/v1/tasks?status=succeeded",
]


@dataclass(slots=True)
class Planted:
    """埋下的个人信息：每一处一个邮箱地址、一个 ICCID、一个 MSISDN，各不相同。"""

    homes: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def at(self, home: str, separator: str = " ") -> str:
        number = len(self.homes) + 10
        told = (f"li.lei{number}@example.com", f"898600123456789012{number}", f"10647000000{number}")
        self.homes[home] = told
        return separator.join(told)

    def told(self, text: str) -> set[str]:
        """哪几处的，这段文字里有。"""
        plain = unquote(unquote(text))
        return {home for home, told in self.homes.items() if any(one in plain for one in told)}


async def plant(api: Api, settings: Settings, planted: Planted) -> dict[str, list[str]]:
    """页面上写得进文字的，处处都埋；返回地址里要填的。"""
    key, number = planted.at("ordering key", ":"), planted.at("request id", ":")
    mail = {"to": [f"{SOMEBODY}"], "subject": "s", "body": "b", "ordering_key": key, "request_id": number}
    head, behind = [
        UUID((await api.post("/tasks/email", mail | {"request_id": f"{number}:{one}"})).data["task_id"])
        for one in range(2)
    ]
    plain = {"to": planted.at("recipient").split()[:1], "subject": planted.at("subject"), "body": "b"}
    sent, parked = [UUID((await api.post("/tasks/email", plain)).data["task_id"]) for _ in range(2)]
    quoted = Reason("mail.reply_quoted", {"reply": "552 5.2.2", "count": 1, "words": f"{SPOKEN} {planted.at('words')}"})
    said = {"reason": f"550 5.1.1 {planted.at('reason')}: unknown"}
    await api.rows("delete from tb_outbox where task_id = %s", head)
    await api.rows(
        "update tb_task set status = 'failed', attempt = 1, finished_at = now(), last_error = %s where id = %s",
        Jsonb(Reason("mail.refused", {"replies": [quoted]}).stored()),
        head,
    )
    for kind, detail in (
        ("attempt_failed", said),
        ("resolved", {"outcome": "not_happened", "note": planted.at("note")}),
    ):
        await api.rows(
            "insert into tb_task_event (task_id, kind, attempt, delivery, actor, detail)"
            " values (%s, %s, 1, 1, 'x', %s)",
            head,
            kind,
            Jsonb(detail),
        )
    result = {"message_id": "<1@kaguan>", "code": 250, planted.at("result key"): planted.at("result")}
    await api.rows(
        "update tb_task set status = 'succeeded', attempt = 1, finished_at = now(), result = %s where id = %s",
        Jsonb(result),
        sent,
    )
    await api.rows("update tb_task set progress = %s where id = %s", Jsonb({"at": planted.at("progress")}), behind)
    await api.rows(
        "update tb_outbox set parked_at = now(), parked_reason = %s where task_id = %s", planted.at("parked"), parked
    )
    await api.rows(
        "insert into tb_pause (scope, name, reason, actor, until)"
        " values ('key', %s, %s, 'x', now() + interval '1 day')",
        planted.at("pause", ":"),
        planted.at("why paused"),
    )
    await api.rows(
        "insert into tb_audit (actor, action, target, detail, request_id, outcome)"
        " values ('operator', 'task.replay', %s, %s, %s, 'ok')",
        planted.at("audit target"),
        Jsonb(
            {"reason": planted.at("audit reason"), "note": planted.at("audit note"), "name": planted.at("audit name")}
        ),
        planted.at("audit request"),
    )
    await api.rows(
        "insert into tb_vanished (task_id, type, request_id, delivery) values (%s, 'email:send', %s, 1)",
        uuid4(),
        planted.at("vanished", ":"),
    )
    async with build_client(settings.redis) as redis:
        queues = build_queues(redis)
        await enqueue_many(queues, [handed := Delivery(Priority.DEFAULT, "email:send", [(sent, 1)])], 60, 0.0)
        job = await queues[Priority.DEFAULT].job(handed.key)
        assert job is not None
        await job.update(error=planted.at("error in Redis"))
    return {"task_id": [str(one) for one in (head, behind, sent)], "queue": ["default"], "job": [job.key]}


def addresses(app: web.Application, filled: Mapping[str, Sequence[str]]) -> list[str]:
    """答 GET 的每一个地址：控制台的、监控页的、接口的；参数填埋过的，有几个就几个地址。"""
    templates = {route.resource.canonical for route in app.router.routes() if route.method == "GET" and route.resource}
    found = set()
    for template in templates:
        names = PARAMETER.findall(template)
        for values in product(*(filled.get(name, ["1"]) for name in names)):
            found.add(PARAMETER.sub("{}", template).format(*values))
    return sorted(found)


async def answered(visitor: Visitor, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """状态、头与正文，合成一段文字；事件流只读头一个事件。"""
    async with visitor.session.get(path, headers=headers, allow_redirects=False) as response:
        streamed = response.content_type == "text/event-stream"
        body = await response.content.readuntil(b"\r\n\r\n") if streamed else await response.read()
        return response.status, f"{response.headers}\n{body.decode('utf-8', 'replace')}"


async def seen(visitor: Visitor, paths: Sequence[str], planted: Planted, token: str) -> dict[str, set[str]]:
    """哪个地址说出了哪几处的；带着会话看一遍，带着令牌再看一遍。"""
    found: dict[str, set[str]] = {}
    for path in paths:
        for headers in ({}, {"Authorization": f"Bearer {token}"}):
            status, text = await answered(visitor, path, headers)
            assert status < HTTPStatus.INTERNAL_SERVER_ERROR, (path, text)
            found[path] = found.get(path, set()) | planted.told(text)
            if SPOKEN in unquote(text):
                found[path] |= {"spoken"}
    return {path: homes for path, homes in found.items() if homes}


async def test_who_may_only_look_sees_no_personal_data_and_an_operator_does(settings: Settings) -> None:
    """凡答 GET 的地址都看一遍；有 ``ops`` 的处处看得见，才说得上只看的人是看不见而不是没有埋上。"""
    apps: list[web.Application] = []
    planted = Planted()
    async with serving(settings, adapt=apps.append) as api:
        paths = addresses(apps[0], await plant(api, settings, planted)) + QUERIES
        async with signed_in(api) as operator, signed_in(api, ["ops:read"], "watcher") as watcher:
            told = await seen(operator, paths, planted, api.token)
            assert set().union(*told.values()) == {*planted.homes, "spoken"}
            async with api.pool.connection() as connection:
                token = (await tokens.create(connection, "looker", ["ops:read"])).token
            assert await seen(watcher, paths, planted, token) == {}


async def test_health_tells_who_may_only_look_no_personal_data_either(environ: dict[str, str], pool: Pool) -> None:
    """判断里也有键与原因：卡住的键是邮箱地址，队头的原因有别人的原话，成批失败的写着收件人。"""
    settings = load_settings(environ)
    async with open_pipeline(settings, pool) as pipeline, serving(settings, ("ops:read",)) as api:
        head, *_ = [(await pipeline.submit(ordering_key=SOMEBODY))[0] for _ in range(2)]
        await pipeline.sql(
            "update tb_task set created_at = now() - interval '1 minute', available_at = now() - interval '1 minute'"
        )
        await pipeline.sql(
            "update tb_task set status = 'retrying', last_error = %s where id = %s", Jsonb(REFUSED), head
        )
        for _ in range(6):
            await pipeline.sql(
                "insert into tb_task_event (task_id, kind, attempt, delivery, detail) "
                "values (%s, 'attempt_failed', 1, 1, %s)",
                head,
                Jsonb(WRITTEN),
            )
        async with api.session.get("/health", headers={"Authorization": f"Bearer {api.token}"}) as answer:
            text = await answer.text()
            told = {one["code"]: one for one in (await answer.json())["data"]["verdict"]["concerns"]}
    assert "552 5.2.2" in told["ordering"]["text"]
    assert "550 5.1.1" in told["setbacks"]["text"]
    assert SOMEBODY_IN_AN_ADDRESS.search(text) is None
    assert SPOKEN not in text
