"""`kaguan up` 由哪些子进程组成，它们各自拿到什么环境。"""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from kaguan.config import Settings
from kaguan.config.model import CARRIER_GROUPS, carrier_key
from kaguan.config.production import CARRIER_SECRETS, DATABASE_URL, REDIS_URL, SMTP_URL
from kaguan.config.shipped import process_environment
from kaguan.dev.directory import DataDirectory
from kaguan.dev.placement import place_servers
from kaguan.dev.port_plan import API_PORT, RELAY_METRICS, SIMULATOR_PORT, TRACEVIEW_PORT, WORKER_METRICS, PortPlan
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.predecessor import settle_postmaster
from kaguan.dev.privileges import Identity, server_identity, write_private
from kaguan.dev.program import Program, Ready
from kaguan.dev.valkey import ValkeyServer
from kaguan.flow.probes import LOOPBACK, answers_ready, greets_as_smtp, is_listening

STARTTLS = "KAGUAN_SMTP__STARTTLS"
OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
OTLP_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
TRACES_URL = "KAGUAN_TELEMETRY__TRACES_URL"
EVERYWHERE = ("0.0.0.0", "::", "")  # nosec B104 # noqa: S104 不在此监听：只用来把它换成本机能连的地址


@dataclass(slots=True)
class Stack:
    """一套栈的规划：先 ``servers()``，再迁移，再 ``applications()``。

    Attributes:
        given: 进程环境，键名已规范；其中已给出的服务器地址优先，对应的子进程就不起。
        trace_view_url: 自己的跟踪查看器；没起为空串。
        values: 写进 ``<数据目录>/env`` 的键值。
    """

    data: DataDirectory
    settings: Settings
    given: Mapping[str, str]
    trace_view_url: str = ""
    values: dict[str, str] = field(default_factory=dict)
    ports: PortPlan = field(init=False)

    def __post_init__(self) -> None:
        self.ports = PortPlan(self.data, self.settings)

    @property
    def api_url(self) -> str:
        return f"http://{self._api_host}:{self.values[API_PORT]}"

    @property
    def _api_host(self) -> str:
        return _reachable(self.settings.api.host)

    async def servers(self) -> list[Program]:
        """PostgreSQL 与 Valkey；环境里给了地址的不起。

        Raises:
            StartError: 准备不成。
        """
        programs = []
        identity = server_identity(self.data.servers / "postgres")
        home = self.data.servers
        if not (self.given.get(DATABASE_URL) and self.given.get(REDIS_URL)):
            home = place_servers(self.data, identity)
        if not self._take(DATABASE_URL):
            programs.append(await self._postgres(home, identity))
        if not self._take(REDIS_URL):
            programs.append(self._valkey(home, identity))
        return programs

    async def _postgres(self, home: Path, identity: Identity | None) -> Program:
        await settle_postmaster(home / "postgres" / "data")  # 先于选端口：它可能还占着原来的
        port = self.ports.free("postgres")
        server = PostgresServer(home / "postgres", self.data.secrets / "postgres-password", port, identity)
        await server.prepare()
        self.values[DATABASE_URL] = server.url
        return replace(server.program(), chosen=((port, LOOPBACK),))

    def _valkey(self, home: Path, identity: Identity | None) -> Program:
        port = self.ports.free("valkey")
        server = ValkeyServer(home / "valkey", self.data.secrets / "valkey-password", port, identity)
        server.prepare()
        self.values[REDIS_URL] = server.url
        return replace(server.program(), chosen=((port, LOOPBACK),))

    def applications(self) -> list[Program]:
        """跟踪查看器、邮件收件端、运营商模拟器、API、relay、worker。须在服务器之后调用。"""
        self.values |= {
            "KAGUAN_API__HOST": self.settings.api.host,
            "KAGUAN_TIME_ZONE": self.settings.time_zone,
        }
        programs = [*self._trace_view(), *self._smtp_sink(), *self._simulator()]
        api, relay, worker = map(self._port_of, (API_PORT, RELAY_METRICS, WORKER_METRICS))
        relay_host, worker_host = map(_reachable, (self.settings.relay.metrics_host, self.settings.worker.metrics_host))
        return [
            *programs,
            self._python("api", "api", API_PORT, ready=partial(answers_ready, api, self._api_host)),
            self._python("relay", "relay", RELAY_METRICS, ready=partial(is_listening, relay, relay_host)),
            self._python("worker", "workers", WORKER_METRICS, ready=partial(is_listening, worker, worker_host)),
        ]

    def _trace_view(self) -> list[Program]:
        """跟踪查看器；环境里给了 OTLP 端点的不起。"""
        if any([self._take(OTLP_ENDPOINT), self._take(OTLP_TRACES_ENDPOINT)]):
            return []
        port = self._port_of(TRACEVIEW_PORT)
        self.values[OTLP_ENDPOINT] = self.trace_view_url = f"http://{LOOPBACK}:{port}"
        if not self._take(TRACES_URL):
            self.values[TRACES_URL] = self.trace_view_url
        limits = self.settings.traceview
        sizes = {"port": port, "traces": limits.traces, "spans": limits.spans, "bytes": limits.bytes}
        arguments = (*(f"--{name}={size}" for name, size in sizes.items()), f"--time-zone={self.settings.time_zone}")
        ready = partial(answers_ready, port, LOOPBACK, "/health")
        return [self._python("traceview", "kaguan.dev.traceview", TRACEVIEW_PORT, arguments, ready=ready)]

    def _smtp_sink(self) -> list[Program]:
        if self._take(SMTP_URL):
            return []
        port = self.ports.free("smtp")
        self.values[SMTP_URL] = f"smtp://{LOOPBACK}:{port}"
        if not self._take(STARTTLS):
            self.values[STARTTLS] = "off"  # 自己的收件端没有证书，也不出本机
        sink = self._python("smtp", "kaguan.dev.smtp_sink", ready=partial(greets_as_smtp, port))
        return [replace(sink, chosen=((port, LOOPBACK),))]

    def _simulator(self) -> list[Program]:
        addresses = [carrier_key(name, "base_url") for name in CARRIER_GROUPS]
        external = [self._take(address) for address in addresses]
        for key in CARRIER_SECRETS:
            if not self._take(key):
                self.values[key] = self._secret(key)
        if all(external):
            return []
        port = self._port_of(SIMULATOR_PORT)
        for address, given in zip(addresses, external, strict=True):
            if not given:
                self.values[address] = f"http://{LOOPBACK}:{port}"  # 各种方言在同一个进程里，路径不重叠
        simulator = self.settings.simulator
        arguments = ("--port", str(port), "--cards", str(simulator.cards), "--seed", str(simulator.seed))
        ready = partial(is_listening, port)
        return [self._python("simulator", "kaguan.dev.simulator", SIMULATOR_PORT, arguments, ready=ready)]

    def _take(self, key: str) -> bool:
        """环境里已给出 ``key`` 就原样采用。"""
        if not self.given.get(key):
            return False
        self.values[key] = self.given[key]
        return True

    def _port_of(self, key: str) -> int:
        port = self.ports.choose(key)
        self.values[key] = str(port)
        return port

    def _secret(self, key: str) -> str:
        path = self.data.secrets / key
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text("utf-8").strip()

    def _python(
        self, name: str, module: str, key: str = "", arguments: tuple[str, ...] = (), *, ready: Ready
    ) -> Program:
        """``key`` 是它的监听端口；不是用户点名的，被占就另挑。"""
        return Program(
            name,
            (sys.executable, "-m", module, *arguments),
            Path.cwd(),
            environment=self.child_environment(),
            stop_signal=signal.SIGTERM,
            ready=ready,
            chosen=self.ports.chosen(key, int(self.values[key])) if key else (),
        )

    def child_environment(self) -> dict[str, str]:
        """应用进程的环境：用户给的全部，加上这一套的地址与日志目录。"""
        return {
            "KAGUAN_LOGGING__FORMAT": "console",
            **process_environment(self.given),
            **self.values,
            **self._around_proxy(),
            "KAGUAN_DATA_DIR": str(self.data.path),
            "KAGUAN_LOGGING__DIRECTORY": str(self.data.logs),
            "PYTHONUNBUFFERED": "1",
        }

    def _around_proxy(self) -> dict[str, str]:
        """OTLP 导出器认代理变量：发往自己的跟踪查看器的不能绕出去。"""
        if not self.trace_view_url:
            return {}
        excepted = self.given.get("no_proxy") or self.given.get("NO_PROXY")
        value = f"{excepted},{LOOPBACK}" if excepted else LOOPBACK
        return {"no_proxy": value, "NO_PROXY": value}


def _reachable(host: str) -> str:
    """监听在 ``host`` 上的，从本机连哪里。"""
    return LOOPBACK if host in EVERYWHERE else host
