"""SIM 库存的路由：成批登记、查卡、列表、日用量。"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from kaguan.config import load_settings
from kaguan.sims.iccid import with_check_digit
from tests.support.eventually import eventually
from tests.support.folded import folded
from tests.support.serving import Api, serving


def iccid(number: int) -> str:
    """20 位、校验位正确的第 ``number`` 个号码。"""
    return with_check_digit(f"898600{number:013d}")


def sim(number: int, **fields: object) -> dict[str, Any]:
    return {"iccid": iccid(number), "carrier": "onelink", **fields}


async def register(api: Api, *sims: dict[str, Any]) -> list[dict[str, Any]]:
    reply = await api.post("/sims", {"sims": list(sims)})
    assert reply.status in {200, 201}, reply.text
    items: list[dict[str, Any]] = reply.data["items"]
    return items


async def test_a_batch_answers_for_every_card_in_order(api: Api) -> None:
    await register(api, sim(1))
    reply = await api.post(
        "/sims",
        {
            "sims": [
                sim(1),
                sim(2, msisdn="1064712345678", imsi="460001234567890", remark="一号车"),
                {"iccid": "12345", "carrier": "onelink"},
                sim(3, msisdn="not a number"),
                sim(4, imsi="12"),
                sim(2),
            ]
        },
    )
    assert reply.status == 201
    assert [item["outcome"] for item in reply.data["items"]] == [
        "conflict",
        "created",
        "invalid",
        "invalid",
        "invalid",
        "conflict",
    ]
    assert [item["field"] for item in reply.data["items"]] == ["iccid", None, "iccid", "msisdn", "imsi", "iccid"]
    assert [item["iccid"] for item in reply.data["items"]][2:4] == ["12345", iccid(3)]
    assert (reply.data["created"], reply.data["conflict"], reply.data["invalid"]) == (1, 2, 3)
    kept = (await api.get(f"/sims/{iccid(2)}")).data
    assert (kept["msisdn"], kept["imsi"], kept["remark"]) == ("1064712345678", "460001234567890", "一号车")
    assert (kept["carrier"], kept["lifecycle_state"], kept["luhn_valid"]) == ("onelink", "unknown", True)


async def test_nothing_new_is_200(api: Api) -> None:
    await register(api, sim(1))
    reply = await api.post("/sims", {"sims": [sim(1), {"iccid": "x", "carrier": "onelink"}]})
    assert (reply.status, reply.data["created"]) == (200, 0)
    only_bad = await api.post("/sims", {"sims": [{"iccid": "x", "carrier": "onelink"}]})
    assert (only_bad.status, only_bad.data["invalid"]) == (200, 1)


async def test_numbers_are_kept_in_one_form_and_a_wrong_check_digit_is_only_flagged(api: Api) -> None:
    good = iccid(7)[:-1]
    padded = with_check_digit(good[:18])
    wrong = iccid(8)[:-1] + str((int(iccid(8)[-1]) + 1) % 10)
    items = await register(
        api,
        {"iccid": padded[:4] + " " + padded[4:] + "F", "carrier": "control_center"},
        {"iccid": wrong, "carrier": "onelink"},
    )
    assert [item["outcome"] for item in items] == ["created", "created"]
    assert [item["iccid"] for item in items] == [padded, wrong]
    assert [item["luhn_valid"] for item in items] == [True, False]
    assert (await api.get(f"/sims/{padded}F")).data["iccid"] == padded
    assert (await api.get(f"/sims/{wrong}")).data["luhn_valid"] is False


async def test_reasons_come_in_the_language_asked_for(api: Api) -> None:
    body = {"sims": [{"iccid": "x", "carrier": "onelink"}]}
    english = await api.call("POST", "/sims", body, {"Accept-Language": "en"})
    assert english.data["items"][0]["reason"] == "must be 19 or 20 digits starting with 89"
    assert (await api.post("/sims", body)).data["items"][0]["reason"] == "应为 89 开头的 19 或 20 位数字"


async def test_a_thousand_cards_are_registered_at_once_but_not_one_more(api: Api) -> None:
    items = await register(api, *(sim(n) for n in range(1_000)))
    assert Counter(item["outcome"] for item in items) == {"created": 1_000}
    assert [item["iccid"] for item in items] == [iccid(n) for n in range(1_000)]
    for sims in ([], [sim(n) for n in range(1_001)]):
        reply = await api.post("/sims", {"sims": sims})
        assert (reply.status, reply.code, reply.faulty) == (400, 1001, ["sims"])


@folded(
    ("item", "faulty"),
    [
        ({"iccid": "8986"}, "sims[0].carrier"),
        ({"carrier": "onelink"}, "sims[0].iccid"),
        ({"iccid": iccid(1), "carrier": "vodafone"}, "sims[0].carrier"),
        ({"iccid": 8986, "carrier": "onelink"}, "sims[0].iccid"),
        ({"iccid": iccid(1), "carrier": "onelink", "lifecycle_state": "active"}, "sims[0].lifecycle_state"),
        ({"iccid": iccid(1), "carrier": "onelink", "luhn_valid": True}, "sims[0].luhn_valid"),
        ({"iccid": iccid(1), "carrier": "onelink", "remark": "x" * 501}, "sims[0].remark"),
        ({"iccid": iccid(1), "carrier": "onelink", "remark": "\x00"}, "sims[0].remark"),
    ],
)
async def test_a_misshapen_request_is_refused_whole(api: Api, item: dict[str, Any], faulty: str) -> None:
    reply = await api.post("/sims", {"sims": [item, sim(2)]})
    assert (reply.status, reply.code, reply.faulty) == (400, 1001, [faulty])
    assert await api.rows("select count(*) from tb_sim") == [(0,)]


async def test_parallel_batches_register_every_card_once(api: Api) -> None:
    batches = await asyncio.gather(*(register(api, *(sim(n) for n in range(50))) for _ in range(6)))
    created = Counter(item["iccid"] for items in batches for item in items if item["outcome"] == "created")
    assert created == {iccid(n): 1 for n in range(50)}


async def test_parallel_batches_in_opposite_orders_do_not_deadlock(environ: dict[str, str]) -> None:
    """别人占着中间那张，两批都走到一半停住；他一放手，次序不一的就互相等，PostgreSQL 一秒认出来，应答 503。"""
    cards = [sim(n) for n in range(21)]
    held = "insert into tb_sim (iccid, carrier, luhn_valid) values (%s, 'onelink', true)"
    waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with serving(load_settings(environ)) as api:

        async def both_wait() -> bool:
            return len(await api.rows(waiting)) == 2

        async with api.pool.connection() as connection, connection.transaction(force_rollback=True):
            await connection.execute(held, (iccid(10),))
            batches = asyncio.gather(register(api, *cards), register(api, *reversed(cards)))
            await eventually(both_wait)
        outcomes = Counter(item["outcome"] for items in await batches for item in items)
    assert outcomes == {"created": 21, "conflict": 21}


async def test_an_absent_or_impossible_number_is_not_found(api: Api) -> None:
    for number in (iccid(1), "nonsense", "0"):
        for path in (f"/sims/{number}", f"/sims/{number}/usage"):
            reply = await api.get(path)
            assert (reply.status, reply.code) == (404, 1004)


async def test_a_deleted_card_is_gone_and_its_number_free(api: Api) -> None:
    await register(api, sim(1))
    await api.rows("update tb_sim set deleted_at = now()")
    assert (await api.get(f"/sims/{iccid(1)}")).status == 404
    assert (await register(api, sim(1)))[0]["outcome"] == "created"


async def test_cards_are_listed_by_carrier_and_state_and_by_cursor(api: Api) -> None:
    await register(api, *(sim(n, carrier="control_center" if n % 2 else "onelink") for n in range(30)))
    await api.rows("update tb_sim set lifecycle_state = 'active' where id %% %s = 0", 3)
    assert (await api.get("/sims")).data["total"] == 30
    of_carrier = (await api.get("/sims?carrier=onelink&page_size=100")).data
    assert (of_carrier["total"], {item["carrier"] for item in of_carrier["items"]}) == (15, {"onelink"})
    active = (await api.get("/sims?lifecycle_state=active")).data
    assert (active["total"], {item["lifecycle_state"] for item in active["items"]}) == (10, {"active"})
    both = (await api.get("/sims?lifecycle_state=active&carrier=control_center")).data
    assert both["total"] == 5
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await api.get(f"/sims?page_size=7{cursor}")).data
        seen += [item["iccid"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == [iccid(n) for n in range(30)]
    for query in ("carrier=vodafone", "lifecycle_state=dead", "iccid=1"):
        assert (await api.get(f"/sims?{query}")).status == 400


async def test_usage_is_answered_by_day_with_its_sum(api: Api) -> None:
    await register(api, sim(1))
    await api.rows(
        "insert into tb_sim_usage (iccid, day, carrier, data_bytes, sms_count)"
        " select %s, date '2026-01-01' + n, 'onelink', 1000 + n, n from generate_series(0, 40) as n",
        iccid(1),
    )
    path = f"/sims/{iccid(1)}/usage"
    usage = (await api.get(f"{path}?start_date=2026-01-02&end_date=2026-01-04")).data
    assert (usage["iccid"], usage["start_date"], usage["end_date"]) == (iccid(1), "2026-01-02", "2026-01-04")
    assert [day["day"] for day in usage["items"]] == ["2026-01-02", "2026-01-03", "2026-01-04"]
    assert (usage["data_bytes"], usage["sms_count"]) == (3006, 6)
    month = (await api.get(f"{path}?end_date=2026-01-31")).data
    assert (month["start_date"], len(month["items"])) == ("2026-01-02", 30)
    assert (await api.get(path)).status == 200


@folded(
    ("query", "faulty"),
    [
        ("start_date=2026-02-01&end_date=2026-01-01", "start_date"),
        ("start_date=2024-01-01&end_date=2025-01-01", "end_date"),
        ("start_date=2026-13-01", "start_date"),
        ("start_date=tomorrow", "start_date"),
        ("end_date=1699920000", "end_date"),
        ("end_date=2026-01-01T00:00:00", "end_date"),
        ("from=2026-01-01", "from"),
    ],
)
async def test_a_bad_range_is_refused_by_name(api: Api, query: str, faulty: str) -> None:
    await register(api, sim(1))
    reply = await api.get(f"/sims/{iccid(1)}/usage?{query}")
    assert (reply.status, reply.code, reply.faulty) == (400, 1001, [faulty]), reply.text
