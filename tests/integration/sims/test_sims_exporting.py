"""把列表整个写成 CSV：一张不少，条件照旧，写出去的再读得进来；断了的看得出来。"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import StringIO

import aiohttp
import pytest
from aiohttp import web

from api.http.streams import STREAMS, Streams
from kaguan.config import load_settings
from kaguan.database.engine import engine_on
from kaguan.database.paging import PageRequest
from kaguan.sims import exporting
from kaguan.sims.iccid import with_check_digit
from kaguan.sims.store import SimFilter
from kaguan.words.errors import Code, DomainError
from tests.support.console import signed_in
from tests.support.folded import folded
from tests.support.serving import Api, serving

CARDS = """
insert into tb_sim (iccid, carrier, luhn_valid, plan, tags, remark)
select '898600' || lpad(n::text, 14, '0'), case when mod(n, 3) = 0 then 'control_center' else 'onelink' end, true,
    case when mod(n, 2) = 0 then '30M' end, array['a', 'b'], %s
from generate_series(%s::int, %s::int) as n
"""
EVENTS = """
insert into tb_sim_event (iccid, old_state, new_state, source)
select %s, 'active', 'suspended', 'onelink' from generate_series(1, %s)
"""


async def exported(api: Api, path: str, accept: str = "text/csv") -> tuple[Mapping[str, str], list[dict[str, str]]]:
    headers = {"Authorization": f"Bearer {api.token}", "Accept": accept}
    async with api.session.get(f"/api/v1{path}", headers=headers) as response:
        assert response.status == 200, await response.text()
        return response.headers, list(csv.DictReader(StringIO(await response.text())))


async def test_every_card_of_a_filter_is_written_once_in_order(api: Api) -> None:
    await api.rows(CARDS, "=1+1", 1, 1_203)
    headers, rows = await exported(api, "/sims")
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert [int(row["iccid"][6:]) for row in rows] == list(range(1_203, 0, -1))
    assert (rows[-1]["tags"], rows[-1]["remark"], rows[-1]["plan"]) == ("a;b", "'=1+1", "")
    _, filtered = await exported(api, "/sims?carrier=control_center&plan=30M&sort=id")
    assert [int(row["iccid"][6:]) for row in filtered] == list(range(6, 1_203, 6))
    cursor = (await api.get("/sims?page_size=3")).data["next_cursor"]
    assert len((await exported(api, f"/sims?cursor={cursor}"))[1]) == 1_200
    _, found = await exported(api, f"/sims?q={rows[0]['iccid']}", "application/json;q=0.5, text/csv")
    assert len(found) == 1


@folded("accept", ["application/json", "*/*", "text/csv;q=0", "text/csv;q=0.1, application/json"])
async def test_who_does_not_ask_for_csv_gets_json(api: Api, accept: str) -> None:
    headers = {"Authorization": f"Bearer {api.token}", "Accept": accept}
    async with api.session.get("/api/v1/sims", headers=headers) as response:
        assert response.content_type == "application/json"


async def test_what_was_exported_goes_in_again(api: Api) -> None:
    await api.rows(CARDS, "r", 1, 3)
    headers = {"Authorization": f"Bearer {api.token}", "Accept": "text/csv"}
    async with api.session.get("/api/v1/sims", headers=headers) as response:
        plain = await response.text()
    async with signed_in(api) as visitor:
        spoken = (await visitor.get("/console/sims/export?plan=30M")).text
        assert spoken.startswith("\ufeffICCID,运营商,状态,")
        assert "\t89860000000000000002,OneLink,未知," in spoken
    await api.rows("delete from tb_sim")
    async with signed_in(api, name="again") as visitor:
        for text, cards in ((spoken, "1"), (plain, "3")):
            shown = await visitor.act("/console/sims/import/preview", pasted=text)
            assert (shown.tested("count-new"), shown.tested("count-invalid")) == (cards, "0")


async def test_the_state_changes_of_a_card_are_written_whole(api: Api) -> None:
    iccid = with_check_digit(f"898600{1:013d}")
    await api.post("/sims", {"sims": [{"iccid": iccid, "carrier": "onelink"}]})
    await api.rows(EVENTS, iccid, 1_001)
    _, rows = await exported(api, f"/sims/{iccid}/events")
    numbers = [int(row["id"]) for row in rows]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 1_001
    async with signed_in(api) as visitor:
        assert "停机" in (await visitor.get(f"/console/sims/{iccid}/events")).text


async def test_more_cards_than_the_limit_are_refused_before_the_first_line(api: Api) -> None:
    await api.rows(CARDS, "r", 1, 3)
    engine = engine_on(api.pool)
    pages = exporting.cards(engine.connect, PageRequest(), SimFilter(), most=2)
    with pytest.raises(DomainError) as refused:
        await anext(pages)
    assert refused.value.code == Code.INVALID_PARAMETERS
    [whole] = [page async for page in exporting.cards(engine.connect, PageRequest(), SimFilter(), most=3)]
    assert len(whole) == 3


async def test_an_export_that_breaks_off_is_seen_to_and_holds_no_connection(
    environ: dict[str, str],
) -> None:
    """一条连接的库：对方不收的时候别人照样查；停机时掐断，客户端不会当作完整的。"""
    settings = load_settings({**environ, "KAGUAN_DATABASE__POOL_MAX": "1", "KAGUAN_DATABASE__POOL_MIN": "1"})
    made: list[Streams] = []

    def keep(app: web.Application) -> None:
        made.append(app[STREAMS])

    async with serving(settings, adapt=keep) as api:
        for start in range(0, 14_000, 2_000):
            await api.rows(CARDS, "长" * 500, start, start + 1_999)
        headers = {"Authorization": f"Bearer {api.token}", "Accept": "text/csv"}
        async with api.session.get("/api/v1/sims", headers=headers) as response:
            await response.content.readexactly(10)
            assert (await api.get("/sims?page_size=1")).status == 200
            made[0].stop()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
