"""从 PostgreSQL、Redis 的 URL 里只取判断安全要看的：走不走网络、拿什么证明身份、加不加密。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from kaguan.config.sentinel import sentinel_address
from kaguan.words.spoken import listed, said

# libpq 的 sslmode（PostgreSQL 手册 34.19）：prefer、allow 会悄悄退回明文，require 不认证书，verify-ca 不认主机
SSLMODE_DEFAULT = "prefer"


class Tls(IntEnum):
    NONE = 0
    UNVERIFIED = 1  # 加密，却不知对面是谁
    VERIFIED = 2


SSLMODES = {"require": Tls.UNVERIFIED, "verify-ca": Tls.UNVERIFIED, "verify-full": Tls.VERIFIED}


@dataclass(frozen=True, slots=True)
class Server:
    """一个服务器。

    Attributes:
        hosts: 要连的主机；空即只走 UNIX 套接字（对端由内核验明）。
        identified: 不用密码也证明得了自己（客户端证书、密码文件）。
    """

    hosts: tuple[str, ...]
    username: str
    password: str
    identified: bool
    tls: Tls

    @property
    def is_remote(self) -> bool:
        return not all(is_loopback(host) for host in self.hosts)

    @property
    def place(self) -> str:
        """可以写进错误里的部分。"""
        return listed(self.hosts) or said("config.unix_socket")


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def split_address(url: str) -> SplitResult:
    """``urlsplit``，端口也看过。

    Raises:
        ValueError: 不是合法的地址；消息不含 URL 的任何一段：标准库的会把口令带出来。
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(said("config.not_an_address")) from None
    return parts


def postgres_server(url: str, environ: Mapping[str, str]) -> Server:
    """按 libpq 的规矩解析，连 ``PG*`` 环境变量一起看：它们同样作数。

    Raises:
        ValueError: 不是合法的地址；消息不含 URL。
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError(said("config.postgres_form"))
    try:
        given = conninfo_to_dict(url)
    except ProgrammingError:
        raise ValueError(said("config.not_postgres")) from None

    def value(name: str, variable: str) -> str:
        return str(given.get(name) or environ.get(variable) or "")

    hosts = value("hostaddr", "PGHOSTADDR") or value("host", "PGHOST")
    if not hosts and (service := value("service", "PGSERVICE")):
        hosts = service  # 主机写在服务文件里，看不见：当作远处
    return Server(
        hosts=tuple(host for host in hosts.split(",") if host and not host.startswith(("/", "@"))),
        username=value("user", "PGUSER"),
        password=value("password", "PGPASSWORD"),
        identified=bool(value("sslcert", "PGSSLCERT") or value("passfile", "PGPASSFILE")),
        tls=SSLMODES.get(value("sslmode", "PGSSLMODE") or SSLMODE_DEFAULT, Tls.NONE),
    )


def redis_server(url: str) -> Server:
    """按 redis-py ``from_url`` 的规矩解析；经哨兵的，主由它说，所以总当作远处，加密按两段里弱的算。

    Raises:
        ValueError: 不是合法的地址；消息不含 URL。
    """
    if (watched := sentinel_address(url)) is not None:
        server, sentinel = redis_server(watched.server), redis_server(watched.sentinel)
        hosts = (*(host for host, _ in watched.hosts), *server.hosts)
        return replace(server, hosts=hosts, tls=min(server.tls, sentinel.tls))
    parts = split_address(url)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError(said("config.redis_form"))
    verified = options.get("ssl_cert_reqs", "required") == "required" and (
        options.get("ssl_check_hostname", "true").casefold() not in {"false", "0", "no", "off", "f", "n"}
    )
    tls = Tls.NONE if parts.scheme != "rediss" else Tls.VERIFIED if verified else Tls.UNVERIFIED
    return Server(
        hosts=() if parts.scheme == "unix" else (parts.hostname or options.get("host", "localhost"),),
        username=unquote(parts.username or "") or options.get("username", ""),
        password=unquote(parts.password or "") or options.get("password", ""),
        identified="ssl_certfile" in options,
        tls=tls,
    )
