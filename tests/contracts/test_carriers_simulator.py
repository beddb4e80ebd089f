"""模拟器作为真的进程：起得快、说得清、同种子同世界、旋钮和钟都听话、信号一来就走。"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from kaguan.config.model import Carriers, OneLink
from kaguan.dev.simulator import DEFAULT_CARDS, Population, iccid_at
from kaguan.sims.cards import CardStatus
from kaguan.sims.iccid import Issuer, normalise, with_check_digit
from kaguan.sims.vocabulary import Carrier
from tests.support.carrier_world import NO_SUCH_CARD, gateways_of
from tests.support.eventually import PATIENCE

pytestmark = pytest.mark.measured
PASSWORD = "from-the-environment"


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """起一个进程，读出它报的地址。"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KAGUAN_")}
    environ = {**kept, "KAGUAN_CARRIERS__ONELINK__PASSWORD": PASSWORD}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kaguan.dev.simulator",
        "--port",
        "0",
        *arguments,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        yield line.decode().split()[-1], process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), PATIENCE)


async def ask(method: str, url: str, body: object = None) -> Any:
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as response:
        return await response.json()


async def test_the_process_serves_the_seeded_world_and_stops_on_a_signal() -> None:
    async with started("--cards", "500", "--seed", "7") as (url, process):
        assert await ask("GET", f"{url}/__admin/health") == {"status": "ok", "cards": 500, "seed": 7}
        config = Carriers.model_validate({"onelink": OneLink(base_url=url).model_dump() | {"password": PASSWORD}})
        listed = (await ask("GET", f"{url}/__admin/cards?carrier=onelink&offset=3&limit=2"))["cards"]
        async with gateways_of(config) as gateways:
            results = await gateways[Carrier.ONELINK].statuses([card["iccid"] for card in listed])
        assert [card["iccid"] for card in listed] == [iccid_at(Carrier.ONELINK, 3), iccid_at(Carrier.ONELINK, 4)]
        assert [result.raw for result in results if isinstance(result, CardStatus)] == [
            card["status"] for card in listed
        ]
        counters = await ask("GET", f"{url}/__admin/counters")
        assert counters["onelink"]["calls"] == {"get-token": 1, "sim-status/batch": 1}
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0


async def test_knobs_clock_and_cards_are_set_over_http_and_reset() -> None:
    async with started("--cards", "10") as (url, _):
        faults = await ask("PUT", f"{url}/__admin/faults?carrier=onelink", {"error_rate": 0.5, "times": 3})
        assert (faults["onelink"]["error_rate"], faults["control_center"]["error_rate"]) == (0.5, 0)
        refused = await ask("PUT", f"{url}/__admin/faults", {"no_such_knob": 1})
        assert "no_such_knob" in refused["error"]
        clock = await ask("PUT", f"{url}/__admin/clock", {"now": "2030-01-01T00:00:00+00:00"})
        assert clock["now"].startswith("2030-01-01T00:00:0")
        card = {"iccid": NO_SUCH_CARD, "state": "2"}
        assert await ask("PUT", f"{url}/__admin/cards", {"carrier": "onelink", "cards": [card]}) == {"registered": 1}
        reset = await ask("DELETE", f"{url}/__admin/faults")
        assert reset["onelink"]["error_rate"] == 0
        assert reset["control_center"]["max_concurrency"] == 1


@pytest.mark.parametrize("carrier", list(Carrier))
def test_every_card_has_a_real_prefix_and_a_right_check_digit(carrier: Carrier) -> None:
    issuer = Issuer.CHINA_MOBILE if carrier is Carrier.ONELINK else Issuer.CHINA_UNICOM
    iccids = [iccid_at(carrier, index) for index in (*range(200), DEFAULT_CARDS - 1)]
    assert len(set(iccids)) == len(iccids)
    for index, text in enumerate(iccids[:200]):
        iccid = normalise(text)
        assert iccid is not None
        assert (iccid.digits, iccid.luhn_valid, iccid.issuer) == (text, True, issuer)
        assert Population().index_of(carrier, text) == index


def test_a_foreign_card_exists_or_not_but_always_the_same() -> None:
    foreign = [with_check_digit(f"898604{number:012d}") for number in range(500)]
    answers = [Population().exists(Carrier.ONELINK, iccid) for iccid in foreign]
    assert answers == [Population().exists(Carrier.ONELINK, iccid) for iccid in foreign]
    assert 0 < answers.count(False) < 100
    assert not Population().exists(Carrier.ONELINK, NO_SUCH_CARD)
