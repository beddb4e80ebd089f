"""舞台：一次战役的全部进程与代理，和故障要用到的把手。"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
from redis.asyncio import Redis

from kaguan.flow.probes import LOOPBACK
from kaguan.tokens import service as tokens
from tests.chaos.clock import VARIABLE as CLOCK
from tests.chaos.fleet import OURS, Fleet, Release, Unit
from tests.chaos.index import Index, indexed, verify_url
from tests.chaos.ledger import CREATE, TABLE
from tests.chaos.proxy import Proxy
from tests.chaos.recording import installing
from tests.chaos.rewinding import Cut
from tests.chaos.servers import Servers
from tests.chaos.tail import Tail
from tests.support.eventually import eventually
from tests.support.places import own_port
from tests.support.standby import Pair

LEASE = 3.0  # 秒
IDLE_IN_TRANSACTION = 2.0  # 秒：短于暂停的时间，因此停住的进程醒来时会话已被服务器收走
PACE = {
    "KAGUAN_ENV": "dev",
    "KAGUAN_DATABASE__POOL_MIN": "2",
    "KAGUAN_DATABASE__POOL_MAX": "10",
    "KAGUAN_DATABASE__IDLE_IN_TRANSACTION_TIMEOUT": str(IDLE_IN_TRANSACTION),
    "KAGUAN_REDIS__SOCKET_TIMEOUT": "3",
    "KAGUAN_WORKER__LEASE": str(LEASE),
    "KAGUAN_WORKER__CONCURRENCY": "60",
    "KAGUAN_RELAY__PRESENCE_AGE": "2",
    "KAGUAN_RELAY__BACKSTOP_AGE": "8",
    "KAGUAN_TASKS__BACKOFF_BASE": "1",
    "KAGUAN_TASKS__BACKOFF_CAP": "8",
    "KAGUAN_SMTP__PER_SECOND": "1000",
    "KAGUAN_SMTP__TIMEOUT": "3",
    "KAGUAN_SMTP__DATA_TIMEOUT": "6",
    "KAGUAN_API__BCRYPT_ROUNDS": "4",
    "KAGUAN_API__RATE_PER_TOKEN": "1000000",
    "KAGUAN_API__RATE_PER_ADDRESS": "1000000",
    "KAGUAN_TELEMETRY__SAMPLE_RATIO": "0",
    "KAGUAN_LOGGING__FORMAT": "json",
    "KAGUAN_LOGGING__LEVEL": "WARNING",
    "KAGUAN_SCHEDULES": "[]",  # 只有战役自己提交的任务
}
SCOPES = (
    "tasks:read",
    "tasks:write",
    "users:read",
    "users:write",
    "orders:read",
    "orders:write",
    "sims:read",
    "sims:change",
)


@dataclass(frozen=True, slots=True)
class Cast:
    """每种进程几个。

    Attributes:
        mutation: 弄坏的零件，``+`` 相连（见 ``relay_main``、``worker_main``）；空即健康的构建。
        policy: 邮件结局不明时的策略。
        verify: 不明时先问收件端收下没有。
        ledger: 记账处理器占用多久：``mixed``，或秒数。
        pace: 覆盖 ``PACE`` 的配置。
        release: 各进程跑哪一份代码。
    """

    apis: int = 2
    relays: int = 2
    workers: int = 3
    mutation: str = ""
    policy: str = "hold"
    verify: bool = False
    ledger: str = "mixed"
    pace: Mapping[str, str] = field(default_factory=dict)
    release: Release = OURS


@dataclass(eq=False, slots=True)
class Stage:
    servers: Servers
    directory: Path
    database: str
    fleet: Fleet
    proxies: dict[str, Proxy]
    api_ports: list[int]
    token: str
    index: Index | None = None
    promoted: list[float] = field(default_factory=list)  # 备的各次成为主的时刻，Unix 秒
    tails: list[Tail] = field(default_factory=list)  # 各次提升丢了什么
    cuts: list[Cut] = field(default_factory=list)  # 各次提升，历史退回到哪里

    @property
    def name(self) -> str:
        """库的名字。"""
        return self.directory.name

    def follow(self, pair: Pair) -> None:
        """备的成了主的：不经代理的跟过去，通往主的那个代理从此叫 ``postgres``。"""
        servers, left = self.servers, self.servers.postgres
        servers.postgres, servers.postgres_process = pair.primary, pair.primary_process
        self.database = self.database.replace(f":{left.port}/", f":{pair.primary.port}/")
        self.proxies |= {"postgres": self.proxies["standby"], "standby": self.proxies["postgres"]}

    @property
    def mail_directory(self) -> Path:
        return self.directory / "mail"

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @asynccontextmanager
    async def postgres(self) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
        """不经代理的一条连接。"""
        async with await psycopg.AsyncConnection.connect(
            self.database, autocommit=True, application_name="chaos", connect_timeout=3
        ) as connection:
            yield connection

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        """不经代理的一个客户端。"""
        url = await self.servers.redis_url()
        async with Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
            yield client


@asynccontextmanager
async def staged(servers: Servers, name: str, cast: Cast) -> AsyncIterator[Stage]:
    """备好一份新库、空的 Redis 与全部进程，等它们就绪；离开时全部停下。"""
    directory = servers.directory / name
    directory.mkdir()
    await servers.flush()
    database = await servers.database(name)
    sink_port, index_port = own_port(), own_port()
    proxies = {
        "postgres": Proxy(servers.postgres.port),
        "redis": Proxy(servers.valkey.port),
        "smtp": Proxy(sink_port),
    }
    if servers.pair is not None:
        proxies["standby"] = Proxy(servers.pair.standby.port)
    for proxy in proxies.values():
        await proxy.start()
    hosts = ",".join(f"{LOOPBACK}:{proxies[name].port}" for name in ("standby", "postgres") if name in proxies)
    redis_url = servers.valkey.url.replace(f":{servers.valkey.port}/", f":{proxies['redis'].port}/")
    environment = {
        **PACE,
        "KAGUAN_DATA_DIR": str(directory),
        "KAGUAN_DATABASE__URL": database.replace(f"{LOOPBACK}:{servers.postgres.port}/", f"{hosts}/"),
        "KAGUAN_REDIS__URL": redis_url if servers.watched is None else servers.watched.url(),
        "KAGUAN_SMTP__URL": f"smtp://{LOOPBACK}:{proxies['smtp'].port}",
        "KAGUAN_SMTP__UNCERTAIN": cast.policy,
        "KAGUAN_SMTP__VERIFY_URL": verify_url(index_port) if cast.verify else "",
        "CHAOS_LEDGER": cast.ledger,
        **cast.pace,
    }
    fleet, ports = _fleet(cast, environment, directory)
    sink_environment = {**environment, "KAGUAN_SMTP__URL": f"smtp://{LOOPBACK}:{sink_port}"}
    sink = Unit("smtp", (sys.executable, "-m", "kaguan.dev.smtp_sink"), sink_environment, directory / "smtp.log")
    stage = Stage(servers, directory, database, fleet, proxies, ports, await _prepare(database))
    async with AsyncExitStack() as stack:
        if cast.verify:
            stage.index = await stack.enter_async_context(indexed(stage.mail_directory, index_port))
        try:
            await sink.start()
            await fleet.start()
            await listening([*ports, sink_port])
            yield stage
        finally:
            await asyncio.gather(fleet.stop(), sink.stop())
            for proxy in proxies.values():
                await proxy.stop()


def _fleet(cast: Cast, environment: dict[str, str], directory: Path) -> tuple[Fleet, list[int]]:
    mutation = ("--mutation", cast.mutation) if cast.mutation else ()
    ports = [own_port() for _ in range(cast.apis)]

    def unit(kind: str, number: int, module: str, *arguments: str, **more: str) -> Unit:
        name = f"{kind}-{number}"
        # 每个会话说出自己是谁：哪个进程改的，触发器记得下
        session = {"PGOPTIONS": f"-c chaos.process={name}"}
        own = {**environment, **session, CLOCK: str(directory / f"{name}.clock"), **more}
        argv = (cast.release.python, "-m", module, *arguments)
        return Unit(name, argv, own, directory / f"{name}.log", cast.release)

    apis = [unit("api", n, "api", KAGUAN_API__PORT=str(port)) for n, port in enumerate(ports)]
    relays = [unit("relay", n, "tests.chaos.relay_main", *mutation) for n in range(cast.relays)]
    workers = [unit("worker", n, "tests.chaos.worker_main", *mutation) for n in range(cast.workers)]
    return Fleet({"api": apis, "relay": relays, "worker": workers}), ports


async def _prepare(database: str) -> str:
    """账本表、记历史的触发器与一枚令牌。"""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(CREATE.encode())
        await connection.execute(installing(TABLE))
        return (await tokens.create(connection, "chaos", SCOPES)).token


async def listening(ports: list[int]) -> None:
    """等到都有人听。"""

    async def answers(port: int) -> bool:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            return False
        writer.close()
        return True

    for port in ports:
        await eventually(partial(answers, port))
