"""OTLP 接收端：收下就丢。它只为让导出真的发生，自己尽量不占 CPU。"""

from __future__ import annotations

import sys

from aiohttp import web

from kaguan.flow.probes import LOOPBACK

BODY_LIMIT = 64 * 1024 * 1024


async def accept(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(content_type="application/x-protobuf")


def main() -> None:
    app = web.Application(client_max_size=BODY_LIMIT)
    app.router.add_post("/v1/traces", accept)
    web.run_app(app, host=LOOPBACK, port=int(sys.argv[1]), access_log=None)


if __name__ == "__main__":
    main()
