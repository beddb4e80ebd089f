"""客户端地址：只认可信代理说的，而且只认地址。"""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from api.http.proxies import ClientAddress


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("10.0.0.2", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.2", "1.2.3.4, 10.9.9.9", "1.2.3.4"),
        ("9.9.9.9", "1.2.3.4", "9.9.9.9"),
        ("10.0.0.2", "fe80::1%anything the caller likes, 10.9.9.9", "10.9.9.9"),
        ("10.0.0.2", "::ffff:1.2.3.4", "1.2.3.4"),
        ("::ffff:10.0.0.2", "1.2.3.4, ::ffff:10.9.9.9", "1.2.3.4"),
        ("::ffff:9.9.9.9", "1.2.3.4", "9.9.9.9"),
    ],
)
def test_the_client_is_the_first_address_no_trusted_proxy_has(peer: str, forwarded: str, found: str) -> None:
    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": forwarded}).clone(remote=peer)
    assert ClientAddress(["10.0.0.0/8"])(request) == found
