"""载荷要看才给看：有 ``ops`` 的人说出为什么，谁看了哪一个进审计。"""

from __future__ import annotations

from dataclasses import replace

from kaguan.tokens import service as tokens
from tests.support.console import signed_in
from tests.support.serving import Api

MAIL = {
    "to": ["li@example.com"],
    "subject": "<b>订单</b>",
    "body": "字" * 400,
    "attachments": [{"filename": "f.bin", "content_type": "a/b", "content_base64": "QQ=="}],
}
NOTED = """
select actor, target, detail->>'reason', detail->>'via' from tb_audit where action = 'task.payload' and outcome = %s
"""


async def test_a_payload_is_shown_to_who_says_why_and_the_audit_names_him(api: Api) -> None:
    task_id = (await api.post("/tasks/email", MAIL)).data["task_id"]
    path = f"/tasks/{task_id}/payload"
    for body in ({}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 501}):
        assert (await api.post(path, body)).status == 400
    shown = await api.post(path, {"reason": "工单 4711"})
    assert shown.data["payload"]["to"] == ["li@example.com"]
    async with api.pool.connection() as connection:
        clerk = (await tokens.create(connection, "clerk", ["tasks:read", "tasks:write", "ops:read"])).token
    assert (await replace(api, token=clerk).post(path, {"reason": "r"})).status == 403
    assert await api.rows(NOTED, "ok") == [("test", task_id, "工单 4711", "api")]


async def test_the_console_shows_it_readably_on_a_page_of_its_own(api: Api) -> None:
    task_id = (await api.post("/tasks/email", MAIL)).data["task_id"]
    path = f"/console/tasks/{task_id}"
    async with signed_in(api) as operator, signed_in(api, ["ops:read"], "watcher") as watcher:
        assert 'data-testid="payload-form"' in (await operator.get(path)).text
        assert (await operator.act(f"{path}/payload", reason=" ")).status == 400
        page = await operator.act(f"{path}/payload", reason="工单 4711")
        assert page.headers["Cache-Control"] == "no-store"
        assert "li@example.com" in page.tested("payload")
        assert "共 400 个字" in page.tested("payload")
        assert "<b>订单" not in page.text
        assert 'data-testid="payload-form"' not in (await watcher.get(path)).text
        assert (await watcher.act(f"{path}/payload", reason="r")).status == 403
        assert [one for one in await operator.audit() if one[1] == "task.payload"] == [
            ("operator", "task.payload", "refused", task_id),
            ("operator", "task.payload", "ok", task_id),
            ("watcher", "task.payload", "refused", task_id),
        ]
