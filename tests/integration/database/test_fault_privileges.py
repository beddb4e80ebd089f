"""最小权限：角色与 Redis 用户只做得了该做的，秘密只有自己的（FAULTS.md 53、54）。用的是交付的脚本，不是抄来的。"""

from __future__ import annotations

import asyncio
import json
import ssl
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from kaguan.breakers.board import open_breakers
from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.simulator import iccid_at
from kaguan.flow.probes import LOOPBACK
from kaguan.outbox.vocabulary import Priority
from kaguan.queues import keys
from kaguan.sims.vocabulary import Carrier
from kaguan.tokens.service import SCOPES
from tests.e2e.stack import clean_environment
from tests.support import warm
from tests.support.api_process import is_ready
from tests.support.carrier_world import simulating
from tests.support.eventually import PATIENT, eventually
from tests.support.fault_plant import EFFECT_TABLE, OPEN, QUICK, Effects, all_closed, child
from tests.support.mail_tasks import CERTIFICATES
from tests.support.pipeline import open_pipeline
from tests.support.places import own_port
from tests.support.redis_users import PROCESSES, RedisUsers, redis_users
from tests.support.roles import APPLICATION, OWNER, as_role, database_with_roles
from tests.support.serving import basic
from tests.support.smtp_server import Script, SmtpServer, smtp_server
from tests.support.whole_way import works

CARD = iccid_at(Carrier.ONELINK, 0)
LOGIN = ("kaguan", "quiet-harbour-73")
STRANGE = "someone:elses"
DATABASE, REDIS = "KAGUAN_DATABASE__URL", "KAGUAN_REDIS__URL"


@pytest.fixture
def role(postgres_server: PostgresServer, admin: psycopg.Connection) -> Iterator[str]:
    """照交付的脚本建角色、由主人迁移；给出进程该用的地址。"""
    with database_with_roles(postgres_server, admin, "privileges") as url:
        with psycopg.connect(as_role(url, OWNER), autocommit=True) as owner:
            owner.execute(EFFECT_TABLE)
        yield as_role(url, APPLICATION)


async def test_the_processes_work_with_a_role_that_may_only_read_and_write_rows(
    environ: dict[str, str], role: str
) -> None:
    await works(load_settings({**environ, **QUICK, DATABASE: role}))
    async with await psycopg.AsyncConnection.connect(role, autocommit=True) as connection:
        for statement in (
            "drop table tb_task",
            "truncate tb_task",
            "alter table tb_task add column x int",
            "create table x (id int)",
            "create role x",
            "copy tb_task to program 'true'",
            "alter system set fsync = off",
            "select pg_read_file('/etc/passwd')",
        ):
            with pytest.raises(InsufficientPrivilege):
                await connection.execute(statement.encode())


@pytest.fixture
async def users() -> AsyncIterator[RedisUsers]:
    async with redis_users() as given:
        yield given


@dataclass(frozen=True, slots=True)
class Company:
    """生产里的一家：三种进程各拿各的秘密，外面的中继与运营商是真的在听。"""

    users: RedisUsers
    smtp: SmtpServer
    environs: dict[str, dict[str, str]]
    token: str
    session: aiohttp.ClientSession

    async def mail(self, count: int = 1) -> None:
        """寄几封，等收件端都收到、任务都了结。"""
        before = len(self.smtp.mails)
        for number in range(count):
            body = {"to": ["a@example.com"], "subject": f"{before + number}", "body": "b"}
            await self.post("/api/v1/tasks/email", body)
        await self.closed()
        assert len(self.smtp.mails) == before + count

    async def post(self, path: str, body: object) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.session.post(path, json=body, headers=headers) as response:
            assert response.status == 202, await response.text()

    async def closed(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.environs["api"][DATABASE], autocommit=True) as record:

            async def over() -> bool:
                return await (await record.execute(OPEN)).fetchone() == (0,)

            await eventually(over)

    async def hurried(self, done: asyncio.Task[None]) -> bool:
        """在等外面恢复的此刻就到点；``done`` 做完了没有。"""
        async with await psycopg.AsyncConnection.connect(self.environs["api"][DATABASE], autocommit=True) as record:
            await record.execute("update tb_task set available_at = now() where available_at > now()")
            await record.execute("update tb_outbox set available_at = now() where available_at > now()")
        return done.done()

    async def command(self, process: str, *words: str) -> tuple[int | None, str]:
        """在那种进程的环境里跑一条命令。"""
        running = await warm.run_kaguan(*words, environment=clean_environment(**self.environs[process]), stdout=PIPE)
        out, _ = await running.communicate()
        return running.returncode, out.decode()


