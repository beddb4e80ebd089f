"""一个真的 Alertmanager：用仓库里的配置，只把收件的地址换成这里的、等待快进。"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.e2e.standing import answers, standing
from tests.support.accelerated_rules import shorter
from tests.support.eventually import PATIENCE
from tests.support.installed import program
from tests.support.places import own_port
from tests.support.repository import ROOT
from tests.support.smtp_server import Script, SmtpServer, smtp_server

SHIPPED = ROOT / "observability" / "alertmanager" / "alertmanager.yml"
WAIT = re.compile(r"(?P<field>group_wait|group_interval): (?P<duration>\w+)")
FACTOR = 10  # 10 秒的攒一攒变 1 秒：抓不到它与它引出来的，也许差一趟抓取


@dataclass(slots=True)
class Alertmanager:
    """在跑的一个；``pages`` 是值班的收到的，``mails`` 是寄出来的。"""

    port: int
    mails: SmtpServer
    pages: list[dict[str, Any]] = field(default_factory=list)

    def inhibited(self) -> set[str]:
        """响着、因为起因也响着而没有叫人的（https://prometheus.io/docs/alerting/latest/alertmanager/#inhibition）。"""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v2/alerts", timeout=PATIENCE) as answer:
            return {alert["labels"]["alertname"] for alert in json.load(answer) if alert["status"]["inhibitedBy"]}

    def told(self, status: str) -> set[str]:
        """值班的听到过、说是 ``status`` 的。"""
        found = (alert for page in self.pages for alert in page["alerts"] if alert["status"] == status)
        return {alert["labels"]["alertname"] for alert in found}

    async def take(self, request: web.Request) -> web.Response:
        self.pages.append(await request.json())
        return web.Response()


def configuration(webhook: str, smtp: int) -> str:
    """仓库里的，只换地址与攒多久。"""
    text = SHIPPED.read_text("utf-8")
    text = text.replace("http://127.0.0.1:9095/page", webhook).replace("127.0.0.1:25", f"127.0.0.1:{smtp}")
    return WAIT.sub(lambda match: f"{match['field']}: {shorter(match['duration'], FACTOR)}", text)


@asynccontextmanager
async def alertmanager(home: Path) -> AsyncIterator[Alertmanager]:
    """起一个，等它就绪。"""
    path = program("prometheus-alertmanager", "alertmanager", since=(0, 25))
    async with smtp_server(Script()) as mails:
        server = Alertmanager(own_port(), mails)
        app = web.Application()
        app.router.add_post("/page", server.take)
        async with TestServer(app) as oncall:
            config = home / "alertmanager.yml"
            config.write_text(configuration(str(oncall.make_url("/page")), mails.port), "utf-8")
            command = [
                path,
                f"--config.file={config}",
                f"--storage.path={home / 'data'}",
                f"--web.listen-address=127.0.0.1:{server.port}",
                "--cluster.listen-address=",
            ]
            async with standing(command, home / "log", answers(f"http://127.0.0.1:{server.port}/-/ready")):
                yield server
