"""改卡、删卡：条件请求、清除、号码的对错，删了之后同步不再理、可再登记。"""

from __future__ import annotations

from typing import Any

from kaguan.sims.iccid import with_check_digit
from kaguan.sims.sync_store import inventory_page
from kaguan.sims.vocabulary import Carrier
from tests.support.folded import folded
from tests.support.serving import Api

ICCID = with_check_digit(f"898600{1:013d}")
CARD = {"iccid": ICCID, "carrier": "onelink", "msisdn": "1064712345678", "remark": "样卡"}
PATH = f"/sims/{ICCID}"
USAGE = "insert into tb_sim_usage (iccid, day, carrier, data_bytes) values (%s, '2026-01-01', 'onelink', 7)"


async def register(api: Api) -> dict[str, Any]:
    reply = await api.post("/sims", {"sims": [CARD]})
    item: dict[str, Any] = reply.data["items"][0]
    return item


async def test_a_card_is_changed_field_by_field_and_only_in_the_version_seen(api: Api) -> None:
    await register(api)
    seen = await api.get(PATH)
    assert seen.headers["ETag"] == '"1"'
    changed = await api.put(PATH, {"imsi": "460040123456789", "remark": None}, {"If-Match": '"1"'})
    assert changed.status == 200, changed.text
    assert (changed.data["imsi"], changed.data["remark"], changed.data["msisdn"]) == (
        "460040123456789",
        None,
        "1064712345678",
    )
    assert (changed.data["version"], changed.headers["ETag"]) == (2, '"2"')
    assert (await api.get(PATH)).data.items() >= changed.data.items()
    late = await api.patch(PATH, {"remark": "晚了"}, {"If-Match": '"1"'})
    assert (late.status, late.code) == (412, 1013)
    assert (await api.put(f"/sims/{ICCID}F", {"remark": "认得带填充的写法"})).data["version"] == 3


@folded(
    ("body", "faulty"),
    [
        ({}, "body"),
        ({"msisdn": "12-34"}, "msisdn"),
        ({"imsi": "1"}, "imsi"),
        ({"remark": "x" * 501}, "remark"),
        ({"imei": "490154203237519"}, "imei"),
        ({"eid": "89" + "0" * 30}, "eid"),
        ({"iccid": "8986"}, "iccid"),
        ({"iccid": None}, "iccid"),
        ({"carrier": "control_center"}, "carrier"),
        ({"plan": " 30M"}, "plan"),
        ({"tags": ["a", "b\u0007"]}, "tags[1]"),
        ({"tags": [str(n) for n in range(11)]}, "tags"),
        ({"lifecycle_state": "active"}, "lifecycle_state"),
    ],
)
async def test_a_bad_change_names_its_field_and_writes_nothing(api: Api, body: dict[str, Any], faulty: str) -> None:
    await register(api)
    reply = await api.put(PATH, body)
    assert (reply.status, reply.faulty) == (400, [faulty])
    assert (await api.get(PATH)).data["version"] == 1


async def test_a_removed_card_is_gone_for_readers_and_sync_and_may_come_back(api: Api) -> None:
    first = await register(api)
    await api.rows(USAGE, ICCID)
    refused = await api.delete(PATH, {"If-Match": '"9"'})
    assert (refused.status, refused.code) == (412, 1013)
    assert (await api.delete(PATH, {"If-Match": '"1"'})).status == 200
    for reply in (await api.get(PATH), await api.put(PATH, {"remark": "x"}), await api.delete(PATH)):
        assert (reply.status, reply.code) == (404, 1004)
    assert (await api.get("/sims?msisdn=1064712345678")).data["items"] == []
    async with api.pool.connection() as connection:
        assert await inventory_page(connection, Carrier.ONELINK, 0, 10) == []
    again = await register(api)
    assert again["outcome"] == "created"
    assert again["id"] != first["id"]
    usage = (await api.get(f"{PATH}/usage?start_date=2026-01-01&end_date=2026-01-02")).data
    assert usage["data_bytes"] == 7  # 历史跟着号码，不跟着登记
