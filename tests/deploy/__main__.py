"""``make prove P=image``：照 Dockerfile 造镜像，以镜像的用户、在只读的根里跑三种进程，外面的服务器都是真的。

基础镜像是 debootstrap 的 trixie（发布时是 debian:trixie-slim；这里没有镜像仓库可用）。每一步印一行，不成就停。
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import server_identity
from kaguan.dev.valkey import ValkeyServer
from kaguan.product.exit_codes import ExitCode
from tests.deploy.containers import Engine, install
from tests.deploy.shipping import GIVEN
from tests.support.eventually import eventually
from tests.support.mail_tasks import CERTIFICATES
from tests.support.places import own_port, temporary_place
from tests.support.repository import ROOT
from tests.support.servers import running
from tests.support.smtp_server import Script, SmtpServer, smtp_server

USER = "10001:10001"
PROCESSES = ("api", "relay", "worker")
DEBIAN = ROOT / "dist" / "kaguan.debian.txt"
CA_FILE = "ca.crt"
LOGIN = ("kaguan", "quiet-harbour-73")
MAIL = {"to": ["han.meimei@example.com"], "subject": "您好", "body": "从只读的容器里寄出"}


def say(text: str) -> None:
    typer.echo(text)


@contextmanager
def servers(place: Path) -> Iterator[tuple[PostgresServer, ValkeyServer]]:
    identity = server_identity()
    database = PostgresServer(place / "postgres", place / "postgres-password", own_port(), identity)
    broker = ValkeyServer(place / "valkey", place / "valkey-password", own_port(), identity)
    asyncio.run(database.prepare())
    broker.prepare()
    with running(database.program(), place / "postgres.log"), running(broker.program(), place / "valkey.log"):
        yield database, broker


def write_secrets(directory: Path, values: dict[str, str]) -> Path:
    """一个键一个文件；容器里的用户读得到。"""
    directory.mkdir(mode=0o755)
    for name, value in values.items():
        (directory / name).write_text(f"{value}\n")
    (directory / CA_FILE).write_bytes((CERTIFICATES / "localhost.crt").read_bytes())
    return directory


def request(url: str, token: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, content, headers)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.load(answer)["data"]


def record_packages(engine: Engine) -> None:
    """`make prove P=sbom` 只列 PyPI 的；Debian 的写在它旁边。"""
    listed = engine.packages()
    if "python3 " not in listed:
        raise SystemExit(f"列不出镜像里 Debian 的包：{listed[:200]!r}")
    DEBIAN.parent.mkdir(exist_ok=True)
    DEBIAN.write_text(listed, "utf-8")
    say(f"Debian 的包 {len(listed.splitlines())} 个，写在 {DEBIAN.relative_to(ROOT)}")


def look_at(engine: Engine) -> None:
    """镜像里有什么、没有什么。"""
    found = engine.inspect()
    config = found["Config"]
    if config["User"] != USER:
        raise SystemExit(f"镜像的用户是 {config['User']!r}，应为 {USER}")
    say(f"镜像 {found['Size'] / 2**20:.0f} MiB，用户 {config['User']}，健康检查 {found['Healthcheck']['Test'][-1]}")
    say(f"标签 {json.dumps({key: value for key, value in config['Labels'].items() if 'buildah' not in key})}")


def refuses_without_secrets(engine: Engine, place: Path) -> None:
    empty = place / "no-secrets"
    empty.mkdir()
    refused = engine.start("api", secrets=empty, check=False)
    if refused.returncode != ExitCode.USAGE:
        raise SystemExit(f"没有秘密却没有拒绝启动：{refused}")
    say(f"没有秘密：退出码 2，{len(refused.stderr.splitlines())} 行，第一行「{refused.stderr.splitlines()[0]}」")


async def walk(engine: Engine, place: Path, database: PostgresServer, broker: ValkeyServer) -> None:
    """迁移、起三种进程、一封信走完全程、停。"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "localhost.crt", CERTIFICATES / "localhost.key")
    async with smtp_server(Script(starttls=context, credentials=LOGIN)) as mail:
        ports = {name: own_port() for name in PROCESSES}
        values = {
            "KAGUAN_DATABASE__URL": database.url,
            "KAGUAN_REDIS__URL": broker.url,
            "KAGUAN_SMTP__URL": mail.url_as(*LOGIN),
            "KAGUAN_CARRIERS__ONELINK__PASSWORD": "",  # 不用的那一家，文件是空的
            "KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY": "",
        }
        secrets = {
            name: write_secrets(place / f"secrets-{name}", {key: values[key] for key in keys})
            for name, keys in GIVEN.items()
        }
        environ = {
            "KAGUAN_API__PORT": str(ports["api"]),
            "KAGUAN_API__METRICS_PORT": str(own_port()),
            "KAGUAN_RELAY__METRICS_PORT": str(ports["relay"]),
            "KAGUAN_WORKER__METRICS_PORT": str(ports["worker"]),
            "KAGUAN_SMTP__CA_FILE": f"/run/secrets/{CA_FILE}",
        }
        migrated = await asyncio.to_thread(engine.start, "migrate", "up", secrets=secrets["migrate"], environ=environ)
        say(f"迁移：{' '.join(migrated.stdout.split())}")
        try:
            await _live(engine, secrets, environ, mail)
        except (AssertionError, OSError):
            for name in PROCESSES:
                say(engine.podman("logs", "--tail", "20", name, check=False).stderr)
            raise


