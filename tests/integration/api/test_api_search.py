"""一个搜索框找任务：显示的号照着贴，键与号码记得一段就行；往回看一段，没看到头的说出来。"""

from __future__ import annotations

from urllib.parse import quote

import pytest

from kaguan.outbox.operate.listing import CONTENT_SCAN
from tests.support.console import signed_in
from tests.support.folded import folded
from tests.support.serving import Api

NEWER = """
insert into tb_task (id, type, queue, principal, payload, max_attempts, status, finished_at)
select ('0f' || substr(md5(n::text), 3))::uuid, 'email:send', 'low', 'x', '{}', 1, 'cancelled', now()
from generate_series(1, %s) as n
"""
CARD, PHONE = "8986001234567890123", "1064712345678"


async def accept(api: Api, path: str, body: object) -> str:
    return str((await api.post(path, body)).data["task_id"])


async def found(api: Api, text: str) -> list[str]:
    answer = await api.get(f"/tasks?q={quote(text)}")
    assert answer.status == 200, answer.text
    return [item["task_id"] for item in answer.data["items"]]


@pytest.fixture
async def tasks(api: Api) -> dict[str, str]:
    """一封信、一次批量查卡、一次刷新一张卡；另有一封不相干的。"""
    await api.post("/sims", {"sims": [{"iccid": CARD, "carrier": "onelink", "msisdn": PHONE}]})
    mail = {"to": ["li.lei@example.com"], "subject": "订单 A-17", "body": "b", "request_id": "order-4711"}
    others = [f"89860012345678{one:05}" for one in range(3)]
    return {
        "mail": await accept(api, "/tasks/email", {**mail, "ordering_key": "customer:42"}),
        "cards": await accept(api, "/tasks/sim", {"iccids": [*others, CARD]}),
        "refresh": await accept(api, f"/sims/{CARD}/refresh", None),
        "other": await accept(api, "/tasks/email", {"to": ["b@example.com"], "subject": "s", "body": "b"}),
    }


async def test_an_id_is_found_as_it_is_shown_and_by_its_end(api: Api, tasks: dict[str, str]) -> None:
    for one in tasks.values():
        assert one in await found(api, one[:8])  # 一分钟里受理的都以这八位开头
        for text in (one, one.upper(), one.replace("-", ""), f"{one[:13]}…{one[-6:]}", f"{one[:13]}...{one[-6:]}"):
            assert await found(api, text) == [one], text
        assert await found(api, one[-6:]) == [one]
    assert await found(api, f"{tasks['mail'][:13]}…ffffff") == []


@folded(
    ("text", "names"),
    [
        ("order-4711", ["mail"]),
        ("4711", ["mail"]),
        ("customer:42", ["mail"]),
        ("Li.Lei@", ["mail"]),
        ("订单 A-1", ["mail"]),
        (CARD, ["refresh", "cards"]),
        (CARD[-8:], ["refresh", "cards"]),
        (PHONE, ["refresh", "cards"]),
        (PHONE[:8], ["refresh", "cards"]),
        ("nobody", []),
    ],
)
async def test_a_business_key_is_found_by_part_of_it(
    api: Api, tasks: dict[str, str], text: str, names: list[str]
) -> None:
    assert await found(api, text) == [tasks[name] for name in names]


async def test_a_search_says_how_far_it_looked_and_goes_on_from_there(api: Api, tasks: dict[str, str]) -> None:
    await api.rows(NEWER, CONTENT_SCAN)
    first = (await api.get("/tasks?q=li.lei")).data
    assert first["items"] == []
    older = first["next_cursor"]
    seen = (await api.get(f"/tasks?q=li.lei&cursor={older}")).data["items"]
    assert [item["task_id"] for item in seen] == [tasks["mail"]]
    async with signed_in(api) as operator:
        page = await operator.get("/console/tasks?q=li.lei")
        assert "ICCID" in page.tested("no-tasks")
        assert '<time datetime="' in page.text
        assert "继续往前找" in page.text


async def test_who_may_only_look_finds_ids_and_whole_keys_but_cannot_guess_one_piece_by_piece(
    api: Api, tasks: dict[str, str]
) -> None:
    async with signed_in(api, ["ops:read"], "watcher") as watcher:
        for text, seen in ((tasks["mail"][-6:], True), ("order-4711", True), ("order-471", False), ("li.lei", False)):
            page = await watcher.get(f"/console/tasks?q={quote(text)}")
            assert (f'data-task="{tasks["mail"]}"' in page.text) is seen, text
