"""收信就丢的中继：不落盘，两边都寄给它。``python -m tests.bench.mail_sink 端口``。"""

from __future__ import annotations

import asyncio
import logging
import sys
from types import SimpleNamespace

from aiosmtpd.smtp import SMTP, Envelope, Session

from kaguan.flow.probes import LOOPBACK


async def accepted(_server: SMTP, _session: Session, _envelope: Envelope) -> str:
    return "250 2.0.0 accepted"


async def serve(port: int) -> None:
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    loop = asyncio.get_running_loop()
    handler = SimpleNamespace(handle_DATA=accepted)  # 名字由 aiosmtpd 规定
    server = await loop.create_server(lambda: SMTP(handler, hostname="localhost", loop=loop), LOOPBACK, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
