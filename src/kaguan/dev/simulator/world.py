"""模拟器的全部状态：卡群、自己的钟、两家的入口、凭据。"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from aiohttp import web

from kaguan.config.model import Carriers
from kaguan.dev.simulator.counter import Counter
from kaguan.dev.simulator.faults import Drift, Faults, Gate
from kaguan.dev.simulator.population import CYCLE, Population, Usage
from kaguan.sims.iccid import normalise
from kaguan.sims.vocabulary import Carrier
from kaguan.words.zones import BUSINESS_ZONE

UNKNOWN_RAW = {Carrier.ONELINK: "99", Carrier.CONTROL_CENTER: "QUANTUM_READY"}


class World:
    """一个模拟的世界。凭据取自与适配器同一份配置。"""

    def __init__(self, population: Population, credentials: Carriers) -> None:
        self.population = population
        self.credentials = credentials
        self.offset = timedelta()
        self.counter = Counter(population)
        self.gates = {
            Carrier.ONELINK: Gate(Faults(), population.seed),
            # 公开文档：一次只许一个调用
            Carrier.CONTROL_CENTER: Gate(Faults(max_concurrency=1), population.seed + 1),
        }

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def today(self) -> date:
        """今天是哪个业务日。"""
        return self.now().astimezone(BUSINESS_ZONE).date()

    def settle(self) -> None:
        """到了时候的变更，这就做。"""
        self.counter.settle(self.now())

    def find(self, carrier: Carrier, text: str) -> str | None:
        """规范化的卡号；没有这张卡给 ``None``。"""
        iccid = normalise(text)
        return iccid.digits if iccid is not None and self.population.exists(carrier, iccid.digits) else None

    def said(self, carrier: Carrier, code: str) -> str:
        """一个码；抽中了就换成谁也认不出的。"""
        gate = self.gates[carrier]
        return UNKNOWN_RAW[carrier] if gate.chance(gate.faults.unknown_rate) else code

    def status(self, carrier: Carrier, iccid: str) -> str:
        gate = self.gates[carrier]
        stale = timedelta(days=CYCLE) if gate.chance(gate.faults.stale_rate) else timedelta()
        return self.said(carrier, self.population.state(carrier, iccid, self.now() - stale))

    def usage(self, carrier: Carrier, iccid: str, day: date) -> Usage:
        gate = self.gates[carrier]
        bump = gate.faults.revision_bump
        if gate.chance(gate.faults.stale_rate):
            return self.population.usage(iccid, day, day)
        usage = self.population.usage(iccid, day, self.today())
        return Usage(usage.kilobytes + 10 * bump, usage.sms, usage.revision + bump)


def drifted(drift: Drift, wrong: object) -> web.Response | None:
    """整个应答走样时的应答；没走样给 ``None``。"""
    if drift is Drift.NOT_JSON:
        return web.Response(text="<html>维护中</html>", content_type="text/html")
    return web.json_response(wrong) if drift is Drift.WRONG_SHAPE else None
