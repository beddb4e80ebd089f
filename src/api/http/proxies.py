"""客户端地址：X-Forwarded-For 只有来自可信代理才算数，从右往左剥掉可信的那些。"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web

MAX_HOPS = 16


class ClientAddress:
    """由可信网段判断客户端地址。"""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(item, strict=False) for item in trusted]

    def __call__(self, request: web.Request) -> str:
        peer = _plain(request.remote or "")
        if not self._networks or not self._trusts(peer):
            return peer
        hops = [hop.strip() for value in request.headers.getall("X-Forwarded-For", []) for hop in value.split(",")]
        client = peer
        for hop in reversed(hops[-MAX_HOPS:]):
            address = _parse(hop)
            if address is None:
                break
            client = str(address)
            if not self._trusts(client):
                break
        return client

    def secure(self, request: web.Request) -> bool:
        """客户端那头是不是 https：自己就是，或可信代理说是（X-Forwarded-Proto 以最近的代理为准）。"""
        if request.secure:
            return True
        told = ",".join(request.headers.getall("X-Forwarded-Proto", []))
        return self._trusts(request.remote or "") and told.rpartition(",")[2].strip().lower() == "https"

    def _trusts(self, text: str) -> bool:
        address = _parse(text)
        return address is not None and any(address in network for network in self._networks)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """一个地址；区域标识（``fe80::1%任何文字``）由着说的人写，不认。IPv6 里的 IPv4 就是那个 IPv4。"""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if not isinstance(address, IPv6Address):
        return address
    return None if address.scope_id is not None else address.ipv4_mapped or address


@lru_cache(maxsize=4_096)  # 内核说的，短；X-Forwarded-For 里的由人写，不记
def _plain(peer: str) -> str:
    """对端的地址，别的写法（区域标识是内核给的）原样。"""
    address = _parse(peer)
    return peer if address is None else str(address)


CLIENT_ADDRESS = web.AppKey("CLIENT_ADDRESS", ClientAddress)
