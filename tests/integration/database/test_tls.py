"""到 PostgreSQL 与 Redis 的 TLS：对的证书一路走得通；主机、签发者、期限不对，或对面没有 TLS，一个字节也不发。

到 SMTP 的在 tests/integration/mail/test_email_transport.py。
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import psycopg
import pytest

from kaguan.config import Settings, load_settings
from kaguan.database import migrate
from kaguan.database.pool import DatabaseUnavailableError, wait_for_database
from kaguan.flow.probes import LOOPBACK
from kaguan.queues.client import QueueUnavailableError, open_redis, wait_for_redis
from tests.support.fault_plant import EFFECT_TABLE, QUICK, port_of
from tests.support.mail_tasks import CERTIFICATES
from tests.support.tls_front import tls_front
from tests.support.whole_way import works

DATABASE, REDIS = "KAGUAN_DATABASE__URL", "KAGUAN_REDIS__URL"
AUTHORITY = CERTIFICATES / "localhost.crt"
VERIFIED = f"sslmode=verify-full&sslrootcert={AUTHORITY}"
TRUSTED = f"ssl_ca_certs={AUTHORITY}"
ONCE = {
    "KAGUAN_DATABASE__CONNECT_ATTEMPTS": "1",
    "KAGUAN_REDIS__CONNECT_ATTEMPTS": "1",
}
WRONG = pytest.mark.parametrize("certificate", ["elsewhere", "stranger", "expired"])


def through(url: str, port: int, query: str) -> str:
    """``url`` 换成经 ``port``，带上 ``query``。"""
    parts = urlsplit(url)
    scheme = "rediss" if parts.scheme == "redis" else parts.scheme
    return parts._replace(scheme=scheme, netloc=f"{parts.netloc.rpartition(':')[0]}:{port}", query=query).geturl()


def settings_at(environ: dict[str, str], **urls: str) -> Settings:
    return load_settings({**environ, **QUICK, **ONCE, **urls})


async def reach_database(settings: Settings) -> None:
    await wait_for_database(settings.database, "test")


async def reach_redis(settings: Settings) -> None:
    async with open_redis(settings.redis) as client:
        await wait_for_redis(client, settings.redis)


async def test_everything_goes_its_way_through_verified_tls(environ: dict[str, str], direct_url: str) -> None:
    with psycopg.connect(direct_url, autocommit=True) as owner:
        owner.execute(EFFECT_TABLE)
    redis_url = environ[REDIS]
    async with (
        tls_front(port_of(direct_url), "localhost", asked=True) as database,
        tls_front(port_of(redis_url), "localhost") as redis,
    ):
        urls = {
            DATABASE: through(direct_url, database.port, VERIFIED),
            REDIS: through(redis_url, redis.port, TRUSTED),
        }
        assert (await asyncio.to_thread(migrate.status, urls[DATABASE])).up_to_date
        await works(settings_at(environ, **urls))
        assert database.passed > 0 < redis.passed


@WRONG
async def test_a_postgresql_that_cannot_prove_who_it_is_learns_nothing(
    environ: dict[str, str], direct_url: str, certificate: str
) -> None:
    async with tls_front(port_of(direct_url), certificate, asked=True) as front:
        settings = settings_at(environ, **{DATABASE: through(direct_url, front.port, VERIFIED)})
        with pytest.raises(DatabaseUnavailableError, match="certificate"):
            await reach_database(settings)
        assert front.passed == 0
        # 只加密、不验证的会把口令交给它：生产因此不许（config.production）
        await reach_database(settings_at(environ, **{DATABASE: through(direct_url, front.port, "sslmode=require")}))


@WRONG
async def test_a_redis_that_cannot_prove_who_it_is_learns_nothing(environ: dict[str, str], certificate: str) -> None:
    async with tls_front(port_of(environ[REDIS]), certificate) as front:
        with pytest.raises(QueueUnavailableError, match="certificate"):
            await reach_redis(settings_at(environ, **{REDIS: through(environ[REDIS], front.port, TRUSTED)}))
        assert front.passed == 0
        unverified = through(environ[REDIS], front.port, "ssl_cert_reqs=none&ssl_check_hostname=false")
        await reach_redis(settings_at(environ, **{REDIS: unverified}))


async def test_a_server_without_tls_is_not_spoken_to_in_clear(environ: dict[str, str], direct_url: str) -> None:
    clear = {
        DATABASE: through(direct_url, port_of(direct_url), VERIFIED),
        REDIS: through(environ[REDIS], port_of(environ[REDIS]), TRUSTED),
        "KAGUAN_REDIS__CONNECT_TIMEOUT": "0.5",  # 没有 TLS 的 Valkey 等不来一句话
    }
    with pytest.raises(DatabaseUnavailableError, match="does not support SSL"):
        await reach_database(settings_at(environ, **clear))
    with pytest.raises(QueueUnavailableError):
        await reach_redis(settings_at(environ, **clear))


async def test_a_failed_attempt_at_redis_leaves_no_connection_behind(environ: dict[str, str]) -> None:
    """备连接的几个 PING 里一个先败了，余下的也要等完：不然它们接着连，撞上下一次，或撞上事件循环关了。"""
    met = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if met.is_set():  # 第一个不答，别的一来就断
            writer.close()
        met.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    url = f"redis://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/0"
    settings = settings_at(environ, **{REDIS: url, "KAGUAN_REDIS__SOCKET_TIMEOUT": "1"})
    async with server, open_redis(settings.redis) as client:
        with pytest.raises(QueueUnavailableError):
            await wait_for_redis(client, settings.redis)
        pings = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "execute_command"]
        assert pings == []
