"""`kaguan doctor`：逐个检查依赖，再问此刻的判断（与控制台、/health 同一个），都说清怎么办。"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict

import psycopg
import typer
from redis.exceptions import RedisError

from kaguan.cli.configured import current_settings
from kaguan.cli.connections import examine_budget, examine_listening
from kaguan.cli.finding import Finding
from kaguan.cli.printing import AsJson, echo, print_json
from kaguan.cli.session import open_connection
from kaguan.cli.standbys import examine_standbys
from kaguan.cli.symptoms import Symptom, examine_pipeline
from kaguan.cli.tree import group
from kaguan.cli.wording import joined, say, worded
from kaguan.config import Settings
from kaguan.config.addresses import split_address
from kaguan.config.model import CarrierGroup, carrier_key
from kaguan.config.production import SMTP_URL
from kaguan.config.relay_host import parse_relay_host
from kaguan.database.revisions import START_ANEW, current_revision, is_unreleased, revisions
from kaguan.flow.probes import is_listening
from kaguan.mail.connection import Step, UnreachableError, open_link, trust
from kaguan.mail.message import UnsendableError, helo_name
from kaguan.outbox.schema import NotInstalledError
from kaguan.product.exit_codes import ExitCode
from kaguan.product.fitness import EVICTION_POLICY, MAX_SKEW, measure_skew
from kaguan.queues.client import build_client
from kaguan.queues.foreign import foreign
from kaguan.tokens import store as tokens
from kaguan.tokens.service import RESERVED
from kaguan.verdict.model import ConcernCode
from kaguan.verdict.notice import ways

UNSAFE = "select name from pg_settings where name in ('fsync', 'synchronous_commit') and setting = 'off' order by name"
MINIMUM_POSTGRES = 150_000  # server_version_num：15
POSTGRES, REDIS = "PostgreSQL", "Redis"
DEPENDENCIES = {POSTGRES: ConcernCode.DATABASE, REDIS: ConcernCode.REDIS}  # 检查的与判断里的是同一个
DEFAULT_PORTS = {"http": 80, "https": 443}
SMTP_ADVICE = {
    Step.CONNECT: "smtp_connect",
    Step.TLS: "smtp_tls",
    Step.GREETING: "smtp_greeting",
    Step.LOGIN: "smtp_login",
}

app = group("doctor")


@app.command()
def doctor(*, as_json: AsJson = False) -> None:
    settings = current_settings()
    findings, symptoms = asyncio.run(_examine_all(settings))
    if as_json:
        print_json([asdict(finding) for finding in findings] + [asdict(symptom) for symptom in symptoms])
    else:
        for finding in findings:
            echo(f"{say(finding.level)}  {finding.said}")
        for symptom in symptoms:
            echo(f"{say('therefore') if symptom.because else ''}{say(symptom.level)}  {symptom.said}")
    if not (all(finding.ok for finding in findings) and all(symptom.ok for symptom in symptoms)):
        raise typer.Exit(ExitCode.DEPENDENCY)


async def _examine_all(settings: Settings) -> tuple[list[Finding], list[Symptom]]:
    try:
        findings = await _examine(settings)
    except NotInstalledError as error:
        return [Finding(POSTGRES, ok=False, detail=worded(error), advice="")], []
    told = {DEPENDENCIES[finding.part] for finding in findings if finding.part in DEPENDENCIES and not finding.ok}
    return findings, await examine_pipeline(settings, told)


async def _examine(settings: Settings) -> list[Finding]:
    checks: list[Awaitable[Finding | None]] = [
        _postgres(settings),
        examine_listening(settings),
        examine_budget(settings),
        examine_standbys(settings),
        _durability(settings),
        _redis(settings),
        *([] if settings.database.schema_name else _examine_domains(settings)),
    ]
    configuration = Finding(
        say("configuration"), ok=True, detail=say("place", env=settings.env, directory=settings.data_dir)
    )
    return [configuration, *(finding for finding in await asyncio.gather(*checks) if finding is not None)]


def _examine_domains(settings: Settings) -> list[Awaitable[Finding | None]]:
    """别的应用没有的：邮件、告警、运营商、令牌。"""
    return [
        _tokens(settings),
        _smtp(settings),
        _alerts(settings),
        *(_carrier(settings, name, group) for name, group in settings.carriers.each().items()),
    ]


async def _postgres(settings: Settings) -> Finding:
    part = POSTGRES
    if not settings.database.url.get_secret_value():
        return Finding(part, ok=False, detail=say("no_address"), advice=say("start", key="KAGUAN_DATABASE__URL"))
    try:
        async with open_connection(settings) as connection:
            version = connection.info.server_version
            skew = await measure_skew(connection)
            schema = settings.database.schema_name
            current, head = ("", "") if schema else (await current_revision(connection), revisions()[-1])
    except psycopg.Error as error:
        reason = str(error).splitlines()[0]
        return Finding(part, ok=False, detail=reason, advice=say("are_running", key="KAGUAN_DATABASE__URL"))
    if version < MINIMUM_POSTGRES:
        return Finding(part, ok=False, detail=say("version", version=version), advice=say("newer_postgres"))
    detail = say("postgres", version=version // 10_000, revision=current)
    if schema:
        detail = say("postgres_of", version=version // 10_000, schema=schema)
    if current != head:
        advice = START_ANEW if is_unreleased(current) else say("migrate", head=head)
        return Finding(part, ok=False, detail=detail, advice=advice)
    if abs(skew) > MAX_SKEW:
        return Finding(part, ok=False, detail=detail + say("skew", seconds=abs(skew)), advice=say("synchronise"))
    return Finding(part, ok=True, detail=detail)


async def _durability(settings: Settings) -> Finding | None:
    """没有可说的就不说；库不在，PostgreSQL 那一项已经说了。"""
    if not settings.database.url.get_secret_value():
        return None
    try:
        async with open_connection(settings) as connection:
            cursor = await connection.execute(UNSAFE)
            unsafe = [row[0] for row in await cursor.fetchall()]
    except psycopg.Error:
        return None
    if not unsafe:
        return None
    detail = say("is_off", names=joined(unsafe))
    return Finding(say("durability"), ok=True, detail=detail, advice=say("flush"), attention=True)


async def _tokens(settings: Settings) -> Finding | None:
    """没有可说的就不说；库不在、还没有表，PostgreSQL 那一项已经说了。"""
    if not settings.database.url.get_secret_value():
        return None
    try:
        async with open_connection(settings) as connection:
            rows = await tokens.select_all(connection)
    except psycopg.Error:
        return None
    taken = sorted({row.name for row in rows if row.revoked_at is None and row.name in RESERVED})
    if not taken:
        return None
    detail = say("token_named", names=joined(taken))
    return Finding(say("tokens"), ok=False, detail=detail, advice=say("revoke_it"))


async def _redis(settings: Settings) -> Finding:
    part = REDIS
    if not settings.redis.url.get_secret_value():
        return Finding(part, ok=False, detail=say("no_address"), advice=say("start", key="KAGUAN_REDIS__URL"))
    client = build_client(settings.redis, namespace=settings.database.namespace)
    try:
        server = await client.info("server")
        memory = await client.info("memory")
        strangers = await foreign(client)
    except RedisError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding(part, ok=False, detail=reason, advice=say("are_running", key="KAGUAN_REDIS__URL"))
    finally:
        await client.aclose()
    policy = memory.get("maxmemory_policy")
    version = server.get("valkey_version") or server.get("redis_version")
    detail = say("redis", version=version, policy=policy)
    if policy != EVICTION_POLICY:
        return Finding(part, ok=False, detail=detail, advice=say("evicts", policy=EVICTION_POLICY))
    if strangers:
        detail += say("strange", keys=joined(strangers))
        return Finding(part, ok=False, detail=detail, advice=say("strangers"))
    return Finding(part, ok=True, detail=detail)


def _elsewhere(part: str, key: str) -> Finding:
    """生产里只有 worker 有的秘密；少了它，worker 自己不启动。"""
    return Finding(part, ok=True, detail=say("elsewhere", key=key))


async def _smtp(settings: Settings) -> Finding:
    config = settings.smtp
    part, url = "SMTP", config.url.get_secret_value()
    if not url:
        if settings.env.is_hardened:
            return _elsewhere(part, SMTP_URL)
        return Finding(part, ok=False, detail=say("no_address"), advice=say("start", key=SMTP_URL))
    try:
        relay, helo = parse_relay_host(url), helo_name(config.sender)
    except (ValueError, UnsendableError) as error:
        return Finding(part, ok=False, detail=str(error), advice=say("mend"))
    try:
        link = await open_link(relay, config, trust(config), helo)
    except UnreachableError as error:
        code = f" ({error.code})" if error.code else ""
        return Finding(part, ok=False, detail=f"{relay.name} {error}{code}", advice=say(SMTP_ADVICE[error.step]))
    encryption = link.tls_version or say("unencrypted")
    await link.close()
    login = say("no_login" if relay.username is None else "logged_in")
    return Finding(part, ok=True, detail=joined([relay.name, encryption, login]))


async def _alerts(settings: Settings) -> Finding:
    """没有配置是自己选的，不算异常；到不到得了，试一声才知道。"""
    told_by = ways(settings.alerts)
    detail = say("alerts_on", ways=joined(told_by)) if told_by else say("alerts_off")
    return Finding(say("alerts"), ok=True, detail=detail)


async def _carrier(settings: Settings, name: str, group: CarrierGroup) -> Finding:
    """没有地址就是没有用这一家，不算异常；worker 也是这样认的（``carriers.build``）。"""
    part, key, url = say("carrier", name=name), carrier_key(name, "base_url"), group.base_url
    if url and settings.env.is_hardened and not group.secret:
        return _elsewhere(part, carrier_key(name, group.SECRET))
    if not url:
        return Finding(part, ok=True, detail=say("unused", key=key))
    try:
        parts = split_address(url)
    except ValueError as error:
        return Finding(part, ok=False, detail=str(error), advice=say("mend_key", key=key))
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    if await is_listening(port, host):
        return Finding(part, ok=True, detail=f"{host}:{port}")
    return Finding(
        part, ok=False, detail=say("unreachable", host=host, port=port), advice=say("check_network", key=key)
    )
