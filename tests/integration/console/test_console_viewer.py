"""只看的人（``ops:read``）看不见个人信息：收件人、结果里的文字、别人的原话；有 ``ops`` 的看得见。"""

from __future__ import annotations

import re
from uuid import UUID

from psycopg.types.json import Jsonb

from kaguan.config import load_settings
from kaguan.database.pool import Pool
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
RESULT = {"message_id": "<1@kaguan>", "recipients": [{"recipient": SOMEBODY, "status": "sent", "code": 250}]}


async def told_everywhere(api: Api) -> list[str]:
    """两个没成的、一个做成的任务，各处都写着收件人；返回写着的那些页。"""
    mail = {"to": [SOMEBODY], "subject": "s", "body": "b"}
    quoted, written, sent = [UUID((await api.post("/tasks/email", mail)).data["task_id"]) for _ in range(3)]
    for task_id, error in ((quoted, REFUSED), (written, WRITTEN)):
        await api.rows("delete from tb_outbox where task_id = %s", task_id)
        await api.rows(
            "update tb_task set status = 'failed', attempt = 1, finished_at = now(), last_error = %s where id = %s",
            Jsonb(error),
            task_id,
        )
        await api.rows(
            "insert into tb_task_event (task_id, kind, attempt, delivery, detail) "
            "values (%s, 'attempt_failed', 1, 1, %s)",
            task_id,
            Jsonb(error),
        )
    await api.rows(
        "update tb_task set status = 'succeeded', attempt = 1, finished_at = now(), result = %s where id = %s",
        Jsonb(RESULT),
        sent,
    )
    await api.rows(
        "insert into tb_audit (actor, action, detail, outcome) values ('operator', 'task.replay', %s, 'ok')",
        Jsonb(WRITTEN),
    )
    return [
        "/",
        "/console/tasks",
        *(f"/console/tasks/{one}" for one in (quoted, written, sent)),
        "/console/dead-letters?preview=1&status=failed",
        "/console/audit",
    ]


async def told_to(visitor: Visitor, path: str) -> bool:
    text = (await visitor.get(path)).text
    return SOMEBODY_IN_AN_ADDRESS.search(text) is not None or SPOKEN in text


async def test_who_may_only_look_sees_no_personal_data_and_an_operator_does(api: Api) -> None:
    pages = await told_everywhere(api)
    async with signed_in(api) as operator:
        assert [path for path in pages if not await told_to(operator, path)] == []
    async with signed_in(api, ["ops:read"], "watcher") as watcher:
        assert [path for path in pages if await told_to(watcher, path)] == []
        result = (await watcher.get(pages[4])).tested("result")
        assert "recipients" in result
        assert "250" in result
        assert "552 5.2.2" in (await watcher.get(pages[2])).text


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
