"""经哨兵找主的 Redis 地址：``redis+sentinel://[用户:密码@]主机[:端口][,主机[:端口]…]/主的名字[/库]?…``，TLS 是 ``rediss+sentinel://``。

用户、密码、参数说的是 Redis 服务器；``sentinel_`` 开头的参数说的是哨兵。
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from kaguan.words.spoken import listed, said

PORT = 26_379
PREFIX = "sentinel_"
SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
SSL = {"true": "rediss", "false": "redis"}  # ``sentinel_ssl``；不给就与服务器的一样
OWN = {"username", "password"}  # 哨兵自己的；此外只有 ``ssl_``


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """``server``、``sentinel`` 是 redis-py 认得的 URL，只取其中的口令、TLS 与别的参数；主机各另给。"""

    service: str
    hosts: tuple[tuple[str, int], ...]
    server: str
    sentinel: str


def sentinel_address(url: str) -> SentinelAddress | None:
    """不是经哨兵的地址就没有。

    Raises:
        ValueError: 写坏了；消息不含 URL。
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        return None
    before, _, query = rest.partition("?")
    netloc, _, path = before.partition("/")
    userinfo, at, places = netloc.rpartition("@")
    name, _, database = path.partition("/")
    if not name or "#" in rest or not (database or "0").isdecimal():
        raise ValueError(said("config.sentinel_form", scheme=scheme, port=PORT))
    options = [option for option in query.split("&") if option]
    theirs = dict(option.removeprefix(PREFIX).partition("=")[::2] for option in options if option.startswith(PREFIX))
    server = SCHEMES[scheme]
    if theirs.get("ssl", "true") not in SSL:
        raise ValueError(said("config.sentinel_ssl", name=f"{PREFIX}ssl", values=listed(SSL, "words.or")))
    sentinel = SSL[theirs.pop("ssl")] if "ssl" in theirs else server
    if unknown := sorted(name for name in theirs if name not in OWN and not name.startswith("ssl_")):
        raise ValueError(said("config.sentinel_unknown", names=listed(f"{PREFIX}{name}" for name in unknown)))
    own = [option for option in options if not option.startswith(PREFIX)]
    if sentinel == "rediss":  # 同一个 CA 签的不必写两遍
        theirs = {**dict(option.partition("=")[::2] for option in own if option.startswith("ssl_")), **theirs}
    service = unquote(name)
    hosts = tuple(_host(place) for place in places.split(","))
    return SentinelAddress(
        service,
        hosts,
        f"{server}://{userinfo}{at}{quote(service, safe='')}/{database or 0}?{'&'.join(own)}",
        f"{sentinel}://sentinel?{'&'.join(f'{name}={value}' for name, value in theirs.items())}",
    )


def _host(place: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ValueError(said("config.sentinel_hosts", port=PORT))
    return host, port or PORT