@pytest.fixture
async def company(users: RedisUsers, role: str, tmp_path: Path) -> AsyncIterator[Company]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "localhost.crt", CERTIFICATES / "localhost.key")
    async with AsyncExitStack() as stack:
        smtp = await stack.enter_async_context(smtp_server(Script(starttls=context, credentials=LOGIN)))
        simulated = await stack.enter_async_context(simulating())
        carrier = simulated.config.onelink
        common = {
            **QUICK,
            **PATIENT,
            "KAGUAN_WORKER__LEASE": "60",
            "KAGUAN_ENV": "prod",
            "KAGUAN_DATA_DIR": str(tmp_path),
            DATABASE: role,
            "KAGUAN_API__PORT": str(own_port()),
            "KAGUAN_API__METRICS_PORT": str(own_port()),
            "KAGUAN_RELAY__METRICS_PORT": str(own_port()),
            "KAGUAN_WORKER__METRICS_PORT": str(own_port()),
            "KAGUAN_SMTP__CA_FILE": str(CERTIFICATES / "localhost.crt"),
            "KAGUAN_SMTP__BREAKER_FAILURES": "1",
            "KAGUAN_SMTP__BREAKER_COOLDOWN": "1",
            "KAGUAN_CARRIERS__ONELINK__BASE_URL": carrier.base_url,
        }
        environs = {process: {**common, REDIS: users.urls[process]} for process in PROCESSES}
        environs["worker"] |= {
            "KAGUAN_SMTP__URL": smtp.url_as(*LOGIN),
            "KAGUAN_CARRIERS__ONELINK__PASSWORD": carrier.password.get_secret_value(),
        }
        with psycopg.connect(role, autocommit=True) as record:
            record.execute("insert into tb_sim (iccid, carrier, luhn_valid) values (%s, 'onelink', true)", (CARD,))
        children = [
            await stack.enter_async_context(child(module, environs[process], tmp_path / f"{process}.log"))
            for process, module in {"relay": "relay", "worker": "workers", "api": "api"}.items()
        ]
        url = f"http://{LOOPBACK}:{common['KAGUAN_API__PORT']}"
        session = await stack.enter_async_context(aiohttp.ClientSession(url))
        await eventually(lambda: is_ready(session))
        opened = Company(users, smtp, environs, "", session)
        code, out = await opened.command("api", "token", "create", "--name", "t", "--scopes", ",".join(SCOPES))
        assert code == 0
        yield replace(opened, token=out.strip())
        for one in children:
            assert await one.stopped() == 0, one.output
        assert await users.refused() == []  # 告别也做得成


async def test_each_process_of_production_works_with_its_own_secrets_and_its_own_redis_user(company: Company) -> None:
    """寄信、问运营商、断路、丢了数据、别人写过的键、监控页、doctor：没有一条命令被拒。"""
    admin = company.users.admin
    await company.mail(3)
    await company.post("/api/v1/tasks/sim", {"iccids": [CARD]})
    await company.closed()

    script, working = company.smtp.script, replace(company.smtp.script)
    script.greeting = script.mail = "421 4.3.2 busy"
    sending = asyncio.create_task(company.mail())
    await eventually(lambda: admin.scard(keys.BREAKERS))
    script.greeting, script.mail = working.greeting, working.mail
    await eventually(lambda: company.hurried(sending))
    await sending
    await eventually(lambda: _is(admin, keys.BREAKERS, "none"))

    await admin.delete(keys.EPOCH)
    await company.mail()
    for key in (keys.CALLS, keys.REPLICATION):
        await admin.delete(key)
        await admin.hset(key, "a", "1")  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
    await company.mail()
    for key in (keys.CALLS, keys.REPLICATION):
        await eventually(lambda key=key: _is(admin, key, keys.KINDS[key]))  # type: ignore[misc] # 每一圈各是各的

    _, _, queue, number = (await eventually(lambda: _latest(admin))).split(":", 3)
    for method, path in (
        ("GET", "queues"),
        ("GET", f"queues/{queue}"),
        ("GET", f"queues/{queue}/jobs/{number}"),
        ("POST", f"queues/{queue}/jobs/{number}/retry"),
        ("POST", f"queues/{queue}/jobs/{number}/abort"),
    ):
        async with company.session.request(method, f"/monitor/api/{path}", headers=basic(company.token)) as response:
            assert response.status == 200, await response.text()

    async def is_up() -> bool:
        async with company.session.get("/health") as health:
            return bool((await health.json())["data"]["parts"]["redis"]["status"] == "ok")

    await eventually(is_up)

    for process, mail in (("api", "只有 worker 要它"), ("worker", "登录成功")):
        _, out = await company.command(process, "doctor", "--json")
        found = {one["part"]: one for one in json.loads(out) if "level" not in one}
        assert all(one["ok"] for one in found.values()), found
        assert mail in found["SMTP"]["detail"]


