"""真的 PgBouncer（Debian 的包）：事务池，除了必填的地址与口令全是它出厂的样子，或再加几行。"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.rows import dict_row

from kaguan.dev.privileges import server_identity, write_private
from kaguan.dev.program import Program
from kaguan.flow.probes import LOOPBACK
from tests.support import installed
from tests.support.eventually import PATIENCE
from tests.support.places import own_port
from tests.support.servers import running

OLDEST = (1, 18)  # 试过的最旧的：Debian 12 的
KEPT_BY_DEFAULT = (1, 24)  # 从这一版起出厂就代管 200 条预备语句；更早的一条也不管
PREPARED = "max_prepared_statements"
KNOWS_PREPARED = (1, 21)  # 更早的不认得这个键，写了就起不来
KEEPS_PREPARED = (1, 22)  # 1.21 管不好
WAITS_FOR_CLIENTS = (1, 23)  # 从这一版起，SIGTERM 等客户端走
NO_PREPARED = {PREPARED: "0"}
# 调过的：服务器连接少而短命，代管的预备语句几条就满
TUNED = {
    "default_pool_size": "4",
    PREPARED: "5",
    "server_lifetime": "1",
    "server_idle_timeout": "1",
}
ADMIN, ADMIN_PASSWORD = "pooler", "pooler-admin"


@dataclass(slots=True)
class Pooler:
    """一个 PgBouncer。

    Attributes:
        upstream: PostgreSQL 的地址，带着要代为登录的角色与口令；库随客户端要哪个。
        options: 出厂之外的设置。
    """

    directory: Path
    upstream: str
    options: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=own_port)

    def url_of(self, url: str) -> str:
        """直连的地址换成经它走的。"""
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{self.port}")).geturl()

    def program(self) -> Program:
        """先写好它的配置；口令明文给它，它才登录得了 SCRAM 的服务器。"""
        identity = server_identity()
        self.directory.mkdir(mode=0o755, exist_ok=True)
        server = urlsplit(self.upstream)
        users = self.directory / "users.txt"
        password = unquote(server.password or "")
        write_private(users, f'"{server.username}" "{password}"\n"{ADMIN}" "{ADMIN_PASSWORD}"\n', identity)
        settings = {
            "listen_addr": LOOPBACK,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(users),
            "admin_users": ADMIN,
            "pool_mode": "transaction",
            **self.known_options(),
        }
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        file = self.directory / "pgbouncer.ini"
        database = f"* = host={server.hostname} port={server.port}"
        write_private(file, f"[databases]\n{database}\n[pgbouncer]\n{lines}\n", identity)
        argv = (self.path, str(file))
        # 立刻停。从前就是 SIGTERM，而不接 SIGQUIT（后台起的，它还可能是忽略的）；如今 SIGTERM 要等所有的客户端走
        stop = signal.SIGQUIT if self.version >= WAITS_FOR_CLIENTS else signal.SIGTERM
        return Program("pgbouncer", argv, self.directory, identity=identity, stop_signal=stop, ready=self.ready)

    @property
    def path(self) -> str:
        """装着的程序；要它代管预备语句的，太旧就跳过。"""
        kept = self.options.get(PREPARED, "0") != "0"
        return installed.program("pgbouncer", since=KEEPS_PREPARED if kept else OLDEST)

    @property
    def version(self) -> installed.Version:
        return installed.version_of((self.path, "--version"))

    def known_options(self) -> dict[str, str]:
        """它那一版认得的：不代管，在不会代管的那里就是不写。"""
        unknown = () if self.version >= KNOWS_PREPARED else (PREPARED,)
        return {name: value for name, value in self.options.items() if name not in unknown}

    @property
    def console_url(self) -> str:
        return f"postgresql://{ADMIN}:{ADMIN_PASSWORD}@{LOOPBACK}:{self.port}/pgbouncer"

    async def ready(self) -> bool:
        try:
            async with await psycopg.AsyncConnection.connect(
                self.console_url, autocommit=True, connect_timeout=round(PATIENCE / 60)
            ):
                return True
        except psycopg.OperationalError:
            return False

    @contextmanager
    def serving(self) -> Iterator[Pooler]:
        with running(self.program(), self.directory / "log"):
            yield self

    def tell(self, command: str) -> list[dict[str, Any]]:
        """管理台的一条命令（SHOW …、RECONNECT、KILL …）。"""
        with psycopg.connect(self.console_url, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
            cursor = console.cursor(row_factory=dict_row).execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    def part_from_server(self, name: str) -> None:
        """断开答完一秒还占着的服务器连接：1.24 的事务池百次里有一两次不收回，听的那条就碰巧听得见。

        占着它的客户端随之断开。管理台自己的 KILL_CLIENT 旧的没有。

        Args:
            name: 客户端的 application_name。
        """
        held = {
            client["link"]
            for client in self.tell("show clients")
            if client["link"] and client["application_name"] == name and client["wait"] >= 1
        }
        if not held:
            return
        backends = [server["remote_pid"] for server in self.tell("show servers") if server["ptr"] in held]
        with psycopg.connect(self.upstream, autocommit=True) as server:
            server.execute("select pg_terminate_backend(pid) from unnest(cast(%s as int[])) as pid", [backends])
