"""控制台的每个参数都可能是任何东西：照样是一页，绝不是 500。"""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import count
from urllib.parse import quote
from uuid import uuid4

import pytest
from yarl import URL

from api.console.registered import routes
from tests.support.console import FORM, Visitor, signed_in
from tests.support.folded import folded
from tests.support.serving import Api

TASK = f"/console/tasks/{uuid4()}"
FIELDS = ("status", "type", "since", "until", "limit", "rate", "one_reason", "reason")
# 页面读的查询参数
QUERIES = {
    "/": (),
    "/console/live/overview": (),
    "/console/live/whoami": (),
    "/console/login": ("next",),
    "/console/tasks": (
        "type",
        "status",
        "queue",
        "q",
        "key",
        "caller",
        "error",
        "iccid",
        "recipient",
        "since",
        "until",
        "cursor",
        "deed",
        "id",
    ),
    "/console/tasks/{task_id}": ("trace", "note", "payload", "change"),
    "/console/tasks/{task_id}/stack": (),
    "/console/live/tasks": ("status", "q", "error", "since", "cursor"),
    "/console/live/tasks/{task_id}": (),
    "/console/live/tasks/{task_id}/trace": ("trace",),
    "/console/sims": ("q", "carrier", "state", "plan", "group", "tag", "customer", "cursor"),
    "/console/sims/export": ("q", "carrier", "state", "plan", "group", "tag", "customer"),
    "/console/sims/{iccid}/events": (),
    "/console/sims/changes/{change}": (),
    "/console/live/sims/changes/{change}": (),
    "/console/sims/changes/{change}/receipts": (),
    "/console/sims/import": (),
    "/console/sims/{iccid}": (),
    "/console/live/sims/{iccid}": (),
    "/console/dead-letters": ("preview", *FIELDS),
    "/console/vanished": ("cursor",),
    "/console/schedules": (),
    "/console/outbox": (),
    "/console/database": (),
    "/console/queues": (),
    "/console/holders": (),
    "/console/stats": (),
    "/console/verdict": ("code", "since", "until", "before", "concern", "subject", "reason"),
    "/console/pauses": ("scope", "name", "limit", "reason"),
    "/console/audit": ("actor", "action", "target", "since", "until", "cursor"),
    "/console/audit/export": ("actor", "action", "target", "since", "until"),
    "/console/assets/{name}": ("v",),
}
# 表单的字段；csrf_token 与 back 人人都有
FORMS = {
    "/console/login": ("token", "next"),
    "/console/logout": (),
    "/console/preferences": ("language", "theme"),
    "/console/verdict/acknowledge": ("concern", "subject", "minutes", "reason"),
    "/console/verdict/{acknowledgement}/remind": (),
    "/console/tasks/cancel": ("selection",),
    "/console/tasks/discard": ("selection",),
    "/console/tasks/retry": ("selection",),
    "/console/tasks/{task_id}/cancel": (),
    "/console/tasks/{task_id}/retry": (),
    "/console/tasks/{task_id}/payload": ("reason",),
    "/console/tasks/{task_id}/resolve": ("outcome", "note"),
    "/console/tasks/{task_id}/change": ("priority", "minutes", "reason"),
    "/console/sims/{iccid}/refresh": (),
    "/console/sims/import/preview": ("file", "pasted", "carrier"),
    "/console/sims/import/run": ("selection",),
    "/console/sims/changes/preview": ("change", "new_plan", "whom", "iccid", "filter"),
    "/console/sims/changes/run": ("selection", "reason"),
    "/console/dead-letters/replay": ("selection",),
    "/console/schedules/{name}/run": (),
    "/console/schedules/{name}/enable": (),
    "/console/schedules/{name}/disable": (),
    "/console/outbox/redrive": ("older",),
    "/console/pauses": ("scope", "name", "minutes", "reason"),
    "/console/pauses/{pause_id}/resume": (),
    "/console/limits": ("what", "at_once", "per_second", "minutes", "reason"),
    "/console/limits/clear": ("what",),
    "/console/workers/drain": ("worker", "reason"),
    "/console/database/end": ("pid",),
}
COMMON = ("csrf_token", "back")
HOSTILE = {
    "empty": "",
    "NUL": "a%00b",
    "lone surrogate": "%ED%A0%80",
    "not UTF-8": "%FF%FE",
    "5000 digits": "9" * 5_000,
    "negative": "-1",
    "fraction": "1.5",
    "digits of another script": quote("٣٣"),
    "beyond bigint": str(2**63),
    "year one": "0001-01-01T00:00%2B14:00",
    "the last moment": "9999-12-31T23:59:59.999999-14:00",
    "no such day": "2026-02-30T00:00",
    "first id": "00000000-0000-0000-0000-000000000000",
    "last id": "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
    "bidi": quote("\u202e\u0000\r\nSet-Cookie: a=b"),
    "format": "{0.__class__}%25s",
}