async def _latest(redis: Redis) -> str:
    """最近做完的一份活的键：正在做的不许重试，做完已久的快要过期。"""
    jobs = {key.decode(): json.loads(await redis.get(key) or b"{}") async for key in redis.scan_iter("saq:job:*")}
    done = {key: job["completed"] for key, job in jobs.items() if job.get("status") == "complete"}
    return max(done, key=lambda key: done[key], default="")


async def _is(redis: Redis, key: str, kind: str) -> bool:
    return bool(await redis.type(key) == kind.encode())


EVERYBODY = frozenset(PROCESSES)
WRITERS = {
    keys.EPOCH: {"relay"},
    keys.REPLICATION: {"relay"},
    keys.WATERMARK: {"relay"},
    keys.CALLS: {"relay", "worker"},
    keys.CALLS_TRIMMED: {"relay", "worker"},
    keys.BREAKERS: {"relay", "worker"},
    keys.BREAKER: {"worker"},
    keys.TASK_LOCK: {"worker"},
    keys.PACE: {"worker"},
    keys.CARRIER_LEASES: {"worker"},
    keys.LIMITS + ":{}": {"worker"},
    keys.RATE + ":{}": {"api"},
    keys.OWNER: frozenset(),  # 只有别的应用写它
}


async def test_a_redis_user_writes_what_its_process_writes_and_administers_nothing(users: RedisUsers) -> None:
    """每个键各问一遍；没有列出的是三种都写的：心跳、各进程连上过的主库、SAQ 的。"""

    async def may(process: str, *command: str) -> bool:
        return bool(await users.ask("ACL", "DRYRUN", f"kaguan-{process}", *command) == b"OK")

    for pattern in keys.KINDS:
        key = pattern.replace("{}", "x")
        assert {one for one in PROCESSES if await may(one, "SET", key, "x")} == WRITERS.get(pattern, EVERYBODY), key
        assert {one for one in PROCESSES if await may(one, "GET", key)} == EVERYBODY, key
    for process in PROCESSES:
        assert await may(process, "PUBLISH", keys.DOORBELL, "")
        assert await may(process, "PUBLISH", "saq:job:default:x", "aborted") == (process == "api")
        for command in (
            ("FLUSHALL",),
            ("FLUSHDB",),
            ("CONFIG", "GET", "*"),
            ("CONFIG", "SET", "maxmemory", "1"),
            ("SHUTDOWN",),
            ("REPLICAOF", "NO", "ONE"),
            ("KEYS", "*"),
            ("ACL", "LIST"),
            ("SAVE",),
            ("PUBLISH", "someone:elses", ""),
            ("GET", "someone:elses"),
            ("SET", "someone:elses", "x"),
        ):
            assert not await may(process, *command), (process, command)
    async with Redis.from_url(users.urls["api"]) as client:
        with pytest.raises(NoPermissionError):
            await client.set(keys.EPOCH, "x")


async def test_numbers_that_a_user_may_not_read_stop_nothing(
    environ: dict[str, str], pool: Pool, users: RedisUsers
) -> None:
    """别人往队列、断路器的集合里写了我们读不得的键：取件不退避，判断看得见，relay 清得掉。"""
    await users.admin.sadd(keys.BREAKERS, STRANGE)  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
    async with AsyncExitStack() as stack:
        relay, worker, api = [
            await stack.enter_async_context(
                open_pipeline(load_settings({**environ, **QUICK, REDIS: users.urls[process]}), pool)
            )
            for process in ("relay", "worker", "api")
        ]
        await relay.sql(EFFECT_TABLE)
        await relay.epoch.run_once()
        await relay.submit(3)
        await relay.forwarder.run_once()
        queue = relay.queues[Priority.DEFAULT]
        await users.admin.lpush(queue.namespace("queued"), *[STRANGE] * 200)  # type: ignore[misc] # 同上
        async with worker.working(Effects()):
            await eventually(lambda: all_closed(relay))
        assert (await api.queues[Priority.DEFAULT].info(jobs=True))["jobs"] == []
        assert await open_breakers(api.redis) == []
        assert await open_breakers(relay.redis, tidy=True) == []
        leftovers = relay.relay.leftovers
        leftovers.patience = 0.0
        assert await leftovers.run_once() == 1
        assert await users.admin.exists(queue.namespace("active"), keys.BREAKERS) == 0
