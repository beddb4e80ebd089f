"""生产与预发布的规矩：不许悄悄变弱。每处一行：哪个键、给的是什么、要怎样；明知故犯的，逐项写进 ``allow_insecure``。

本机回环（127.0.0.0/8、::1、localhost）与 UNIX 套接字不出机器，所以不要求加密；口令仍要，同一台机器上别人也连得上。
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from kaguan.config.addresses import Server, Tls, is_loopback, postgres_server, redis_server, split_address
from kaguan.config.model import CARRIER_GROUPS, carrier_key
from kaguan.config.process import Process
from kaguan.config.relay_host import parse_relay_host
from kaguan.config.sentinel import sentinel_address
from kaguan.config.settings import Exemption, Settings
from kaguan.words.spoken import listed, said

DATABASE_URL = "KAGUAN_DATABASE__URL"
LISTEN_URL = "KAGUAN_DATABASE__LISTEN_URL"
REDIS_URL = "KAGUAN_REDIS__URL"
SMTP_URL = "KAGUAN_SMTP__URL"
CARRIER_SECRETS = tuple(carrier_key(name, group.SECRET) for name, group in CARRIER_GROUPS.items())
WORKER_SECRETS = (SMTP_URL, *CARRIER_SECRETS)
ALLOW_INSECURE = "KAGUAN_ALLOW_INSECURE"
MIN_BCRYPT_ROUNDS = 10  # OWASP Password Storage Cheat Sheet
MIN_PASSWORD_LENGTH = 12
MIN_PASSWORD_CHARACTERS = 5  # 种
# 手册、镜像、教程里常见的默认口令；长的在前，先去掉长的
DEFAULT_PASSWORDS = (
    "yourpassword", "placeholder", "changethis", "foobared", "changeme", "changeit", "password", "postgres",
    "p@ssw0rd", "passw0rd", "example", "default", "replace", "kaguan", "letmein", "qwerty", "welcome", "passwd",
    "secret", "valkey", "redis", "admin", "guest", "staging", "prod", "root", "test", "user", "pass", "dev", "me",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Weakness:
    """一处变弱。没有 ``exemption`` 的不许放行。"""

    key: str
    problem: str
    remedy: str
    exemption: Exemption | None = None

    def __str__(self) -> str:
        told = said("config.weakness", key=self.key, problem=self.problem, remedy=self.remedy)
        if self.exemption is None:
            return told
        return said("config.exemptible", weakness=told, key=ALLOW_INSECURE, exemption=self.exemption)


def refused(settings: Settings, environ: Mapping[str, str], process: Process) -> list[Weakness]:
    """``process`` 因此不能启动的，全部：给了的都看，没有给的只说它要用的。"""
    if not settings.env.is_hardened:
        return []
    return [one for one in _weaknesses(settings, environ, process) if one.exemption not in settings.allow_insecure]


def tolerated(settings: Settings, environ: Mapping[str, str], process: Process = Process.COMMAND) -> list[Weakness]:
    """启动时要警告的：生产里逐项放行了的；开发环境只有信任所有代理这一项，它让限流与访问日志失真。"""
    found = [one for one in _weaknesses(settings, environ, process) if one.exemption is not None]
    if not settings.env.is_hardened:
        return [one for one in found if one.exemption is Exemption.TRUSTED_PROXIES]
    return [one for one in found if one.exemption in settings.allow_insecure]


def _weaknesses(settings: Settings, environ: Mapping[str, str], process: Process) -> Iterator[Weakness]:
    yield from _database(settings, environ)
    yield from _redis(settings, process)
    yield from _smtp(settings, process)
    yield from _carriers(settings, process)
    yield from _cleartext("KAGUAN_WEBHOOKS__URL", settings.webhooks.url, Exemption.WEBHOOK_CLEARTEXT)
    for caller in settings.webhooks.callers:
        yield from _cleartext("KAGUAN_WEBHOOKS__CALLERS", caller.url, Exemption.WEBHOOK_CLEARTEXT)
    yield from _cleartext("KAGUAN_ALERTS__URL", settings.alerts.url, Exemption.WEBHOOK_CLEARTEXT)
    yield from _cleartext("KAGUAN_SMTP__VERIFY_URL", settings.smtp.verify_url, Exemption.VERIFY_CLEARTEXT)
    everyone = [item for item in settings.api.trusted_proxies if ip_network(item, strict=False).prefixlen == 0]
    if everyone:
        yield Weakness(
            "KAGUAN_API__TRUSTED_PROXIES",
            said("config.everyone_trusted", networks=listed(everyone)),
            said("config.trust_proxies"),
            Exemption.TRUSTED_PROXIES,
        )
    if anybody := [origin for origin in settings.api.cors_origins if origin in {"*", "null"}]:
        yield Weakness(
            "KAGUAN_API__CORS_ORIGINS",
            said("config.no_origin", origins=listed(anybody)),
            said("config.whole_origin"),
        )
    if (rounds := settings.api.bcrypt_rounds) < MIN_BCRYPT_ROUNDS:
        problem, remedy = said("config.few_rounds", rounds=rounds), said("config.at_least", least=MIN_BCRYPT_ROUNDS)
        yield Weakness("KAGUAN_API__BCRYPT_ROUNDS", problem, remedy, Exemption.BCRYPT_ROUNDS)
    if settings.api.metrics_public:
        problem, remedy = said("config.public_metrics"), said("config.scrape_with_token")
        yield Weakness("KAGUAN_API__METRICS_PUBLIC", problem, remedy, Exemption.METRICS_PUBLIC)
    yield from _otlp(environ)
    if Exemption.CONSOLE_HTTP in settings.allow_insecure:
        yield Weakness(
            ALLOW_INSECURE, said("config.console_http"), said("config.console_https"), Exemption.CONSOLE_HTTP
        )


def _otlp(environ: Mapping[str, str]) -> Iterator[Weakness]:
    """跨度的去处：带着凭据走明文的不行；不带的只是跨度，秘密本就不进去。"""
    headers = any(environ.get(f"OTEL_EXPORTER_OTLP_{part}HEADERS") for part in ("", "TRACES_"))
    for key in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        url = environ.get(key, "")
        if url and (headers or "@" in url):
            yield from _cleartext(key, url, Exemption.OTLP_CLEARTEXT)


def _database(settings: Settings, environ: Mapping[str, str]) -> Iterator[Weakness]:
    url = settings.database.url.get_secret_value()
    if not url:
        yield _missing(DATABASE_URL)
    else:
        yield from _postgres(DATABASE_URL, url, environ)
    listening = settings.database.listening
    if listening is not None and (listen_url := listening.url.get_secret_value()) != url:
        yield from _postgres(LISTEN_URL, listen_url, environ)


def _postgres(key: str, url: str, environ: Mapping[str, str]) -> Iterator[Weakness]:
    try:
        server = postgres_server(url, environ)
    except ValueError as error:
        yield Weakness(key, said("config.not_understood"), str(error))
        return
    remedy = said("config.postgres_password")
    yield from _password(key, server, remedy, Exemption.DATABASE_PASSWORD)
    if not server.is_remote:
        return
    remedy = said("config.postgres_tls")
    if server.tls is Tls.NONE:
        problem = said("config.postgres_cleartext", place=server.place)
        yield Weakness(key, problem, remedy, Exemption.DATABASE_CLEARTEXT)
    elif server.tls is Tls.UNVERIFIED:
        problem = said("config.postgres_unverified", place=server.place)
        yield Weakness(key, problem, remedy, Exemption.DATABASE_UNVERIFIED)


def _redis(settings: Settings, process: Process) -> Iterator[Weakness]:
    url = settings.redis.url.get_secret_value()
    if not url:
        if process.needs_redis:
            yield _missing(REDIS_URL)
        return
    server = redis_server(url)
    remedy = said("config.redis_password")
    yield from _password(REDIS_URL, server, remedy, Exemption.REDIS_PASSWORD)
    yield from _sentinel(url)
    if not server.is_remote:
        return
    if server.tls is Tls.NONE:
        problem, remedy = said("config.cleartext", place=server.place), said("config.redis_tls")
        yield Weakness(REDIS_URL, problem, remedy, Exemption.REDIS_CLEARTEXT)
    elif server.tls is Tls.UNVERIFIED:
        problem, remedy = said("config.redis_unverified", place=server.place), said("config.redis_verify")
        yield Weakness(REDIS_URL, problem, remedy, Exemption.REDIS_UNVERIFIED)


def _sentinel(url: str) -> Iterator[Weakness]:
    if (watched := sentinel_address(url)) is None:
        return
    sentinel = redis_server(watched.sentinel)
    if not sentinel.identified and (problem := _flaw(sentinel.password, sentinel.username)):
        remedy = said("config.sentinel_password")
        told = said("config.sentinel_flaw", problem=problem)
        yield Weakness(REDIS_URL, told, remedy, Exemption.SENTINEL_PASSWORD)


def _password(key: str, server: Server, remedy: str, exemption: Exemption) -> Iterator[Weakness]:
    if not server.password and (server.identified or not server.hosts):
        return
    if (problem := _flaw(server.password, server.username)) is not None:
        yield Weakness(key, said("config.flaw_at", problem=problem, place=server.place), remedy, exemption)


def _smtp(settings: Settings, process: Process) -> Iterator[Weakness]:
    if url := settings.smtp.url.get_secret_value():
        yield from _relay_host(url)
    elif process.goes_outside:
        yield _missing(SMTP_URL)
    # smtps:// 用不上这一键，但也不许留着：换成 smtp:// 的那天就悄悄变弱了
    if settings.smtp.starttls != "required":
        yield Weakness(
            "KAGUAN_SMTP__STARTTLS",
            said("config.smtp_cleartext", given=settings.smtp.starttls),
            said("config.smtp_starttls"),
            Exemption.SMTP_CLEARTEXT,
        )


def _relay_host(url: str) -> Iterator[Weakness]:
    try:
        relay = parse_relay_host(url)
    except ValueError:
        yield Weakness(SMTP_URL, said("config.not_understood"), said("config.smtps_form"))
        return
    if relay.username and (problem := _flaw(relay.password or "", relay.username)):
        told = said("config.flaw_at", problem=problem, place=relay.host)
        yield Weakness(SMTP_URL, told, said("config.stronger"), Exemption.SMTP_PASSWORD)


def _carriers(settings: Settings, process: Process) -> Iterator[Weakness]:
    for name, group in settings.carriers.each().items():
        is_wanted = process.goes_outside and group.base_url  # 没有地址的那一家不用
        if (group.secret or is_wanted) and (problem := _flaw(group.secret, group.account)) is not None:
            key = carrier_key(name, group.SECRET)
            yield Weakness(key, problem, said("config.carrier_secret"), Exemption.CARRIER_PASSWORD)
        yield from _cleartext(carrier_key(name, "base_url"), group.base_url, Exemption.CARRIER_CLEARTEXT)


def _cleartext(key: str, url: str, exemption: Exemption) -> Iterator[Weakness]:
    if not url:
        return
    try:
        parts = split_address(url)
    except ValueError:
        yield Weakness(key, said("config.not_understood"), said("config.https_form"))
        return
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        problem = said("config.url_cleartext", host=host, scheme=parts.scheme)
        yield Weakness(key, problem, said("config.use_https"), exemption)


def _missing(key: str) -> Weakness:
    return Weakness(key, said("config.absent"), said("config.wanted"))


def _flaw(password: str, username: str = "") -> str | None:
    """弱在哪里：要够长、不是产品与教程里的默认值、不是同几个字符翻来覆去；够强为 ``None``。说法里没有口令本身。"""
    if not password:
        return said("config.no_password")
    if len(password) < MIN_PASSWORD_LENGTH:
        return said("config.short_password", length=len(password), least=MIN_PASSWORD_LENGTH)
    if len(set(password)) < MIN_PASSWORD_CHARACTERS:
        return said("config.few_characters", count=len(set(password)))
    rest = password.casefold()
    for word in (username.casefold(), *DEFAULT_PASSWORDS):
        rest = rest.replace(word, "") if word else rest
    if not any(character.isalpha() for character in rest):
        return said("config.default_password")
    return None
