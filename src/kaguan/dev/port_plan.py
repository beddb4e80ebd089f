"""一套栈的每一处听在哪个端口：用户点名的从不改；别的先用公布的，被占就另挑一个，此后沿用。"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial

from kaguan.config import Settings
from kaguan.dev.child import PORT_GRACE
from kaguan.dev.directory import DataDirectory
from kaguan.dev.ports import PortClaims, is_free
from kaguan.dev.program import READY_POLL, StartError
from kaguan.flow.probes import LOOPBACK
from kaguan.words.log import get_logger
from kaguan.words.spoken import said

log = get_logger(__name__)

API_PORT = "KAGUAN_API__PORT"
RELAY_METRICS = "KAGUAN_RELAY__METRICS_PORT"
WORKER_METRICS = "KAGUAN_WORKER__METRICS_PORT"
TRACEVIEW_PORT = "KAGUAN_TRACEVIEW__PORT"
SIMULATOR_PORT = "KAGUAN_SIMULATOR__PORT"
# 公布在外的：README 的命令、observability/prometheus/prometheus.yml 抓的就是它们
DOCUMENTED = {API_PORT: 8080, RELAY_METRICS: 9101, WORKER_METRICS: 9102}
NAMES = {
    API_PORT: "api",
    RELAY_METRICS: "relay-metrics",
    WORKER_METRICS: "worker-metrics",
    TRACEVIEW_PORT: "traceview",
    SIMULATOR_PORT: "simulator",
}


@dataclass(frozen=True, slots=True)
class PortPlan:
    """``claims`` 是占下的端口号；几次规划共用。"""

    data: DataDirectory
    settings: Settings
    claims: PortClaims = field(default_factory=PortClaims)

    def _named(self) -> dict[str, tuple[int | None, str]]:
        """各监听处：用户点名的端口（没点名为 ``None``）与主机。"""
        config = self.settings
        return {
            API_PORT: (config.api.port if "port" in config.api.model_fields_set else None, config.api.host),
            RELAY_METRICS: (config.relay.metrics_port, config.relay.metrics_host),
            WORKER_METRICS: (config.worker.metrics_port, config.worker.metrics_host),
            TRACEVIEW_PORT: (config.traceview.port, LOOPBACK),
            SIMULATOR_PORT: (config.simulator.port, LOOPBACK),
        }

    async def check_named(self, *, previous_killed: bool) -> None:
        """用户点名的端口须是空闲的；上一套是被强杀的，就等它的子进程放手。

        Raises:
            StartError: 端口被占。
        """
        deadline = time.monotonic() + (PORT_GRACE if previous_killed else 0.0)
        for key, (port, host) in self._named().items():
            while port is not None and not self.claims.take(port, host) and not is_free(port, host):
                if time.monotonic() >= deadline:
                    raise StartError(said("dev.port_taken", port=port, key=key))
                await asyncio.sleep(READY_POLL)  # 端口空出来没有通知，只能再看

    def choose(self, key: str) -> int:
        """``key`` 那一处的端口。"""
        named, host = self._named()[key]
        port = named or self.free(NAMES[key], DOCUMENTED.get(key), host)
        if port != DOCUMENTED.get(key, port) and named is None:
            log.warning("公布的端口用不上，换了一个", key=key, documented=DOCUMENTED[key], port=port)
        return port

    def free(self, name: str, documented: int | None = None, host: str = LOOPBACK) -> int:
        """没有点名之说的一处（数据库、队列、收件端）的端口。"""
        return self.data.port(name, documented, partial(self.claims.take, host=host))

    def chosen(self, key: str, port: int) -> tuple[tuple[int, str], ...]:
        """启动之前还要再看一眼的：我们挑的才算，点名的早已看过、被占就是错。"""
        named, host = self._named()[key]
        return () if named is not None else ((port, host),)
