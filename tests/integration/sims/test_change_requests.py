"""改卡的要求：谁会改、谁不会、为什么；试运行的凭据；同一个号再来；一批只有几条语句；谁有权限。"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kaguan.config import Settings
from kaguan.dev.simulator import iccid_at
from kaguan.sims.vocabulary import Carrier
from kaguan.words.zones import business_today
from tests.support.folded import folded
from tests.support.serving import Api, serving

ONELINK, CENTER = Carrier.ONELINK, Carrier.CONTROL_CENTER
NOBODY = iccid_at(ONELINK, 900)
STATES = ("active", "suspended", "inventory", "pre_cancelled", "unknown")


def iccid(number: int) -> str:
    return iccid_at(ONELINK, number)


@pytest.fixture
async def stocked(api: Api) -> Api:
    """一种状态一张卡，依 ``STATES`` 的次序；另有一张已删的。"""
    await api.rows(
        "insert into tb_sim (iccid, carrier, luhn_valid, lifecycle_state, plan, group_name)"
        " select *, '30M', '一号仓' from unnest(%s::text[], %s::text[], %s::bool[], %s::text[]) returning id",
        [iccid(number) for number in range(len(STATES))],
        [ONELINK.value] * len(STATES),
        [True] * len(STATES),
        list(STATES),
    )
    return api


async def ask(api: Api, change: str, iccids: list[str], **more: Any) -> Any:
    return await api.post("/sims/changes", {"change": change, "iccids": iccids, "reason": "客户停用", **more})


async def refused(api: Api, change: str, **more: Any) -> dict[int, str]:
    """试运行里不会改的：第几张 → 代号。"""
    everyone = [iccid(number) for number in range(len(STATES))]
    reply = await ask(api, change, everyone, dry_run=True, **more)
    assert reply.status == 200, reply.text
    assert reply.data["accepted"] + reply.data["refused"] == len(everyone)
    return {everyone.index(one["iccid"]): one["code"].removeprefix("sims.refused_") for one in reply.data["refusals"]}


async def test_a_preview_says_who_changes_who_does_not_and_why(stocked: Api) -> None:
    assert await refused(stocked, "suspend") == {1: "already", 2: "state", 3: "state"}
    assert await refused(stocked, "resume") == {0: "already", 2: "state", 3: "state"}
    assert await refused(stocked, "activate") == {0: "already", 1: "state", 3: "state"}
    assert await refused(stocked, "plan", plan="100M") == {3: "state"}
    assert await refused(stocked, "plan", plan="30M") == dict.fromkeys(range(5), "same_plan")
    reply = await ask(stocked, "suspend", [NOBODY], dry_run=True)
    assert [one["code"] for one in reply.data["refusals"]] == ["sims.refused_unknown"]
    english = await stocked.call(
        "POST",
        "/sims/changes",
        {"change": "suspend", "iccids": [iccid(1)], "reason": "r", "dry_run": True},
        {"Accept-Language": "en"},
    )
    assert english.data["refusals"][0]["reason"] == "is suspended already"
    assert await stocked.rows("select count(*) from tb_sim_change") == [(0,)]


async def test_what_was_seen_is_what_is_done(stocked: Api) -> None:
    """凭据里是会改的那几张；其后才合条件的不在其中，已不合的在回执里说明。"""
    where = {"filter": {"group": "一号仓"}, "change": "suspend", "reason": "欠费"}
    seen = (await stocked.post("/sims/changes", {**where, "dry_run": True})).data
    assert [one["iccid"] for one in seen["cards"]] == [iccid(0), iccid(4)]
    await stocked.rows("update tb_sim set lifecycle_state = 'active' where iccid = %s returning id", iccid(2))
    await stocked.rows("update tb_sim set lifecycle_state = 'suspended' where iccid = %s returning id", iccid(4))
    done = await stocked.post("/sims/changes", {"preview": seen["preview"], "dry_run": False})
    assert (done.status, done.data["accepted"], done.data["refused"]) == (202, 1, 1)
    change = (await stocked.get(f"/sims/changes/{done.data['id']}")).data
    assert (change["reason"], change["counts"]["pending"], change["counts"]["refused"]) == ("欠费", 1, 1)
    assert [(one["iccid"], one["status"], one["task_id"] is None) for one in change["receipts"]] == [
        (iccid(0), "pending", False),
        (iccid(4), "refused", True),
    ]
    assert change["receipts"][1]["reason"] == "已经是 suspended"
    for broken in (seen["preview"][:-4], "x", seen["preview"] + "A"):
        reply = await stocked.post("/sims/changes", {"preview": broken})
        assert (reply.status, reply.code) == (400, 1001)


async def test_a_filter_takes_the_oldest_up_to_its_limit_and_says_so(stocked: Api) -> None:
    body = {"change": "plan", "plan": "100M", "reason": "r", "filter": {"plan": "30M"}, "limit": 2, "dry_run": True}
    reply = await stocked.post("/sims/changes", body)
    assert ([one["iccid"] for one in reply.data["cards"]], reply.data["limited"]) == ([iccid(0), iccid(1)], True)
    none = await stocked.post("/sims/changes", {**body, "filter": {"group": "没有这一组"}})
    assert (none.status, none.faulty) == (400, ["filter"])


async def test_the_same_request_id_is_one_change(stocked: Api) -> None:
    first = await ask(stocked, "suspend", [iccid(0)], request_id="stop-1")
    again = await ask(stocked, "suspend", [iccid(0)], request_id="stop-1")
    assert (first.status, first.data["replayed"], again.status, again.data["replayed"]) == (202, False, 202, True)
    assert (again.data["id"], again.data["accepted"]) == (first.data["id"], 1)
    other = await ask(stocked, "suspend", [iccid(4)], request_id="stop-1")
    assert (other.status, other.code) == (422, 1011)
    assert await stocked.rows("select count(*) from tb_task where type = 'sim:change'") == [(1,)]


async def test_a_card_with_a_change_ahead_is_judged_by_what_it_will_be_and_waits(stocked: Api) -> None:
    """前面的停机还没做：再停是重复，复机排在它后面；不论是谁要求的。"""
    ahead = (await ask(stocked, "suspend", [iccid(0)])).data["id"]
    task = (await stocked.get(f"/sims/changes/{ahead}")).data["receipts"][0]["task_id"]
    again = await ask(stocked, "suspend", [iccid(0)], dry_run=True)
    assert [one["code"] for one in again.data["refusals"]] == ["sims.refused_already"]
    back = await ask(stocked, "resume", [iccid(0)], dry_run=True)
    assert [one["behind"] for one in back.data["cards"]] == [task]
    assert (await ask(stocked, "resume", [iccid(0)])).data["accepted"] == 1
    assert await stocked.rows("select count(*) from tb_outbox") == [(1,)]


async def test_a_card_is_changed_so_often_a_day_and_no_more(stocked: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    day = business_today()
    monkeypatch.setattr("kaguan.sims.changes.business_today", lambda: day)
    for number in range(5):
        reply = await ask(stocked, "plan", [iccid(0)], plan=f"{number}M")
        assert reply.data["accepted"] == 1
    last = await ask(stocked, "plan", [iccid(0)], plan="9M")
    assert (last.status, last.data["accepted"]) == (200, 0)
    receipt = (await stocked.get(f"/sims/changes/{last.data['id']}")).data["receipts"][0]
    assert (receipt["status"], receipt["reason"]) == ("refused", "今天已改了 5 次，明天再来")


async def test_a_thousand_cards_are_one_request_of_few_statements(api: Api) -> None:
    thousand = [iccid_at(CENTER, number) for number in range(1_000)]
    await api.rows(
        "insert into tb_sim (iccid, carrier, luhn_valid, lifecycle_state)"
        " select unnest(%s::text[]), 'control_center', true, 'active' returning id",
        thousand,
    )
    reply = await ask(api, "suspend", thousand)
    assert (reply.status, reply.data["accepted"]) == (202, 1_000)
    assert await api.rows("select count(*) from tb_outbox") == [(1_000,)]
    counts = (await api.get(f"/sims/changes/{reply.data['id']}")).data["counts"]
    assert counts == {"pending": 1_000, "succeeded": 0, "refused": 0, "failed": 0, "uncertain": 0}


async def test_the_changes_of_a_card_are_listed_newest_first_and_paged(stocked: Api) -> None:
    for number in range(3):
        await ask(stocked, "plan", [iccid(0)], plan=f"{number}M")
    first = (await stocked.get(f"/sims/{iccid(0)}/changes?page_size=2")).data
    rest = (await stocked.get(f"/sims/{iccid(0)}/changes?page_size=2&cursor={first['next_cursor']}")).data
    assert [one["plan"] for one in (*first["items"], *rest["items"])] == ["2M", "1M", "0M"]
    assert rest["next_cursor"] is None
    assert first["items"][0]["receipt"]["iccid"] == iccid(0)
    assert (await stocked.get(f"/sims/{NOBODY}/changes")).status == 404
    assert (await stocked.get("/sims/changes/99999")).status == 404


@folded(
    "wrong",
    [
        {},
        {"change": "suspend", "iccids": ["1"], "reason": "r"},
        {"change": "suspend", "iccids": [], "reason": "r"},
        {"change": "suspend", "iccids": [NOBODY]},
        {"change": "suspend", "iccids": [NOBODY], "reason": " "},
        {"change": "suspend", "iccids": [NOBODY], "reason": "r", "plan": "1M"},
        {"change": "plan", "iccids": [NOBODY], "reason": "r"},
        {"change": "suspend", "iccids": [NOBODY], "filter": {"group": "g"}, "reason": "r"},
        {"change": "suspend", "filter": {}, "reason": "r"},
        {"change": "suspend", "filter": {"group": None}, "reason": "r"},
        {"change": "erase", "iccids": [NOBODY], "reason": "r"},
        {"preview": None},
        {"preview": "x", "change": "suspend"},
        {"preview": "x", "dry_run": True},
    ],
)
async def test_a_wrong_request_is_refused_in_words(api: Api, wrong: dict[str, Any]) -> None:
    reply = await api.post("/sims/changes", wrong)
    assert (reply.status, reply.code) == (400, 1001)
    assert reply.data["errors"]


async def test_changing_needs_its_own_scope(settings: Settings) -> None:
    async with serving(settings, ["sims:write", "sims:read"]) as writer:
        reply = await ask(writer, "suspend", [NOBODY])
        assert (reply.status, reply.code) == (403, 1003)


async def test_two_requests_at_once_for_one_card_see_each_other(stocked: Api) -> None:
    """同时来的停机：一个受理，另一个已经是了；不论谁先。"""
    answers = await asyncio.gather(*(ask(stocked, "suspend", [iccid(0)]) for _ in range(6)))
    assert sorted(answer.data["accepted"] for answer in answers) == [0, 0, 0, 0, 0, 1]


async def test_the_receipts_are_a_table_for_a_spreadsheet(stocked: Api) -> None:
    done = await ask(stocked, "suspend", [iccid(0), iccid(1)])
    path = f"/api/v1/sims/changes/{done.data['id']}"
    headers = {"Authorization": f"Bearer {stocked.token}", "Accept": "text/csv", "Accept-Language": "en"}
    async with stocked.session.get(path, headers=headers) as response:
        assert response.content_type == "text/csv"
        lines = (await response.text("utf-8-sig")).splitlines()
    assert lines[0].startswith("ICCID,Outcome,Reason")
    assert [line.split(",")[1:3] for line in lines[1:]] == [["pending", ""], ["refused", "is suspended already"]]