async def _live(engine: Engine, secrets: dict[str, Path], environ: dict[str, str], mail: SmtpServer) -> None:
    for name in PROCESSES:
        await asyncio.to_thread(engine.start, name, secrets=secrets[name], name=name, environ=environ)
    for name in PROCESSES:
        await eventually(lambda name=name: asyncio.to_thread(engine.is_healthy, name))  # type: ignore[misc]
        say(f"{name}：健康，常驻 {engine.resident(name)} MiB")
    command = ("kaguan", "token", "create", "--name", "check", "--scopes", "tasks:write,tasks:read", "--json")
    created = await asyncio.to_thread(engine.inside, "api", *command)
    token = json.loads(created.stdout)["token"]
    base = f"http://127.0.0.1:{environ['KAGUAN_API__PORT']}/api/v1/tasks"
    task_id = (await asyncio.to_thread(request, f"{base}/email", token, MAIL))["task_id"]

    async def status() -> bool:
        found = await asyncio.to_thread(request, f"{base}/{task_id}", token)
        return bool(found["status"] == "succeeded")

    await eventually(status)
    (arrived,) = mail.mails
    how = "加密" if arrived.encrypted else "明文"
    say(f"一封信走完全程：succeeded，收件端收到 1 封，{how}，以 {arrived.login} 登录")
    written = await asyncio.to_thread(
        engine.inside, "worker", "sh", "-c", "touch /tmp/x /opt/kaguan/x /run/x", check=False
    )
    say(f"根是只读的：写 /tmp、/opt/kaguan、/run 的退出码 {written.returncode}")
    if not written.returncode:
        raise SystemExit("根不是只读的")
    for name in reversed(PROCESSES):
        started = time.monotonic()
        code = await asyncio.to_thread(engine.stop, name)
        say(f"{name}：SIGTERM 之后退出码 {code}，{time.monotonic() - started:.1f} 秒")
        if code:
            raise SystemExit(f"{name} 没有体面地停下")


def main() -> int:
    install()
    with temporary_place("image", 0o755, on_disk=True) as place:
        engine = Engine(place)
        started = time.monotonic()
        engine.base()
        say(f"基础：debootstrap trixie，{time.monotonic() - started:.0f} 秒")
        started = time.monotonic()
        engine.build()
        say(f"照 deploy/Dockerfile 造成，{time.monotonic() - started:.0f} 秒")
        look_at(engine)
        record_packages(engine)
        refuses_without_secrets(engine, place)
        with servers(place) as (database, broker):
            asyncio.run(walk(engine, place, database, broker))
    say("全部如愿")
    return 0


if __name__ == "__main__":
    sys.exit(main())
