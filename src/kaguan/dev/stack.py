"""`kaguan up` 由哪些子进程组成，它们各自拿到什么环境。"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kaguan.dev.placement import place_servers
from kaguan.dev.ports import LOOPBACK, is_free
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.predecessor import settle_postmaster
from kaguan.dev.privileges import Identity, server_identity, write_private
from kaguan.dev.probes import answers_ready, greets_as_smtp, is_listening
from kaguan.dev.program import READY_POLL, Program, Ready, StartError
from kaguan.dev.valkey import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaguan.config import Settings
    from kaguan.dev.directory import DataDirectory

DATABASE_URL = "KAGUAN_DATABASE__URL"
REDIS_URL = "KAGUAN_REDIS__URL"
SMTP_URL = "KAGUAN_SMTP__URL"
STARTTLS = "KAGUAN_SMTP__STARTTLS"
ONELINK = "KAGUAN_CARRIERS__ONELINK__"
CONTROL_CENTER = "KAGUAN_CARRIERS__CONTROL_CENTER__"
OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
OTLP_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
TRACES_URL = "KAGUAN_TELEMETRY__TRACES_URL"
RELAY_METRICS = "KAGUAN_RELAY__METRICS_PORT"
WORKER_METRICS = "KAGUAN_WORKER__METRICS_PORT"
RELAY_METRICS_PORT, WORKER_METRICS_PORT = 9101, 9102  # observability/prometheus/prometheus.yml 抓的就是它们
PORT_GRACE = 5.0  # 秒
EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 不在此监听：只用来把它换成本机能连的地址


@dataclass(slots=True)
class Stack:
    """一套栈的规划：先 ``servers()``，再迁移，再 ``applications()``。

    Attributes:
        given: 进程环境，键名已规范；其中已给出的服务器地址优先，对应的子进程就不起。
        previous_killed: 上一套没能自己收尾。
        trace_view_url: 自己的跟踪查看器；没起为空串。
        values: 写进 ``<数据目录>/env`` 的键值。
    """

    data: DataDirectory
    settings: Settings
    given: Mapping[str, str]
    previous_killed: bool = False
    trace_view_url: str = ""
    values: dict[str, str] = field(default_factory=dict)

    @property
    def api_url(self) -> str:
        return f"http://{self._api_host}:{self.settings.api.port}"

    @property
    def _api_host(self) -> str:
        return _reachable(self.settings.api.host)

    async def check_api_port(self) -> None:
        """API 端口须是空闲的；上一套是被强杀的，就等它的子进程放手。

        Raises:
            StartError: 端口被占。
        """
        api = self.settings.api
        deadline = time.monotonic() + (PORT_GRACE if self.previous_killed else 0.0)
        while not is_free(api.port, api.host):
            if time.monotonic() >= deadline:
                raise StartError(f"端口 {api.port} 已被占用；请停掉占用它的程序，或用 KAGUAN_API__PORT 换一个端口")
            await asyncio.sleep(READY_POLL)  # 端口空出来没有通知，只能再看

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
        server = PostgresServer(
            home / "postgres", self.data.secrets / "postgres-password", self.data.port("postgres"), identity
        )
        await server.prepare()
        self.values[DATABASE_URL] = server.url
        return server.program()

    def _valkey(self, home: Path, identity: Identity | None) -> Program:
        server = ValkeyServer(
            home / "valkey", self.data.secrets / "valkey-password", self.data.port("valkey"), identity
        )
        server.prepare()
        self.values[REDIS_URL] = server.url
        return server.program()

    def applications(self) -> list[Program]:
        """跟踪查看器、邮件收件端、运营商模拟器、API、relay、worker。须在服务器之后调用。"""
        self.values |= {
            "KAGUAN_API__HOST": self.settings.api.host,
            "KAGUAN_API__PORT": str(self.settings.api.port),
            "KAGUAN_TIME_ZONE": self.settings.time_zone,
        }
        programs = [*self._trace_view(), *self._smtp_sink(), *self._simulator()]
        relay_port = self._port_of(RELAY_METRICS, "relay-metrics", RELAY_METRICS_PORT)
        worker_port = self._port_of(WORKER_METRICS, "worker-metrics", WORKER_METRICS_PORT)
        relay_host, worker_host = map(_reachable, (self.settings.relay.metrics_host, self.settings.worker.metrics_host))
        api_ready = partial(answers_ready, self.settings.api.port, self._api_host)
        return [
            *programs,
            self._python("api", "api", ready=api_ready),
            self._python("relay", "relay", ready=partial(is_listening, relay_port, relay_host)),
            self._python("worker", "workers", ready=partial(is_listening, worker_port, worker_host)),
        ]

    def _trace_view(self) -> list[Program]:
        """跟踪查看器；环境里给了 OTLP 端点的不起。"""
        if any([self._take(OTLP_ENDPOINT), self._take(OTLP_TRACES_ENDPOINT)]):
            return []
        port = self._port_of("KAGUAN_TRACEVIEW__PORT", "traceview")
        self.values[OTLP_ENDPOINT] = self.trace_view_url = f"http://{LOOPBACK}:{port}"
        if not self._take(TRACES_URL):
            self.values[TRACES_URL] = self.trace_view_url
        limits = self.settings.traceview
        sizes = {"port": port, "traces": limits.traces, "spans": limits.spans, "bytes": limits.bytes}
        arguments = (*(f"--{name}={size}" for name, size in sizes.items()), f"--time-zone={self.settings.time_zone}")
        ready = partial(answers_ready, port, LOOPBACK, "/health")
        return [self._python("traceview", "kaguan.dev.traceview", arguments, ready=ready)]

    def _smtp_sink(self) -> list[Program]:
        if self._take(SMTP_URL):
            return []
        port = self.data.port("smtp")
        self.values[SMTP_URL] = f"smtp://{LOOPBACK}:{port}"
        if not self._take(STARTTLS):
            self.values[STARTTLS] = "off"  # 自己的收件端没有证书，也不出本机
        return [self._python("smtp", "kaguan.dev.smtp_sink", ready=partial(greets_as_smtp, port))]

    def _simulator(self) -> list[Program]:
        addresses = [f"{prefix}BASE_URL" for prefix in (ONELINK, CONTROL_CENTER)]
        external = [self._take(address) for address in addresses]
        for key in (f"{ONELINK}PASSWORD", f"{CONTROL_CENTER}API_KEY"):
            if not self._take(key):
                self.values[key] = self._secret(key.rpartition("__")[2].lower())
        if all(external):
            return []
        port = self._port_of("KAGUAN_SIMULATOR__PORT", "simulator")
        for address, given in zip(addresses, external, strict=True):
            if not given:
                self.values[address] = f"http://{LOOPBACK}:{port}"  # 两种方言在同一个进程里，路径不重叠
        simulator = self.settings.simulator
        arguments = ("--port", str(port), "--cards", str(simulator.cards), "--seed", str(simulator.seed))
        return [self._python("simulator", "kaguan.carriers.simulator", arguments, ready=partial(is_listening, port))]

    def _take(self, key: str) -> bool:
        """环境里已给出 ``key`` 就原样采用。"""
        if not self.given.get(key):
            return False
        self.values[key] = self.given[key]
        return True

    def _port_of(self, key: str, name: str, documented: int | None = None) -> int:
        if not self._take(key):
            self.values[key] = str(self.data.port(name, documented))
        return int(self.values[key])

    def _secret(self, name: str) -> str:
        path = self.data.secrets / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text("utf-8").strip()

    def _python(self, name: str, module: str, arguments: tuple[str, ...] = (), *, ready: Ready) -> Program:
        return Program(
            name,
            (sys.executable, "-m", module, *arguments),
            Path.cwd(),
            environment=self.child_environment(),
            stop_signal=signal.SIGTERM,
            ready=ready,
        )

    def child_environment(self) -> dict[str, str]:
        """应用进程的环境：用户给的全部，加上这一套的地址与日志目录。"""
        return {
            "KAGUAN_LOGGING__FORMAT": "console",
            **self.given,
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