def test_every_route_and_every_field_of_a_form_is_probed() -> None:
    known = {("GET", path) for path in QUERIES} | {("POST", path) for path in FORMS}
    assert {(route.method, route.path) for route in routes()} == known
    templates = files("api.console") / "templates"
    named = {
        name
        for template in templates.iterdir()
        for name in re.findall(r'<(?:input|select|textarea|button)\b[^>]*?\bname="(\w+)"', template.read_text("utf-8"))
    }
    probed = {name for names in (*QUERIES.values(), *FORMS.values(), COMMON) for name in names}
    assert named <= probed


def concrete(path: str, text: str = "") -> list[str]:
    """模板里的路径参数：给一个像样的，或给恶意的。"""
    if "{" not in path:
        return [path]
    return [re.sub(r"\{\w+\}", value, path) for value in (text or "x", str(uuid4()))]


async def answered(visitor: Visitor, method: str, url: str, body: str = "") -> int:
    headers = {"Origin": visitor.origin, "Content-Type": FORM} if method == "POST" else {}
    # 原样的百分号编码：客户端不要替我们改好
    data = body.encode() if method == "POST" else None
    address = URL(visitor.origin + url, encoded=True)
    async with visitor.session.request(method, address, data=data, headers=headers, allow_redirects=False) as response:
        assert "a" not in response.cookies
        return response.status


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.long)])
@folded(("turn", "text"), enumerate(HOSTILE.values()))
async def test_nothing_a_parameter_holds_breaks_a_page(api: Api, turn: int, text: str, every: int) -> None:
    """短的轮着来：每处 ``every`` 种里试一种，每一种都试过许多处。"""
    answers: list[tuple[int, str]] = []
    places = count(turn)
    async with signed_in(api, ["ops", "sims:read", "sims:write"]) as visitor:
        for path, names in QUERIES.items():
            for url in concrete(path, text):
                for query in ("", *(f"?{name}={text}" for name in names)):
                    if next(places) % every:
                        continue
                    # 重放的条件只在试运行时才读
                    address = f"{url}{query}" + (
                        "&preview=1&one_reason=1" if query and path == "/console/dead-letters" else ""
                    )
                    answers.append((await answered(visitor, "GET", address), address))
        csrf = await visitor.csrf()
        for path, names in FORMS.items():
            for url in concrete(path, text):
                for name in ("innocent", *names, *COMMON):  # 头一个：路径里的也要走到底
                    if next(places) % every:
                        continue
                    given = {"csrf_token": csrf, "back": "/", name: "1" if name == "innocent" else text}
                    if path == "/console/logout":
                        del given["csrf_token"]  # 登录要留着
                    body = "&".join(f"{key}={value}" for key, value in given.items())
                    answers.append((await answered(visitor, "POST", url, body), f"{url} {name}"))
        assert await visitor.csrf() == csrf
    assert [each for each in answers if each[0] >= 500] == []
