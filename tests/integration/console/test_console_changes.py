"""控制台里成批改卡：勾选或全部，先看谁改得了，写明缘由再确认；回执、不明的定论、导出。"""

from __future__ import annotations

import html
import re

import pytest

from kaguan.sims.iccid import with_check_digit
from tests.support.console import Page, Visitor, signed_in
from tests.support.folded import folded
from tests.support.serving import Api

PREVIEW, RUN = "/console/sims/changes/preview", "/console/sims/changes/run"


def iccid(number: int) -> str:
    return with_check_digit(f"898600{number:013d}")


@pytest.fixture
async def cards(api: Api) -> None:
    """二十张在用的，三张已停的。"""
    given = [{"iccid": iccid(number), "carrier": "onelink", "group": "车队"} for number in range(1, 24)]
    assert (await api.post("/sims", {"sims": given})).status == 201
    await api.rows("update tb_sim set lifecycle_state = 'active'")
    await api.rows(
        "update tb_sim set lifecycle_state = 'suspended' where iccid = any(%s)", [iccid(21), iccid(22), iccid(23)]
    )


def token(page: Page) -> str:
    found = re.search(r'name="selection" value="([^"]*)"', page.text)
    assert found is not None, page.text
    return html.unescape(found[1])


async def of_group(visitor: Visitor, change: str = "suspend", **rest: str) -> Page:
    return await visitor.act(PREVIEW, whom="filter", filter="group=车队", change=change, new_plan="", **rest)


@pytest.mark.usefixtures("cards")
async def test_a_whole_filter_is_previewed_confirmed_once_and_followed_to_its_receipts(api: Api) -> None:
    async with signed_in(api) as visitor:
        shown = await of_group(visitor)
        assert (shown.tested("count-changing"), shown.tested("count-refused")) == ("20", "3")
        assert iccid(22) in shown.tested("refused")
        assert await api.rows("select count(*) from tb_sim_change") == [(0,)]
        selection = token(shown)
        assert (await visitor.act(RUN, selection=selection, reason=" ")).status == 400
        done = await visitor.act(RUN, selection=selection, reason="欠费")
        assert done.status == 303
        again = await visitor.act(RUN, selection=selection, reason="欠费")
        assert again.location == done.location
        assert await api.rows("select count(*) from tb_task where type = 'sim:change'") == [(20,)]
        page = await visitor.get(done.location)
        assert (page.tested("count-pending"), page.tested("change-reason")) == ("20", "欠费")
        card = await visitor.get(f"/console/sims/{iccid(1)}")
        assert "欠费" in card.tested("changes")
        assert [entry[:3] for entry in await visitor.audit()][-1] == ("operator", "sim.change", "ok")


@pytest.mark.usefixtures("cards")
async def test_a_doubt_is_decided_on_the_page_of_the_change_and_the_receipts_are_exported(api: Api) -> None:
    async with signed_in(api) as visitor:
        done = await visitor.act(RUN, selection=token(await of_group(visitor)), reason="欠费")
        [(task_id,)] = await api.rows(
            "update tb_task set status = 'uncertain' where payload->>'iccid' = %s returning id::text", iccid(7)
        )
        page = await visitor.get(done.location)
        assert iccid(7) in page.tested("doubts")
        decided = await visitor.act(
            f"/console/tasks/{task_id}/resolve", outcome="happened", note="运营商的单子上有", back=done.location
        )
        assert (decided.status, decided.location) == (303, done.location)
        page = await visitor.get(done.location)
        assert (page.tested("count-succeeded"), page.tested("count-uncertain")) == ("1", "0")
        exported = await visitor.get(f"{done.location}/receipts")
        assert "attachment" in exported.headers["Content-Disposition"]
        lines = exported.text.splitlines()
        assert len(lines) == 21
        assert any(iccid(7) in line and "succeeded" in line for line in lines)


@pytest.mark.usefixtures("cards")
async def test_ticked_cards_alone_are_changed_and_a_plan_is_asked_for(api: Api) -> None:
    async with signed_in(api) as visitor:
        ticked = {"whom": "ticked", "iccid": iccid(3), "filter": ""}
        assert (await visitor.act(PREVIEW, **ticked, change="plan", new_plan=" ")).tested("refusal")
        shown = await visitor.act(PREVIEW, **ticked, change="plan", new_plan="100M")
        assert (shown.tested("count-changing"), shown.tested("count-refused")) == ("1", "0")
        await visitor.act(RUN, selection=token(shown), reason="升级")
        assert await api.rows("select payload->>'iccid', payload->>'plan' from tb_task") == [(iccid(3), "100M")]


@pytest.mark.usefixtures("cards")
@folded(
    "form",
    [
        {"whom": "ticked", "change": "suspend"},
        {"whom": "filter", "filter": "group=nobody", "change": "suspend"},
        {"whom": "filter", "filter": "q=12", "change": "suspend"},
        {"whom": "filter", "filter": "", "change": "suspend"},
        {"whom": "filter", "filter": "carrier=nobody&group=车队", "change": "suspend"},
        {"whom": "filter", "filter": "group=车队", "change": "destroy"},
    ],
)
async def test_a_selection_of_nothing_is_told_in_words(api: Api, form: dict[str, str]) -> None:
    async with signed_in(api) as visitor:
        assert (await visitor.act(PREVIEW, **form)).tested("refusal")


async def test_a_change_that_is_not_there_is_not_found_and_a_forged_preview_refused(api: Api) -> None:
    async with signed_in(api) as visitor:
        for name in ("1", "x", "9" * 30):
            assert (await visitor.get(f"/console/sims/changes/{name}")).status == 404
        assert (await visitor.act(RUN, selection="forged", reason="r")).status == 400
    async with signed_in(api, ("ops:read", "sims:read"), "reader") as reader:
        assert (await of_group(reader)).status == 403
