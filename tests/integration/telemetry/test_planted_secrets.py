"""秘密埋进每一种输入与配置，真的进程走完一圈；然后到日志、跟踪、指标、库的每张表、Redis 的每个键里去找。

找的人自己要可信：每一处都有一个该在的记号，必须找得到。
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import psycopg
import pytest
from psycopg import sql
from redis.asyncio import Redis

from api.http.probing import PROBING
from kaguan.database.pool import Pool
from kaguan.flow.probes import LOOPBACK
from kaguan.tokens import service as tokens
from tests.support.console import FORM
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import QUICK, child, local, only_kaguan
from tests.support.invocation import Invocation
from tests.support.otlp_receiver import OtlpReceiver, otlp_receiver
from tests.support.places import own_port
from tests.support.planting import PREFIX, Planted, generated, marker, secret_settings
from tests.support.smtp_server import Script, smtp_server

SEEN = "harmless-marker-4711"  # 请求号：日志与跟踪里该有
WANTED = ("api", "relay", "workers")
JSON = "application/json"
HEADERS = (
    "x-api-key", "cookie", "baggage", "tracestate", "traceparent", "proxy-authorization", "x-auth-token", "referer",
    "if-match", "if-none-match", "accept-language", "last-event-id", "origin", "x-forwarded-for", "forwarded", "from",
)  # fmt: skip
NIGHTLY = {"name": "nightly", "cron": "0 3 1 1 *", "type": "email:send"}


def forms(text: str) -> list[bytes]:
    """原样、十六进制、不论从哪个字节起的 base64。"""
    raw = text.encode()
    encoded = [base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)]
    return [raw, raw.hex().encode(), *encoded]


def found_in(places: dict[str, bytes], text: str) -> set[str]:
    return {place for place, held in places.items() if any(form in held for form in forms(text))}


def leaks(places: dict[str, bytes], planted: Planted) -> dict[str, set[str]]:
    """每个记号在哪些地方；先看哪里有记号的开头，别处不必找。"""
    suspects = {place: places[place] for place in found_in(places, PREFIX)}
    found = {name: found_in(suspects, marker(name)) for name in planted.homes}
    return {name: where for name, where in found.items() if where}


def requests(planted: Planted, token: str) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """方法、路径、头、正文：收下的与拒绝的都有。"""
    known = {"Authorization": f"Bearer {token}", "Content-Type": JSON, "X-Request-ID": SEEN}
    everywhere = {name: f"session={planted.of(name)}" for name in HEADERS}
    stranger = {"Content-Type": JSON, "X-Request-ID": SEEN, **everywhere, "User-Agent": f"x kg_{planted.of('agent')}"}
    bearer = {"Authorization": f"Bearer kg_{planted.of('bearer')}"}
    basic = {"Authorization": "Basic " + base64.b64encode(f"ops:{planted.of('basic')}".encode()).decode()}

    def sent(**fields: object) -> bytes:
        return json.dumps(fields).encode()

    user = {"username": "zhangsan", "email": "z@example.com"}
    mail = {"to": ["a@example.com"], "subject": "s", "body": f"password={planted.of('mail-body', 'tb_task')}"}
    attachment = base64.b64encode(planted.of("attachment", "tb_task").encode()).decode()
    files = [{"filename": "f.bin", "content_type": "a/b", "content_base64": attachment}]
    for path in ("/api/v1/users", "/nowhere", "/health/live", "/console/login", "/metrics"):
        query = f"?token={planted.of('query-token')}&password={planted.of('query-password')}"
        refused = sent(**user, password=planted.of("refused-password"), otp=planted.of("otp"))
        yield "POST", path + query, {**stranger, **bearer}, refused
        yield "GET", path + query, {**stranger, **basic}, b""
    yield "GET", f"/monitor/?token={planted.of('monitor')}", {**stranger, **basic}, b""
    yield "POST", "/api/v1/users", {**known, **everywhere}, sent(**user, password=planted.of("password"))
    yield "POST", "/api/v1/users", known, sent(**user, password=planted.of("taken-password"))
    yield "POST", "/api/v1/users", known, f'{{"password": "{planted.of("broken-json")}'.encode()
    yield "POST", "/api/v1/users", {**known, "Content-Type": FORM}, f"password={planted.of('form')}".encode()
    yield "POST", "/console/login", {**stranger, "Content-Type": FORM}, f"token=kg_{planted.of('login')}".encode()
    keyed = {**known, "Idempotency-Key": planted.of("idempotency-key", "tb_idempotency_key")}
    yield "POST", "/api/v1/tasks/email", keyed, sent(**mail, attachments=files)
    yield "POST", "/api/v1/tasks/email", known, sent(**{**mail, "to": ["refused@example.com"]})
    sync = {"sync_type": "sim_info", "start_date": "2026-01-01", "end_date": "2026-01-01", "notify": True}
    yield "POST", "/api/v1/tasks/sync", known, sent(**sync)
    pasted = {**known, "X-Request-ID": f"kg_{planted.of('request-id')}"}
    replay = {"dry_run": False, "error": f"password={planted.of('replay-error')}"}
    yield "POST", "/api/v1/tasks/replay", pasted, sent(**replay)
    yield from generated(planted, known)


def configured(planted: Planted, smtp_port: int) -> dict[str, str]:
    closed = f"http://user:{planted.of('carrier-url')}@{LOOPBACK}:{own_port()}"
    mail = {"to": ["a@example.com"], "subject": "s", "body": f"password={planted.of('schedule')}"}

    def webhook(name: str) -> str:
        return "whsec_" + base64.b64encode(planted.of(name).encode().ljust(32, b"-")).decode()

    return {
        "KAGUAN_WEBHOOKS__URL": closed,
        "KAGUAN_WEBHOOKS__SECRET": webhook("webhook"),
        "KAGUAN_ALERTS__URL": closed,
        "KAGUAN_ALERTS__SECRET": webhook("alerts"),
        "KAGUAN_WEBHOOKS__CALLERS": json.dumps([{"name": "test", "url": closed, "secret": webhook("caller")}]),
        "KAGUAN_SCHEDULES": json.dumps([{**NIGHTLY, "payload": mail}]),
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {planted.of('otlp')},x-api-key={planted.of('otlp-key')}",
        "KAGUAN_SMTP__URL": f"smtp://mailer:{planted.of('smtp-password')}@{LOOPBACK}:{smtp_port}",
        "KAGUAN_SMTP__STARTTLS": "off",
        "KAGUAN_CARRIERS__ONELINK__BASE_URL": closed,
        "KAGUAN_CARRIERS__ONELINK__PASSWORD": planted.of("onelink"),
        "KAGUAN_CARRIERS__CONTROL_CENTER__BASE_URL": closed,
        "KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY": planted.of("control-center"),
        "KAGUAN_TASKS__MAX_RETRIES": "1",
        "KAGUAN_TELEMETRY__SAMPLE_RATIO": "1.0",
        "KAGUAN_LOGGING__LEVEL": "DEBUG",
        **{f"KAGUAN_{name}__METRICS_PORT": str(own_port()) for name in ("API", "RELAY", "WORKER")},
    }


async def test_no_secret_is_found_anywhere_but_where_it_belongs(
    environ: dict[str, str], pool: Pool, tmp_path: Path
) -> None:
    planted, port = Planted(), own_port()
    async with pool.connection() as connection:
        token = (await tokens.create(connection, "test", tokens.SCOPES)).token
    script = Script(
        credentials=("mailer", marker("smtp-password")),
        # 中继把登录的口令照念一遍
        recipients={"refused@example.com": [f"550 no, password={marker('smtp-password')}"]},
    )
    async with AsyncExitStack() as stack:
        smtp = await stack.enter_async_context(smtp_server(script))
        receiver = await stack.enter_async_context(otlp_receiver())
        given = {
            **only_kaguan(environ),
            **QUICK,
            "KAGUAN_WORKER__LEASE": f"{PATIENCE:g}",  # 停顿了的 worker 手里的，也不成结局不明
            **configured(planted, smtp.port),
            "KAGUAN_API__PORT": str(port),
            "KAGUAN_LOGGING__DIRECTORY": str(tmp_path / "logs"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        }
        processes = [await stack.enter_async_context(child(name, given, tmp_path / f"{name}.log")) for name in WANTED]
        client = await stack.enter_async_context(aiohttp.ClientSession(local(port)))
        await eventually(lambda: answers(client))
        for method, path, headers, body in requests(planted, token):
            async with client.request(method, path, headers=headers, data=body, allow_redirects=False) as answer:
                # 健康与否也看这台机器此刻停顿没有：说不上来的是 503
                unwell = answer.status == 503 and path.partition("?")[0] in PROBING
                assert answer.status < 500 or unwell, (method, path)
        await eventually(lambda: settled(pool))
        early = await keys(environ["KAGUAN_REDIS__URL"])  # 做完了的，过一会儿就没了
        scraped = {name: await scrape(given, name) for name in ("API", "RELAY", "WORKER")}
        assert await asyncio.gather(*(process.stopped() for process in processes)) == [0, 0, 0]
        places = {
            **logs(tmp_path),
            **traces(receiver),
            **scraped,
            **await tables(environ["KAGUAN_DATABASE__URL"]),
            **early,
            **await keys(environ["KAGUAN_REDIS__URL"]),
        }
    assert marker("otlp") in receiver.headers[0]["authorization"]
    assert smtp.mails[0].login == "mailer"
    assert found_in(places, SEEN) >= {"logs/access.log", "logs/app.log", "traces"}
    assert "email:send" in scraped["WORKER"].decode()
    assert any(b"worker_id" in held for place, held in places.items() if place.startswith("redis saq:job:"))
    found = leaks(places, planted)
    assert {name: where for name, where in found.items() if where - planted.homes[name]} == {}
    # 造出来的请求真的收下了：各家的表里都有
    assert set().union(*found.values()) >= {"tb_user", "tb_order", "tb_task", "tb_email_delivery", "tb_idempotency_key"}
    # 真的令牌只有散列，数据库与 Redis 的口令哪里也没有
    real = [token, environ["KAGUAN_DATABASE__URL"], environ["KAGUAN_REDIS__URL"]]
    assert [found_in(places, text.rpartition("@")[0].rpartition(":")[2] or text) for text in real] == [set()] * 3


def test_every_secret_of_the_configuration_is_planted() -> None:
    """一个新的 SecretStr 也得埋：数据库与 Redis 的口令是真的，别处找的就是它们。"""
    real = {"KAGUAN_DATABASE__URL", "KAGUAN_DATABASE__LISTEN_URL", "KAGUAN_REDIS__URL"}
    wanted = {name.partition("[]")[0] for name in secret_settings()}
    assert wanted - real - configured(Planted(), 1).keys() == set()
    assert "KAGUAN_WEBHOOKS__CALLERS[].SECRET" in set(secret_settings())


def test_no_secret_typed_on_the_command_line_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environ: dict[str, str], tmp_path: Path
) -> None:
    """令牌粘在名字的位置，口令写在要找的错误里：留痕里也盖住。"""
    planted, run = Planted(), Invocation(monkeypatch, capsys)
    for key, value in {**environ, "KAGUAN_LOGGING__DIRECTORY": str(tmp_path / "logs")}.items():
        monkeypatch.setenv(key, value)
    name = f"kg_{planted.of('token-name', 'tb_api_token')}"
    commands = (
        (("token", "create", "--name", name, "--scopes", "ops"), 0),
        (("token", "revoke", name), 0),
        (("token", "revoke", f"kg_{planted.of('unknown-token')}"), 1),
        (("task", "replay", "--run", "--error", f"password={planted.of('error-looked-for')}"), 0),
        (("task", "replay", "--run", "--reason", f"kg_{planted.of('reason-looked-for')}"), 0),
        (("schedule", "disable", f"kg_{planted.of('schedule-name')}"), 1),
    )
    assert [run(*arguments)[0] for arguments, _ in commands] == [code for _, code in commands]
    held = asyncio.run(tables(environ["KAGUAN_DATABASE__URL"]))
    found = leaks({**held, **logs(tmp_path)}, planted)
    assert {name: where for name, where in found.items() if where != planted.homes[name]} == {}
    assert held["tb_audit"].count(b"***") == 4


async def answers(client: aiohttp.ClientSession) -> bool:
    try:
        async with client.get("/health/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def settled(pool: Pool) -> bool:
    """两封邮件都有了结局，同步至少失败过一次。"""
    async with pool.connection() as connection:
        cursor = await connection.execute("select type, status, attempt from vw_task")
        rows = await cursor.fetchall()
    mails = [status for kind, status, _ in rows if kind == "email:send"]
    return all(status in {"succeeded", "failed"} for status in mails) and any(
        attempts for kind, _, attempts in rows if kind == "data:sync"
    )


async def scrape(given: dict[str, str], name: str) -> bytes:
    async with (
        aiohttp.ClientSession(local(int(given[f"KAGUAN_{name}__METRICS_PORT"]))) as client,
        client.get("/metrics") as answer,
    ):
        assert answer.status == 200
        return await answer.read()


def logs(tmp_path: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.log*") if path.is_file()}


def traces(receiver: OtlpReceiver) -> dict[str, bytes]:
    return {"traces": "\n".join(f"{span.text}{span.resource}" for span in receiver.spans).encode()}


async def tables(url: str) -> dict[str, bytes]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute("select tablename from pg_tables where schemaname = 'public'")
        held = {}
        for (name,) in await cursor.fetchall():
            rows = await connection.execute(sql.SQL("select t::text from {} as t").format(sql.Identifier(name)))
            held[name] = "\n".join(text for (text,) in await rows.fetchall()).encode()
        return held


async def keys(url: str) -> dict[str, bytes]:
    """每个键的全部内容，不压缩。"""
    async with Redis.from_url(url) as client:
        await client.config_set("rdbcompression", "no")
        return {f"redis {key.decode()}": key + (await client.dump(key) or b"") async for key in client.scan_iter()}
