"""真的哨兵：一主一从、几个哨兵，口令各一个；主的可杀，从的可以先与它断开。"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.dev.ports import LOOPBACK
from kaguan.dev.privileges import make_private, server_identity, write_private
from kaguan.dev.program import Program
from kaguan.dev.valkey import ValkeyServer
from tests.chaos.servers import Server
from tests.support.eventually import eventually
from tests.support.places import own_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

SERVICE = "kaguan"
PASSWORD = "quiet-sentinel-71"  # noqa: S105 只有用例的哨兵用它
DOWN_AFTER = 500  # 毫秒：这么久没有回音，就当主死了
# 哨兵之间、哨兵看从库的节拍，毫秒；缺省的按十秒计
TEMPO = {"info-period": 200, "publish-period": 200, "ask-period": 100, "ping-period": 100, "slave-reconf-timeout": 500}


@dataclass(eq=False, slots=True)
class Node:
    """一个 Valkey。"""

    valkey: ValkeyServer
    process: Server

    @property
    def address(self) -> tuple[str, int]:
        return LOOPBACK, self.valkey.port


@dataclass(eq=False, slots=True)
class Watched:
    """一组；``nodes`` 起初主的在前。"""

    nodes: list[Node]
    sentinels: list[Server]
    ports: list[int]

    def url(self, database: int = 0) -> str:
        """经哨兵的地址；头一个哨兵不在，问得着下一个才行。"""
        places = ",".join(f"{LOOPBACK}:{port}" for port in self.ports)
        secret = self.nodes[0].valkey.password_file.read_text("utf-8").strip()
        return f"redis+sentinel://:{secret}@{places}/{SERVICE}/{database}?sentinel_password={PASSWORD}"

    async def master(self) -> Node:
        """哨兵们（过半数）此刻说的主。"""
        told = [await _asked(port) for port in self.ports]
        return next(node for node in self.nodes if told.count(node.address) * 2 > len(told))

    async def moved(self, old: Node) -> Node:
        """等到主换了人，新的也真的是主。"""

        async def elsewhere() -> Node | None:
            try:
                node = await self.master()
                async with Redis.from_url(node.valkey.url) as client:
                    role = (await client.role())[0]
            except (StopIteration, RuntimeError, RedisError, OSError):
                return None
            return node if node is not old and role == b"master" else None

        found = await eventually(elsewhere, 60.0)
        assert found is not None
        return found


async def cut_off(master: Node) -> None:
    """从库再也跟不上：它此后写下的，切换时就是丢掉的尾巴。"""
    async with Redis.from_url(master.valkey.url) as client:
        await client.execute_command("ACL", "SETUSER", "default", "-psync", "-replconf")  # type: ignore[no-untyped-call] # 没有类型
        await client.execute_command("CLIENT", "KILL", "TYPE", "REPLICA")  # type: ignore[no-untyped-call] # 没有类型


async def _asked(port: int) -> tuple[str, int] | None:
    client = Redis(host=LOOPBACK, port=port, password=PASSWORD, decode_responses=True)
    try:
        return await client.sentinel_get_master_addr_by_name(SERVICE)  # type: ignore[no-any-return] # 没有类型
    except (RedisError, OSError):
        return None
    finally:
        await client.aclose()


@asynccontextmanager
async def watched(directory: Path, sentinels: int = 3) -> AsyncIterator[Watched]:
    """从库跟上了，哨兵们互相看见了，才给出。"""
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(_node(directory))
        replica = await stack.enter_async_context(_node(directory, master.valkey.port))
        ports = [own_port() for _ in range(sentinels)]
        found = Watched([master, replica], [], ports)
        async with Redis.from_url(replica.valkey.url) as client:
            await eventually(partial(_linked, client), 60.0)
        for port in ports:
            found.sentinels.append(await stack.enter_async_context(_sentinel(directory, port, master, sentinels)))
        await eventually(partial(_all_known, ports), 60.0)
        yield found


@asynccontextmanager
async def _node(directory: Path, master: int | None = None) -> AsyncIterator[Node]:
    port = own_port()
    valkey = ValkeyServer(
        directory / f"valkey-{port}", directory / "valkey-password", port, server_identity(), append_only=False
    )
    valkey.prepare()
    secret = valkey.password_file.read_text("utf-8").strip()
    extra = ["--masterauth", secret, "--repl-diskless-sync-delay", "0"]
    extra += ["--replicaof", f"{LOOPBACK} {master}"] if master is not None else []
    program = valkey.program()
    process = Server(replace(program, argv=(*program.argv, *extra)), directory / f"valkey-{port}.log")
    await process.start()
    try:
        yield Node(valkey, process)
    finally:
        await process.stop(signal.SIGKILL)


@asynccontextmanager
async def _sentinel(directory: Path, port: int, master: Node, sentinels: int) -> AsyncIterator[Server]:
    valkey = master.valkey
    home, identity = directory / f"sentinel-{port}", valkey.identity
    make_private(home, identity)
    lines = (
        f"bind {LOOPBACK}", f"port {port}", f'dir "{home}"', "daemonize no", "loglevel warning",
        f"requirepass {PASSWORD}", f"sentinel sentinel-pass {PASSWORD}",
        f"sentinel monitor {SERVICE} {LOOPBACK} {valkey.port} {sentinels // 2 + 1}",
        f"sentinel auth-pass {SERVICE} {valkey.password_file.read_text('utf-8').strip()}",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}",
        f"sentinel failover-timeout {SERVICE} 2000",
    )  # fmt: skip
    write_private(home / "sentinel.conf", "\n".join(lines) + "\n", identity)
    binary = valkey.program().argv[0]
    argv = (binary, str(home / "sentinel.conf"), "--sentinel")
    ready = partial(_tuned, port)
    process = Server(Program("sentinel", argv, home, identity=identity, ready=ready), directory / f"sentinel-{port}.log")
    await process.start()
    try:
        yield process
    finally:
        await process.stop(signal.SIGKILL)


async def _tuned(port: int) -> bool:
    """起来了，节拍也调快了。"""
    client = Redis(host=LOOPBACK, port=port, password=PASSWORD)
    try:
        pairs = [part for name, value in TEMPO.items() for part in (name, value)]
        await client.execute_command("SENTINEL", "DEBUG", *pairs)  # type: ignore[no-untyped-call] # 没有类型
    except (RedisError, OSError):
        return False
    finally:
        await client.aclose()
    return True


async def _linked(replica: Redis) -> bool:
    info: Mapping[str, object] = await replica.info("replication")
    return info["master_link_status"] == "up"


async def _all_known(ports: list[int]) -> bool:
    """每个哨兵都知道从库与别的哨兵。"""
    for port in ports:
        async with Redis(host=LOOPBACK, port=port, password=PASSWORD, decode_responses=True) as client:
            state = (await client.sentinel_masters())[SERVICE]
        if (state["num-slaves"], state["num-other-sentinels"]) != (1, len(ports) - 1):
            return False
    return True


async def stopped_by_force(node: Node) -> None:
    """SIGKILL，等它真的没了。"""
    await asyncio.shield(node.process.stop(signal.SIGKILL))
