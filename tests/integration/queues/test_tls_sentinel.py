"""经哨兵的 Redis，到哨兵、到主都是 TLS（``rediss+sentinel://``）：一路走得通，切换跟得上；证书不对，一个字节也不发。"""

from __future__ import annotations

import asyncio
import signal

import psycopg
import pytest

from kaguan.config import Settings, load_settings
from kaguan.outbox.accept.doorbell import Doorbell, listen
from kaguan.queues.client import QueueUnavailableError, open_redis, wait_for_redis
from kaguan.queues.sentinel import MasterPool
from tests.support.alongside import alongside
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import EFFECT_TABLE, QUICK, own_directory
from tests.support.mail_tasks import CERTIFICATES
from tests.support.sentinel import Fronted, Node, watched
from tests.support.whole_way import works

OURS, OTHERS = (CERTIFICATES / f"{name}.crt" for name in ("localhost", "stranger"))
NAME = "localhost"


def passed(node: Node) -> int:
    """经 TLS 到它那里的字节数。"""
    assert node.front is not None
    return node.front.passed


def settings_at(environ: dict[str, str], url: str) -> Settings:
    return load_settings({**environ, **QUICK, "KAGUAN_REDIS__CONNECT_ATTEMPTS": "1", "KAGUAN_REDIS__URL": url})


async def test_everything_goes_its_way_through_sentinels_that_name_the_master_and_follows_it(
    environ: dict[str, str], direct_url: str
) -> None:
    """证书里只有名字，没有地址：哨兵报名字，才验得过。"""
    with psycopg.connect(direct_url, autocommit=True) as owner:
        owner.execute(EFFECT_TABLE)
    with own_directory() as directory:
        async with watched(directory, fronted=Fronted("named", NAME)) as group:
            settings = settings_at(environ, group.secured(f"ssl_ca_certs={OURS}"))
            old, new = group.nodes
            await works(settings)
            assert passed(old) > 0 == passed(new)
            heard = asyncio.Event()
            async with (
                open_redis(settings.redis) as client,
                alongside(listen(client, heard.set), "bell"),
                Doorbell(client, 0.05).ringing() as bell,
            ):
                await asyncio.wait_for(heard.wait(), PATIENCE)
                await group.watch_closely()
                await old.process.stop(signal.SIGKILL)
                assert await group.moved(old) is new

                heard.clear()

                def rung() -> bool:
                    bell.ring()
                    return heard.is_set() and passed(new) > 0

                await eventually(rung)
                pool = client.connection_pool
                assert isinstance(pool, MasterPool)
                assert pool.master_address == new.address == (NAME, new.address[1])


async def test_a_certificate_that_proves_nothing_is_refused_at_the_sentinels_and_at_the_master(
    environ: dict[str, str],
) -> None:
    with own_directory() as directory:
        async with watched(directory, sentinels=1, fronted=Fronted("named")) as group:
            refusals = {
                f"ssl_ca_certs={OTHERS}": r"没有一个哨兵说得出 kaguan 的主.*certificate verify failed",
                f"ssl_ca_certs={OTHERS}&sentinel_ssl_ca_certs={OURS}": "certificate verify failed",
                f"ssl_ca_certs={OURS}": "IP address mismatch",  # 哨兵报的是地址，证书里只有名字
            }
            for query, reason in refusals.items():
                config = settings_at(environ, group.secured(query)).redis
                async with open_redis(config) as client:
                    with pytest.raises(QueueUnavailableError, match=reason) as refusal:
                        await wait_for_redis(client, config)
                assert "\n" not in str(refusal.value)
                assert "quiet-" not in str(refusal.value)
            assert [passed(node) for node in group.nodes] == [0, 0]
