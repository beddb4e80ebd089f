"""控制台的卡：按号码的一段找，看一张的全部，马上刷新；谁看得。"""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from api.console.cards import HIGH, bars
from kaguan.sims.iccid import with_check_digit
from kaguan.sims.service import Month
from kaguan.words.zones import business_today
from tests.support.console import signed_in
from tests.support.serving import Api

ICCID = with_check_digit(f"898600{1:013d}")
OTHER = with_check_digit(f"898600{2:013d}")
CARD = {"iccid": ICCID, "carrier": "onelink", "msisdn": "1064712345678", "plan": "30M", "tags": ["展会"]}
EVENT = (
    "insert into tb_sim_event (iccid, old_state, new_state, source, carrier_status)"
    " values (%s, 'inventory', 'active', 'onelink', 'raw-2')"
)
USAGE = "insert into tb_sim_usage (iccid, day, carrier, data_bytes) values (%s, %s, 'onelink', %s)"


@pytest.fixture
async def card(api: Api) -> None:
    await api.post("/sims", {"sims": [CARD, {"iccid": OTHER, "carrier": "control_center"}]})
    await api.rows(EVENT, ICCID)
    await api.rows(USAGE, ICCID, business_today(), 3 * 1024 * 1024)


@pytest.mark.usefixtures("card")
async def test_a_card_is_found_by_pasted_numbers_and_shown_whole(api: Api) -> None:
    async with signed_in(api) as visitor:
        listed = await visitor.get("/console/sims?q=712345678%0A99999")
        assert f'data-sim="{ICCID}"' in listed.text
        assert OTHER not in listed.text
        assert "99999" in listed.tested("missing")
        assert "3.0 MiB" in listed.text
        assert f'data-sim="{OTHER}"' in (await visitor.get("/console/sims?carrier=control_center")).text
        assert OTHER not in (await visitor.get("/console/sims?tag=展会&plan=30M&state=unknown")).text
        page = await visitor.get(f"/console/sims/{ICCID}")
        assert "1064712345678" in page.tested("identity")
        assert "raw-2" in page.tested("events")
        assert "3.0 MiB" in page.tested("month")
        assert page.text.count('class="room"') == business_today().day
        assert (await visitor.get("/console/sims/8986")).status == 404


async def test_a_search_that_is_no_number_says_so_on_the_page(api: Api) -> None:
    async with signed_in(api) as visitor:
        for path in ("/console/sims?q=12", "/console/sims?q=abc", "/console/sims?cursor=x"):
            page = await visitor.get(path)
            assert page.status == 200
            assert page.tested("refusal")
        assert (await visitor.get("/console/sims?carrier=nobody")).status == 200


@pytest.mark.usefixtures("card")
async def test_a_refresh_is_one_press_and_shows_among_the_tasks_of_the_card(api: Api) -> None:
    async with signed_in(api) as visitor:
        done = await visitor.act(f"/console/sims/{ICCID}/refresh", back=f"/console/sims/{ICCID}")
        assert (done.status, done.location) == (303, f"/console/sims/{ICCID}")
        [(task_id, queue)] = await api.rows("select id::text, queue from tb_task")
        assert queue == "critical"
        assert task_id[-6:] in (await visitor.get(done.location)).tested("sim-tasks")
        assert await visitor.audit() == [
            ("test", "sim.register", "ok", None),
            ("operator", "sim.refresh", "ok", ICCID),
        ]
        missing = with_check_digit(f"898600{9:013d}")
        assert (await visitor.act(f"/console/sims/{missing}/refresh")).status == 404


@pytest.mark.usefixtures("card")
async def test_cards_are_shown_to_who_may_read_them_and_to_no_other_reader(api: Api) -> None:
    async with signed_in(api, ("ops:read",), "reader") as reader:
        assert (await reader.get(f"/console/sims/{ICCID}")).status == 403
        assert (await reader.get("/console/sims")).status == 403
        assert 'data-testid="nav-sims"' not in (await reader.get("/console/audit")).text
    async with signed_in(api, ("ops:read", "sims:read"), "desk") as desk:
        page = await desk.get(f"/console/sims/{ICCID}")
        assert page.status == 200
        assert 'data-testid="refresh"' not in page.text
        assert (await desk.act(f"/console/sims/{ICCID}/refresh")).status == 403


def test_the_chart_has_a_bar_for_each_day_and_the_highest_reaches_the_top() -> None:
    start = date(2026, 2, 1)
    drawn = bars(Month(start, start + timedelta(days=3), {start: (50, 0), start + timedelta(days=2): (100, 0)}))
    assert [(bar.x, bar.height) for bar in drawn] == [(0, HIGH / 2), (10, 0.0), (20, HIGH), (30, 0.0)]
    assert bars(Month(start, start)) != []
