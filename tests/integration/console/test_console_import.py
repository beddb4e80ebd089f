"""控制台里从表格登记卡：看一看，错的下载下来，确认了只登记看到的新卡。"""

from __future__ import annotations

import base64
import html
import re
from io import BytesIO

import aiohttp

from kaguan.sims.iccid import with_check_digit
from tests.support.console import Page, Visitor, signed_in
from tests.support.folded import folded
from tests.support.serving import Api

PREVIEW, RUN = "/console/sims/import/preview", "/console/sims/import/run"


def iccid(number: int) -> str:
    return with_check_digit(f"898600{number:013d}")


async def offer(visitor: Visitor, file: bytes = b"", csrf: str | None = None, **fields: str) -> Page:
    form = aiohttp.FormData({"csrf_token": await visitor.csrf() if csrf is None else csrf, **fields})
    form.add_field("file", BytesIO(file), filename="卡.csv", content_type="text/csv")
    headers = {"Origin": visitor.origin}
    async with visitor.session.post(PREVIEW, data=form, headers=headers, allow_redirects=False) as response:
        return Page(response.status, response.headers, await response.text())


def hidden(page: Page, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found is not None
    return html.unescape(found[1])


async def test_a_file_is_shown_line_by_line_and_only_its_new_cards_are_registered(api: Api) -> None:
    await api.post("/sims", {"sims": [{"iccid": iccid(1), "carrier": "onelink"}]})
    text = f"卡号,套餐\r\n{iccid(1)},30M\r\n{iccid(2)},30M\r\n123,<b>\r\n{iccid(3)},\r\n"
    async with signed_in(api) as visitor:
        shown = await offer(visitor, text.encode("gb18030"), carrier="onelink")
        counts = [shown.tested(f"count-{name}") for name in ("new", "existing", "invalid")]
        assert (shown.status, counts) == (200, ["2", "1", "1"])
        assert "4" in shown.tested("wrong")
        link = re.search(r'href="data:text/csv;charset=utf-8;base64,([^"]*)" download="errors.csv"', shown.text)
        assert link is not None
        assert "123,<b>,4," in base64.b64decode(html.unescape(link[1])).decode("utf-8-sig")
        await api.post("/sims", {"sims": [{"iccid": iccid(3), "carrier": "onelink"}]})
        done = await visitor.act(RUN, selection=hidden(shown, "selection"))
        assert (done.status, done.location) == (303, "/console/sims")
        notice = (await visitor.get("/console/sims")).tested("notice")
        assert "已登记 1 张卡；另有 1 张已在库" in notice
        assert ("operator", "sim.register", "ok", None) in await visitor.audit()
    assert (await api.get(f"/sims/{iccid(2)}")).data["plan"] == "30M"


async def test_cells_pasted_from_a_spreadsheet_do_as_well(api: Api) -> None:
    async with signed_in(api) as visitor:
        shown = await offer(visitor, pasted=f"ICCID\t运营商\n{iccid(1)}\tOneLink\n", carrier="")
        assert shown.tested("count-new") == "1"


async def test_what_is_no_list_of_cards_says_so_and_nobody_else_may_look(api: Api) -> None:
    async with signed_in(api) as visitor:
        assert (await offer(visitor, b"\x80")).tested("refusal")
        assert (await offer(visitor)).tested("refusal")
        assert (await offer(visitor, b"x" * (5 * 1024 * 1024))).status == 413
        assert (await offer(visitor, csrf="forged")).status == 403
        assert (await visitor.act(RUN, selection="forged")).status == 400
    async with signed_in(api, ("ops:read", "sims:read"), "reader") as reader:
        assert "import-form" not in (await reader.get("/console/sims/import")).text
        assert (await offer(reader, b"iccid\n1")).status == 403
        assert "to-import" not in (await reader.get("/console/sims")).text
    assert await api.rows("select count(*) from tb_sim") == [(0,)]


@folded("body", [b"", b"--x", b"--x\r\n\r\na\r\n--x--\r\n", b"--x\r\nContent-Disposition: a\r\n\r\n--x--"])
async def test_a_broken_form_is_a_refusal(api: Api, body: bytes) -> None:
    async with signed_in(api) as visitor:
        headers = {"Origin": visitor.origin, "Content-Type": "multipart/form-data; boundary=x"}
        async with visitor.session.post(PREVIEW, data=body, headers=headers) as response:
            assert response.status in {400, 403}
