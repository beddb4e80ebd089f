"""真的哨兵：一主一从、几个哨兵，口令各一个；主的可杀，从的可以先与它断开。

前面可以有 TLS（:class:`Fronted`）：哨兵自己与从库仍说明文，经的是报给大家的同一个地址。
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from kaguan.dev.privileges import make_private, server_identity, write_private
from kaguan.dev.program import Program
from kaguan.dev.valkey import ValkeyServer
from kaguan.flow.probes import LOOPBACK
from tests.chaos.servers import Server
from tests.support.eventually import PATIENCE, eventually
from tests.support.places import own_port
from tests.support.servers import in_memory_only
from tests.support.tls_front import TlsFront, fork, tls_front

SERVICE = "kaguan"
PASSWORD = "quiet-sentinel-71"
DOWN_AFTER = 1_500  # 毫秒：这么久没有回音，就当主死了；从库与主断开十倍以上的，哨兵不再提升它
# 哨兵之间、哨兵看从库的节拍，毫秒；缺省的按十秒计
TEMPO = {"info-period": 200, "publish-period": 200, "ask-period": 100, "ping-period": 100, "slave-reconf-timeout": 500}


@dataclass(frozen=True, slots=True)
class Fronted:
    """``certificate`` 是两个 Valkey 的，哨兵的总是 ``localhost``；``host`` 是哨兵报的主机。"""

    certificate: str
    host: str = LOOPBACK


@dataclass(eq=False, slots=True)
class Node:
    """一个 Valkey；``address`` 是哨兵报的。"""

    valkey: ValkeyServer
    process: Server
    address: tuple[str, int]
    front: TlsFront | None = None

    @property
    def secret(self) -> str:
        return self.valkey.password_file.read_text("utf-8").strip()

    @property
    def place(self) -> tuple[int, str]:
        return self.valkey.port, self.secret

    async def role(self) -> bytes:
        """此刻是主是从；不在是空的。"""
        async with _at(*self.place) as client:
            try:
                return bytes((await client.role())[0])
            except RedisError:
                return b""


@dataclass(eq=False, slots=True)
class Watched:
    """一组；``nodes`` 起初主的在前。"""

    nodes: list[Node]
    sentinels: list[Server]
    ports: list[int]
    fronts: list[TlsFront] = field(default_factory=list)

    def url(self, database: int = 0) -> str:
        """经哨兵的地址；头一个哨兵不在，问得着下一个才行。"""
        places = ",".join(f"{LOOPBACK}:{port}" for port in self.ports)
        return f"redis+sentinel://:{self.nodes[0].secret}@{places}/{SERVICE}/{database}?sentinel_password={PASSWORD}"

    def secured(self, query: str) -> str:
        """同上，经 TLS；``query`` 是信哪些证书。"""
        places = ",".join(f"{LOOPBACK}:{front.port}" for front in self.fronts)
        return f"rediss+sentinel://:{self.nodes[0].secret}@{places}/{SERVICE}?sentinel_password={PASSWORD}&{query}"

    async def master(self) -> Node | None:
        """哨兵们（过半数）此刻说的主。"""
        told = [await _asked(port) for port in self.ports]
        return next((node for node in self.nodes if told.count(node.address) * 2 > len(told)), None)

    async def moved(self, old: Node) -> Node:
        """等到主换了人，新的也真的是主。"""

        async def elsewhere() -> Node | None:
            node = await self.master()
            if node is None or node is old:
                return None
            return node if await node.role() == b"master" else None

        found = await eventually(elsewhere)
        assert found is not None
        return found

    async def whole(self) -> bool:
        """从库跟上了主，哨兵们都知道从库与彼此：可以再切换一次。"""
        roles = [await node.role() for node in self.nodes]
        if sorted(roles) != [b"master", b"slave"] or not await _all_known(self.ports):
            return False
        async with _at(*self.nodes[roles.index(b"slave")].place) as client:
            return await _linked(client)

    async def watch_closely(self) -> None:
        """从此 :data:`DOWN_AFTER` 没有回音就当主死了；经用例的循环去看它的，此前停顿多久也不切换。"""
        for port in self.ports:
            async with _at(port, PASSWORD, PATIENCE) as client:
                await tell(client, "SENTINEL", "SET", SERVICE, "down-after-milliseconds", DOWN_AFTER)

    async def heal(self) -> None:
        """死了的都起来，等到又成一组。"""
        for server in (*(node.process for node in self.nodes), *self.sentinels):
            if server.process is None or server.process.returncode is not None:
                await server.start()
        await eventually(self.whole)


def _at(port: int, password: str, patience: float = PATIENCE / 60) -> Redis:
    """不在就是不在，马上知道。"""
    return Redis(host=LOOPBACK, port=port, password=password, socket_timeout=patience, retry=Retry(NoBackoff(), 0))


async def cut_off(master: Node) -> None:
    """从库再也跟不上：它此后写下的，切换时就是丢掉的尾巴。"""
    async with _at(*master.place, PATIENCE) as client:
        await tell(client, "ACL", "SETUSER", "default", "-psync", "-sync")
        await tell(client, "CLIENT", "KILL", "TYPE", "REPLICA")


async def tell(client: Redis, *command: str | int) -> Any:
    return await client.execute_command(*command)  # type: ignore[no-untyped-call] # 没有类型


async def _asked(port: int) -> tuple[str, int] | None:
    async with _at(port, PASSWORD) as client:
        try:
            host, at = await tell(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        except RedisError:
            return None
    return host.decode(), int(at)


@asynccontextmanager
async def watched(directory: Path, sentinels: int = 3, fronted: Fronted | None = None) -> AsyncIterator[Watched]:
    """从库跟上了，哨兵们互相看见了，才给出。"""
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(_node(directory, fronted))
        replica = await stack.enter_async_context(_node(directory, fronted, master.address[1]))
        ports = [own_port() for _ in range(sentinels)]
        found = Watched([master, replica], [], ports)
        async with _at(*replica.place) as client:
            await eventually(partial(_linked, client))
        for port in ports:
            patience = DOWN_AFTER if fronted is None else round(PATIENCE * 1000)
            sentinel = _sentinel(directory, port, master, sentinels, patience)
            found.sentinels.append(await stack.enter_async_context(sentinel))
            if fronted is not None:
                found.fronts.append(await stack.enter_async_context(tls_front(port, "localhost")))
        await eventually(partial(_all_known, ports))
        yield found


@asynccontextmanager
async def _node(directory: Path, fronted: Fronted | None, master: int | None = None) -> AsyncIterator[Node]:
    port = own_port()
    valkey = ValkeyServer(directory / f"valkey-{port}", directory / "valkey-password", port, server_identity())
    valkey.prepare()
    secret = valkey.password_file.read_text("utf-8").strip()
    extra = ["--masterauth", secret, "--repl-diskless-sync-delay", "0"]
    extra += ["--replicaof", f"{LOOPBACK} {master}"] if master is not None else []
    async with AsyncExitStack() as stack:
        address, front = (LOOPBACK, port), None
        if fronted is not None:
            forked = await stack.enter_async_context(fork(port, fronted.certificate))
            address, front = (fronted.host, forked.port), forked.tls
            extra += ["--replica-announce-ip", fronted.host, "--replica-announce-port", str(forked.port)]
        program = in_memory_only(valkey.program())
        process = Server(replace(program, argv=(*program.argv, *extra)), directory / f"valkey-{port}.log")
        await process.start()
        stack.push_async_callback(process.stop, signal.SIGKILL)
        yield Node(valkey, process, address, front)


@asynccontextmanager
async def _sentinel(directory: Path, port: int, master: Node, sentinels: int, patience: int) -> AsyncIterator[Server]:
    valkey, (host, announced) = master.valkey, master.address
    names = "no" if host == LOOPBACK else "yes"
    home, identity = directory / f"sentinel-{port}", valkey.identity
    make_private(home, identity)
    lines = (
        f"bind {LOOPBACK}",
        f"port {port}",
        f'dir "{home}"',
        "daemonize no",
        "loglevel warning",
        f"sentinel announce-ip {LOOPBACK}",  # 不说就是去主那里的连接的这一头：主是 ::1，别的哨兵就找不到它
        f"requirepass {PASSWORD}",
        f"sentinel sentinel-pass {PASSWORD}",
        f"sentinel resolve-hostnames {names}",
        f"sentinel announce-hostnames {names}",
        f"sentinel monitor {SERVICE} {host} {announced} {sentinels // 2 + 1}",
        f"sentinel auth-pass {SERVICE} {master.secret}",
        f"sentinel down-after-milliseconds {SERVICE} {patience}",
        f"sentinel failover-timeout {SERVICE} 1000",
    )
    write_private(home / "sentinel.conf", "\n".join(lines) + "\n", identity)
    binary = valkey.program().argv[0]
    argv = (binary, str(home / "sentinel.conf"), "--sentinel")
    ready = partial(_tuned, port)
    process = Server(
        Program("sentinel", argv, home, identity=identity, ready=ready), directory / f"sentinel-{port}.log"
    )
    await process.start()
    try:
        yield process
    finally:
        await process.stop(signal.SIGKILL)


async def _tuned(port: int) -> bool:
    """起来了，节拍也调快了。"""
    async with _at(port, PASSWORD) as client:
        try:
            await tell(client, "SENTINEL", "DEBUG", *(part for pair in TEMPO.items() for part in pair))
        except RedisError:
            return False
    return True


async def _linked(replica: Redis) -> bool:
    try:
        info: Mapping[str, object] = await replica.info("replication")
    except RedisError:
        return False
    return info["master_link_status"] == "up"


async def _all_known(ports: list[int]) -> bool:
    """每个哨兵都知道从库与别的哨兵。"""
    for port in ports:
        async with _at(port, PASSWORD) as client:
            try:
                state = (await tell(client, "SENTINEL MASTERS"))[SERVICE]
            except RedisError:
                return False
        if (state["num-slaves"], state["num-other-sentinels"]) != (1, len(ports) - 1) or state["is_sdown"]:
            return False
    return True
