"""卡的档案：号码、套餐、分组、标签、客户；换 profile；按任一种号码的一段找；状态变更；马上刷新。"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kaguan.sims.iccid import with_check_digit
from kaguan.words.zones import business_today
from tests.support.folded import folded
from tests.support.serving import Api

EID = "89049032123451234512345678901235"
IMEI = "490154203237518"
FILE = {"plan": "30M", "group": "一号仓", "tags": ["车", "a"], "customer": "示例公司"}
EVENT = "insert into tb_sim_event (iccid, old_state, new_state, source) values (%s, %s, %s, 'onelink')"
USAGE = "insert into tb_sim_usage (iccid, day, carrier, data_bytes, sms_count) values (%s, %s, 'onelink', %s, 1)"


def iccid(number: int) -> str:
    return with_check_digit(f"898600{number:013d}")


async def register(api: Api, *sims: dict[str, Any]) -> list[dict[str, Any]]:
    given = [{"carrier": "onelink", **sim} for sim in sims]
    items: list[dict[str, Any]] = (await api.post("/sims", {"sims": given})).data["items"]
    return items


async def found(api: Api, query: str) -> set[str]:
    reply = await api.get(f"/sims?page_size=100&{query}")
    assert reply.status == 200, reply.text
    return {item["iccid"] for item in reply.data["items"]}


async def test_a_card_is_registered_with_all_its_numbers_and_names(api: Api) -> None:
    numbers = {"eid": EID, "msisdn": "+86 1064712345678", "imsi": "460040123456789", "imei": IMEI[:14]}
    [item] = await register(api, {"iccid": iccid(1), **numbers, **FILE})
    assert item["outcome"] == "created"
    card = (await api.get(f"/sims/{iccid(1)}")).data
    assert (card["eid"], card["msisdn"], card["imsi"], card["imei"]) == (
        EID,
        "861064712345678",
        "460040123456789",
        IMEI,
    )
    assert {name: card[name] for name in FILE} == FILE
    bare = (await register(api, {"iccid": iccid(2)}))[0]
    assert bare["outcome"] == "created"
    assert (await api.get(f"/sims/{iccid(2)}")).data["tags"] == []


async def test_one_chip_is_one_card_whichever_way_it_comes_again(api: Api) -> None:
    items = await register(api, {"iccid": iccid(1), "eid": EID}, {"iccid": iccid(2), "eid": EID}, {"iccid": iccid(3)})
    assert [(item["outcome"], item["field"]) for item in items] == [
        ("created", None),
        ("conflict", "eid"),
        ("created", None),
    ]
    [again] = await register(api, {"iccid": iccid(1), "eid": EID})
    assert (again["outcome"], again["field"]) == ("conflict", "iccid")
    taken = await api.patch(f"/sims/{iccid(3)}", {"eid": EID})
    assert (taken.status, taken.code, taken.faulty) == (409, 1005, ["eid"])
    taken = await api.patch(f"/sims/{iccid(3)}", {"iccid": iccid(1)})
    assert (taken.status, taken.code, taken.faulty) == (409, 1005, ["iccid"])
    assert await api.rows("select count(*) from tb_sim_profile") == [(0,)]


async def test_names_are_changed_cleared_and_filtered_by(api: Api) -> None:
    await register(api, *({"iccid": iccid(n), **FILE} for n in range(3)), {"iccid": iccid(9), "tags": ["b"]})
    changed = (await api.patch(f"/sims/{iccid(0)}", {"plan": "100M", "tags": ["b", "b", "新"], "group": None})).data
    assert (changed["plan"], changed["tags"], changed["group"], changed["customer"]) == (
        "100M",
        ["b", "新"],
        None,
        "示例公司",
    )
    for query, numbers in {
        "plan=30M": {1, 2},
        "group=一号仓": {1, 2},
        "customer=示例公司": {0, 1, 2},
        "tag=b": {0, 9},
        "tag=a": {1, 2},
        "tag=车&plan=30M&carrier=onelink": {1, 2},
        "tag=车&plan=100M": set(),
        "tag=b&sort=id&page_size=1": {0},
    }.items():
        wanted = {iccid(number) for number in numbers}
        assert await found(api, query.replace("&page_size=1", "")) >= wanted, query
        reply = await api.get(f"/sims?{query}")
        assert {item["iccid"] for item in reply.data["items"]} == wanted, query
    assert (await api.patch(f"/sims/{iccid(0)}", {"tags": None})).data["tags"] == []
    await api.delete(f"/sims/{iccid(9)}")
    assert await found(api, "tag=b") == set()


async def test_a_new_profile_takes_the_place_of_the_old_which_is_kept_and_still_found(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(api, {"iccid": iccid(1), "eid": EID, "imsi": "460040123456789", "msisdn": "8613800138000", **FILE})
    await api.rows(
        "update tb_sim set lifecycle_state = 'active', status_synced_at = now(), activated_on = '2026-01-01'"
    )
    today = business_today()
    monkeypatch.setattr("kaguan.sims.service.business_today", lambda: today)
    for number, amount in ((1, 5), (2, 7)):
        await api.rows(USAGE, iccid(number), today, amount)
    await api.rows(USAGE, iccid(1), today.replace(day=1) - timedelta(days=1), 1_000)
    change = {"iccid": iccid(2) + "F", "carrier": "control_center", "imsi": "310170123456789"}
    moved = await api.patch(f"/sims/{iccid(1)}", change, {"If-Match": '"1"'})
    assert moved.status == 200, moved.text
    assert (moved.data["iccid"], moved.data["carrier"], moved.data["imsi"], moved.data["msisdn"]) == (
        iccid(2),
        "control_center",
        "310170123456789",
        None,
    )
    assert (moved.data["lifecycle_state"], moved.data["status_synced_at"], moved.data["activated_on"]) == (
        "unknown",
        None,
        None,
    )
    assert (moved.data["eid"], moved.data["plan"], moved.data["version"]) == (EID, "30M", 2)
    assert (await api.get(f"/sims/{iccid(1)}")).status == 404
    card = (await api.get(f"/sims/{iccid(2)}")).data
    [old] = card["profiles"]
    assert (old["iccid"], old["carrier"], old["imsi"], old["msisdn"]) == (
        iccid(1),
        "onelink",
        "460040123456789",
        "8613800138000",
    )
    assert old["since"] < old["until"] == card["profile_since"]
    assert (card["month"]["data_bytes"], card["month"]["sms_count"]) == (12, 2)
    assert [day["day"] for day in card["month"]["items"]] == [today.isoformat()]
    assert await found(api, f"q={iccid(1)}") == {iccid(2)}
    # 换回来；让出来的号码别的卡可以用
    assert (await api.patch(f"/sims/{iccid(2)}", {"iccid": iccid(1)})).status == 200
    assert [one["iccid"] for one in (await api.get(f"/sims/{iccid(1)}")).data["profiles"]] == [iccid(2), iccid(1)]
    assert (await register(api, {"iccid": iccid(2)}))[0]["outcome"] == "created"


async def test_a_card_is_found_by_the_beginning_or_end_of_any_number_and_several_at_once(api: Api) -> None:
    one = {"iccid": iccid(1), "eid": EID, "msisdn": "1064712345678", "imsi": "460040123456789", "imei": IMEI}
    await register(api, one, {"iccid": iccid(2), "msisdn": "1440000000000"}, {"iccid": iccid(3)})
    for number in one.values():
        for part in (number, number[:9], number[-8:], number[-4:]):
            assert iccid(1) in await found(api, f"q={part}"), part
    assert await found(api, "q=10647") == {iccid(1)}
    assert await found(api, "q=23456789") == {iccid(1)}
    pasted = f"{iccid(3)}%0A1440000000000,%20999999"
    reply = (await api.get(f"/sims?q={pasted}")).data
    assert ({item["iccid"] for item in reply["items"]}, reply["total"]) == ({iccid(2), iccid(3)}, 2)
    assert reply["not_found"] == ["999999"]
    assert await found(api, "q=8986&carrier=control_center") == set()
    assert await found(api, "q=8986") == {iccid(1), iccid(2), iccid(3)}
    first = (await api.get("/sims?q=8986&page_size=2")).data
    then = (await api.get(f"/sims?q=8986&page_size=2&cursor={first['next_cursor']}")).data
    assert [item["iccid"] for item in first["items"] + then["items"]] == [iccid(3), iccid(2), iccid(1)]
    assert first["total"] == 3
    await api.delete(f"/sims/{iccid(1)}")
    assert await found(api, f"q={EID}") == set()


@folded("query", ["123", "abcd", "%20", "1234,56"])
async def test_a_search_for_what_is_no_number_is_refused_by_name(api: Api, query: str) -> None:
    reply = await api.get(f"/sims?q={query}")
    assert (reply.status, reply.code, reply.faulty) == (400, 1001, ["q"])


async def test_a_search_that_matches_too_many_says_so_instead_of_leaving_some_out(api: Api) -> None:
    await api.rows(
        "insert into tb_sim (iccid, carrier, luhn_valid)"
        " select '8986' || lpad(n::text, 16, '0'), 'onelink', true from generate_series(1, 10001) as n"
    )
    reply = await api.call("GET", "/sims?q=8986", headers={"Accept-Language": "en"})
    assert (reply.status, reply.faulty) == (400, ["q"])
    assert "more than 10,000 cards match" in reply.text
    assert (await api.get("/sims?q=898600000000000099")).data["total"] == 100


async def test_what_happened_to_a_card_is_read_newest_first_across_its_profiles(api: Api) -> None:
    await register(api, {"iccid": iccid(1)}, {"iccid": iccid(5)})
    for old, new in (("unknown", "inventory"), ("inventory", "active")):
        await api.rows(EVENT, iccid(1), old, new)
    await api.rows(EVENT, iccid(5), "unknown", "active")
    await api.patch(f"/sims/{iccid(1)}", {"iccid": iccid(2)})
    await api.rows(EVENT, iccid(2), "unknown", "suspended")
    path = f"/sims/{iccid(2)}/events"
    first = (await api.get(f"{path}?page_size=2")).data
    assert [(item["iccid"], item["new_state"]) for item in first["items"]] == [
        (iccid(2), "suspended"),
        (iccid(1), "active"),
    ]
    rest = (await api.get(f"{path}?page_size=2&cursor={first['next_cursor']}")).data
    assert ([item["new_state"] for item in rest["items"]], rest["next_cursor"]) == (["inventory"], None)
    assert (await api.get(f"{path}?cursor=x")).faulty == ["cursor"]
    assert (await api.get(f"/sims/{iccid(7)}/events")).status == 404


async def test_a_refresh_asks_for_one_card_at_once_and_is_remembered_with_it(api: Api) -> None:
    await register(api, {"iccid": iccid(1)})
    reply = await api.call("POST", f"/sims/{iccid(1)}/refresh")
    assert (reply.status, reply.data["type"], reply.data["queue"]) == (202, "sim:status_sync", "critical")
    assert reply.headers["Location"] == f"/api/v1/tasks/{reply.data['task_id']}"
    [(payload, queue)] = await api.rows("select payload, queue from tb_task")
    assert (payload["iccids"], payload["force_sync"], queue) == ([iccid(1)], True, "critical")
    [(kept,)] = await api.rows("select task_id from tb_sim_task")
    assert str(kept) == reply.data["task_id"]
    key = {"Idempotency-Key": "again"}
    twice = [(await api.call("POST", f"/sims/{iccid(1)}/refresh", headers=key)).data["task_id"] for _ in range(2)]
    assert len(set(twice)) == 1
    assert (await api.call("POST", f"/sims/{iccid(2)}/refresh")).status == 404
    assert await api.rows("select count(*) from tb_task") == [(2,)]
