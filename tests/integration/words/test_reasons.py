"""同一个失败，API、控制台、命令行各用读者的语言说；从前写下的行三处都照原样。"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from kaguan.words.reasons import Reason
from tests.support.console import signed_in
from tests.support.invocation import Invocation
from tests.support.serving import Api

MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
ENGLISH = {"Accept-Language": "en"}
REPLY = Reason("mail.reply_quoted", {"reply": Reason.of("550"), "count": 2, "words": "用户不存在"})
WRITTEN = Reason("outbox.attempts_used_up", {"attempts": 5, "reason": Reason("mail.refused", {"replies": [REPLY]})})
FAIL = """
with failed as (
    update tb_task set status = 'failed', attempt = 5, finished_at = clock_timestamp(), last_error = %(error)s
    where id = %(id)s
    returning id, attempt, delivery
)
insert into tb_task_event (task_id, kind, attempt, delivery, detail)
select id, 'attempt_failed', attempt, delivery, %(error)s from failed
"""


class Case(NamedTuple):
    """库里的一行，与两种语言里的说法。"""

    error: dict[str, Any]
    zh: str
    en: str


CODED = Case(
    WRITTEN.stored(),
    "5 次尝试用尽：全部收件人被拒收（550 × 2：用户不存在）",
    "5 attempts used up: all recipients were refused (550 × 2: 用户不存在)",
)
LEGACY = Case({"reason": "2 次尝试用尽：对方忙"}, "2 次尝试用尽：对方忙", "2 次尝试用尽：对方忙")
NEWER = Case({"reason": "后来的缘故", "code": "mail.of_tomorrow", "parameters": {}}, "后来的缘故", "后来的缘故")

Fail: TypeAlias = "Callable[[Case], Awaitable[UUID]]"


@pytest.fixture
def fail(api: Api) -> Fail:
    async def failed(case: Case) -> UUID:
        task_id = UUID((await api.post("/tasks/email", MAIL)).data["task_id"])
        await api.rows("delete from tb_outbox where task_id = %s", task_id)
        async with api.pool.connection() as connection:
            await connection.execute(FAIL, {"id": task_id, "error": Jsonb(case.error)})
        return task_id

    return failed


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environ: dict[str, str]) -> Invocation:
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    return Invocation(monkeypatch, capsys)


@pytest.mark.parametrize("case", [CODED, LEGACY, NEWER], ids=["coded", "legacy", "newer"])
async def test_a_failure_is_told_in_the_readers_language_wherever_it_is_read(
    case: Case, api: Api, fail: Fail, run: Invocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await fail(case)
    for language, said in (("zh", case.zh), ("en", case.en)):
        headers = {"Accept-Language": language}
        task = (await api.call("GET", f"/tasks/{task_id}", None, headers)).data
        assert task["error"] == case.error | {"reason": said}
        assert [stage["reason"] for stage in task["timeline"] if stage["stage"] == "attempt_failed"] == [said]
        [listed] = (await api.call("GET", "/tasks?status=failed", None, headers)).data["items"]
        assert listed["error"] == task["error"]
        dry = (await api.call("POST", "/tasks/replay", {"type": "email:send"}, headers)).data
        assert [row["last_error"] for row in dry["matched"]] == [task["error"]]
    async with signed_in(api) as visitor:
        for path in (f"/console/tasks/{task_id}", "/console/tasks", "/console/dead-letters?preview=1", "/"):
            assert case.zh in (await visitor.get(path)).text, path
            assert case.en in (await visitor.get(path, ENGLISH)).text, path
    for language, said in (("zh", case.zh), ("en", case.en)):
        monkeypatch.setenv("KAGUAN_LANGUAGE", language)
        shown = await asyncio.to_thread(run, "task", "show", str(task_id))
        as_json = json.loads((await asyncio.to_thread(run, "task", "show", str(task_id), "--json"))[1])
        replay = json.loads((await asyncio.to_thread(run, "task", "replay", "--json"))[1])
        listed = await asyncio.to_thread(run, "task", "replay")
        assert said in shown[1]
        assert said in listed[1].replace("\n", "")
        assert as_json["last_error"] == case.error | {"reason": said}
        assert [stage["reason"] for stage in as_json["timeline"] if stage["stage"] == "attempt_failed"] == [said]
        assert replay["matched"][0]["last_error"] == as_json["last_error"]


async def test_what_is_read_in_either_language_chooses_what_to_replay(api: Api, fail: Fail) -> None:
    coded = str(await fail(CODED))
    legacy = str(await fail(LEGACY))
    criteria: list[tuple[str, dict[str, str], list[str]]] = [
        ("zh", {"reason": CODED.zh}, [coded]),
        ("en", {"reason": CODED.en}, [coded]),
        ("en", {"reason": CODED.zh}, [coded]),
        ("en", {"reason": LEGACY.en}, [legacy]),
        ("en", {"reason": "nothing like it"}, []),
        ("zh", {"error": "次尝试用尽"}, [coded, legacy]),
        ("en", {"error": "mail.refused"}, [coded]),
        ("zh", {"error": "outbox.attempts_used_up"}, [coded]),
        ("zh", {"error": "mail.refuse"}, []),
    ]
    for language, asked, chosen in criteria:
        dry = (await api.call("POST", "/tasks/replay", asked, {"Accept-Language": language})).data
        assert [row["task_id"] for row in dry["matched"]] == chosen, asked
    done = (await api.call("POST", "/tasks/replay", {"reason": CODED.en, "dry_run": False}, ENGLISH)).data
    assert done["replayed"] == 1
    assert await api.rows("select id::text from vw_task where status = 'pending'") == [(coded,)]


async def test_one_cause_is_chosen_by_the_link_of_its_group_in_either_language(api: Api, fail: Fail) -> None:
    await fail(CODED)
    await fail(LEGACY)
    async with signed_in(api) as visitor:
        for headers, said in (({}, CODED.zh), (ENGLISH, CODED.en)):
            groups = (await visitor.get("/console/dead-letters", headers)).text
            assert said in groups
            preview = await visitor.get(
                f"/console/dead-letters?preview=1&status=failed&one_reason=1&reason={CODED.zh}", headers
            )
            assert said in preview.tested("replay-reason")
