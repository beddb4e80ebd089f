"""生产与预发布：没有一处悄悄变弱；要放行就逐项点名，一次说全。"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaguan.config import ConfigurationError, Exemption, load_settings, tolerated
from kaguan.config.relay_host import parse_relay_host
from tests.support.production import SECRETS

DATABASE, REDIS, SMTP = "KAGUAN_DATABASE__URL", "KAGUAN_REDIS__URL", "KAGUAN_SMTP__URL"
LISTEN = "KAGUAN_DATABASE__LISTEN_URL"
ONELINK, CONTROL_CENTER = "KAGUAN_CARRIERS__ONELINK__", "KAGUAN_CARRIERS__CONTROL_CENTER__"
STARTTLS, PROXIES = "KAGUAN_SMTP__STARTTLS", "KAGUAN_API__TRUSTED_PROXIES"
KEY = "whsec_" + "c2VjcmV0" * 5
WEBHOOK = {"KAGUAN_WEBHOOKS__SECRET": KEY}
CALLERS = '[{"name": "erp", "url": "http://hooks.example/x", "secret": "%s"}]' % KEY  # noqa: UP031 花括号是 JSON 的
STRONG = "quiet-harbour-71"
WEAK = [
    (Exemption.DATABASE_PASSWORD, DATABASE, "postgresql://localhost/kaguan"),
    (Exemption.DATABASE_PASSWORD, DATABASE, "postgresql://kaguan@10.0.0.5/kaguan?sslmode=verify-full"),
    (Exemption.DATABASE_PASSWORD, DATABASE, "postgresql://kaguan:kaguan@localhost/kaguan"),
    (Exemption.DATABASE_PASSWORD, DATABASE, "postgresql://kaguan:postgrespostgres@localhost/kaguan"),
    (Exemption.DATABASE_PASSWORD, DATABASE, "postgresql://harbour:harbour-harbour1@localhost/kaguan"),
    (Exemption.DATABASE_PASSWORD, DATABASE, "postgresql://kaguan:123456789012@localhost/kaguan"),
    (Exemption.DATABASE_PASSWORD, DATABASE, "postgresql://kaguan:abababababab@localhost/kaguan"),
    (Exemption.DATABASE_CLEARTEXT, DATABASE, f"postgresql://kaguan:{STRONG}@db/kaguan"),
    (Exemption.DATABASE_CLEARTEXT, DATABASE, f"postgresql://kaguan:{STRONG}@db/kaguan?sslmode=prefer"),
    (Exemption.DATABASE_CLEARTEXT, DATABASE, f"postgresql://kaguan:{STRONG}@localhost,db/kaguan"),
    (Exemption.DATABASE_CLEARTEXT, DATABASE, f"postgresql://kaguan:{STRONG}@localhost/kaguan?hostaddr=10.0.0.5"),
    (Exemption.DATABASE_CLEARTEXT, DATABASE, f"postgresql://kaguan:{STRONG}@/kaguan?service=main"),
    (Exemption.DATABASE_UNVERIFIED, DATABASE, f"postgresql://kaguan:{STRONG}@db/kaguan?sslmode=require"),
    (Exemption.DATABASE_PASSWORD, LISTEN, "postgresql://kaguan:postgres@localhost/kaguan"),
    (Exemption.DATABASE_CLEARTEXT, LISTEN, f"postgresql://kaguan:{STRONG}@db/kaguan"),
    (Exemption.REDIS_PASSWORD, REDIS, "redis://localhost:6379/0"),
    (Exemption.REDIS_PASSWORD, REDIS, "redis://:changeme1234@localhost:6379/0"),
    (Exemption.REDIS_CLEARTEXT, REDIS, f"redis://:{STRONG}@10.0.0.6:6379/0"),
    (Exemption.REDIS_UNVERIFIED, REDIS, f"rediss://:{STRONG}@10.0.0.6:6379/0?ssl_cert_reqs=none"),
    (Exemption.REDIS_UNVERIFIED, REDIS, f"rediss://:{STRONG}@10.0.0.6:6379/0?ssl_check_hostname=False"),
    (Exemption.REDIS_PASSWORD, REDIS, f"rediss+sentinel://sentinel-1,sentinel-2/main?sentinel_password={STRONG}"),
    (Exemption.REDIS_CLEARTEXT, REDIS, f"redis+sentinel://:{STRONG}@localhost/main?sentinel_password={STRONG}"),
    (
        Exemption.REDIS_CLEARTEXT,
        REDIS,
        f"rediss+sentinel://:{STRONG}@s/main?sentinel_ssl=false&sentinel_password={STRONG}",
    ),
    (
        Exemption.REDIS_UNVERIFIED,
        REDIS,
        f"rediss+sentinel://:{STRONG}@s/main?ssl_cert_reqs=none&sentinel_password={STRONG}",
    ),
    (Exemption.SENTINEL_PASSWORD, REDIS, f"rediss+sentinel://:{STRONG}@sentinel-1:26379,sentinel-2:26379/main/0"),
    (Exemption.SENTINEL_PASSWORD, REDIS, f"rediss+sentinel://:{STRONG}@sentinel-1/main?sentinel_password=changeme1234"),
    (Exemption.SMTP_PASSWORD, SMTP, "smtps://user:secret@mail:465"),
    (Exemption.SMTP_PASSWORD, SMTP, "smtps://user@mail:465"),
    (Exemption.SMTP_CLEARTEXT, STARTTLS, "off"),
    (Exemption.SMTP_CLEARTEXT, STARTTLS, "optional"),
    (Exemption.CARRIER_PASSWORD, f"{ONELINK}PASSWORD", "password-kaguan"),
    (Exemption.CARRIER_PASSWORD, f"{CONTROL_CENTER}API_KEY", "short"),
    (Exemption.CARRIER_CLEARTEXT, f"{ONELINK}BASE_URL", "http://onelink.example"),
    (Exemption.CARRIER_CLEARTEXT, f"{CONTROL_CENTER}BASE_URL", "http://192.0.2.7:8080"),
    (Exemption.WEBHOOK_CLEARTEXT, "KAGUAN_WEBHOOKS__URL", "http://hooks.example/x"),
    (Exemption.WEBHOOK_CLEARTEXT, "KAGUAN_WEBHOOKS__CALLERS", CALLERS),
    (Exemption.WEBHOOK_CLEARTEXT, "KAGUAN_ALERTS__URL", "http://hooks.example/x"),
    (Exemption.VERIFY_CLEARTEXT, "KAGUAN_SMTP__VERIFY_URL", "http://mail.example/{message_id}"),
    (Exemption.TRUSTED_PROXIES, PROXIES, '["10.0.0.0/8", "0.0.0.0/0"]'),
    (Exemption.TRUSTED_PROXIES, PROXIES, '["::/0"]'),
    (Exemption.BCRYPT_ROUNDS, "KAGUAN_API__BCRYPT_ROUNDS", "9"),
    (Exemption.METRICS_PUBLIC, "KAGUAN_API__METRICS_PUBLIC", "true"),
    (Exemption.OTLP_CLEARTEXT, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://key:value@collector.example"),
    (Exemption.DATABASE_UNVERIFIED, DATABASE, f"postgresql://kaguan:{STRONG}@db/kaguan?sslmode=verify-ca"),
]
SOUND = [
    (DATABASE, "postgresql:///kaguan"),
    (DATABASE, "postgresql:///kaguan?host=/run/postgresql"),
    (DATABASE, f"postgresql://kaguan:{STRONG}@localhost/kaguan"),
    (DATABASE, f"postgresql://kaguan:{STRONG}@[::1]:5433/kaguan"),
    (DATABASE, f"postgresql://kaguan:{STRONG}@db/kaguan?sslmode=verify-full&sslrootcert=/etc/ca.pem"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318"),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=x"),
    (DATABASE, "postgresql://kaguan@db/kaguan?sslmode=verify-full&sslcert=/etc/kaguan.pem"),
    (DATABASE, "postgresql://kaguan@db/kaguan?sslmode=verify-full&passfile=/etc/pgpass"),
    (LISTEN, "off"),
    (LISTEN, f"postgresql://kaguan:{STRONG}@localhost/kaguan"),
    (REDIS, f"redis://:{STRONG}@127.0.0.1:6379/0"),
    (REDIS, "unix:///run/valkey.sock?db=1"),
    (REDIS, f"rediss://kaguan:{STRONG}@redis:6379/0?ssl_ca_certs=/etc/ca.pem"),
    (
        REDIS,
        f"rediss+sentinel://kaguan:{STRONG}@s-1,[fd00::2]:26380/main/1?ssl_ca_certs=/ca&sentinel_password={STRONG}",
    ),
    (REDIS, f"rediss+sentinel://:{STRONG}@sentinel/main?sentinel_ssl_certfile=/etc/kaguan.pem"),
    (SMTP, "smtp://127.0.0.1:25"),
    (SMTP, f"smtp://user:{STRONG}@mail:587"),
    (STARTTLS, "required"),
    (f"{ONELINK}BASE_URL", "http://127.0.0.1:9000"),
    (f"{ONELINK}BASE_URL", "https://onelink.example"),
    ("KAGUAN_WEBHOOKS__URL", "http://localhost/x"),
    (PROXIES, '["10.0.0.0/8", "fd00::1"]'),
    ("KAGUAN_API__BCRYPT_ROUNDS", "10"),
]


def given(environment: str, **values: str) -> dict[str, str]:
    return {"KAGUAN_ENV": environment, **SECRETS, **WEBHOOK, **values}


@pytest.mark.parametrize(("exemption", "key", "value"), WEAK)
def test_a_weakness_is_one_line_and_goes_only_by_its_own_name(exemption: Exemption, key: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(given("prod", **{key: value}))
    (line,) = str(refusal.value).splitlines()
    assert line.startswith(f"配置有误：{key}：")
    assert line.endswith(f"KAGUAN_ALLOW_INSECURE 的列表里加 {exemption}")
    assert STRONG not in line

    others = json.dumps([name for name in Exemption if name is not exemption])
    with pytest.raises(ConfigurationError, match=str(exemption)):
        load_settings(given("prod", **{key: value}, KAGUAN_ALLOW_INSECURE=others))

    allowed = given("prod", **{key: value}, KAGUAN_ALLOW_INSECURE=json.dumps([exemption]))
    assert [(one.key, one.exemption) for one in tolerated(load_settings(allowed), allowed)] == [(key, exemption)]


@pytest.mark.parametrize(("key", "value"), SOUND)
def test_what_is_sound_starts_without_a_warning(key: str, value: str) -> None:
    environ = given("prod", **{key: value})
    assert tolerated(load_settings(environ), environ) == []


@pytest.mark.parametrize("signal", ["", "TRACES_"])
def test_traces_with_credentials_never_leave_in_clear(signal: str) -> None:
    headers = {f"OTEL_EXPORTER_OTLP_{signal}HEADERS": "authorization=x"}
    endpoint = f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT"
    load_settings(given("prod", **headers, **{endpoint: "https://collector.example"}))
    with pytest.raises(ConfigurationError, match=f"{endpoint}：到 collector.example 不加密"):
        load_settings(given("prod", **headers, **{endpoint: "http://collector.example"}))


@pytest.mark.parametrize("environment", ["prod", "staging"])
def test_every_weakness_is_said_at_one_start_with_the_wrong_values(environment: str) -> None:
    wrong = {
        DATABASE: "postgresql://localhost/kaguan",
        REDIS: "redis://localhost:6379/0",
        STARTTLS: "off",
        f"{ONELINK}BASE_URL": "http://onelink.example",
        PROXIES: '["notanip"]',
    }
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(given(environment, **wrong))
    lines = str(refusal.value).splitlines()
    assert sorted(line.split("：")[1] for line in lines) == sorted(wrong)
    sound = given(environment)
    assert tolerated(load_settings(sound), sound) == []
    allowed = given(environment, **{STARTTLS: "off"}, KAGUAN_ALLOW_INSECURE='["smtp_cleartext"]')
    assert [one.key for one in tolerated(load_settings(allowed), allowed)] == [STARTTLS]


@pytest.mark.parametrize("spelling", ["kaguan_env", "Kaguan_Env", "KAGUAN_ENV"])
def test_prod_in_any_spelling_is_prod_with_its_own_file(spelling: str) -> None:
    environ = {spelling: "prod", **SECRETS}
    settings = load_settings(environ)
    assert (settings.env, settings.smtp.starttls, settings.api.bcrypt_rounds) == ("prod", "required", 12)
    assert settings.relay.metrics_port == 9101  # 只有 config.prod.yaml 里有
    with pytest.raises(ConfigurationError, match="KAGUAN_REDIS__URL"):
        load_settings({**environ, REDIS: "redis://localhost"})


@pytest.mark.parametrize("setting", ["PGSSLMODE", "PGHOST", "PGPASSWORD"])
def test_what_libpq_takes_from_the_environment_counts(setting: str) -> None:
    """地址里没写的，libpq 会从 PG* 里取：既能救，也能害。"""
    with_tls = "postgresql://kaguan@db/kaguan?sslmode=verify-full"
    match setting:
        case "PGSSLMODE":
            load_settings(
                {**given("prod"), DATABASE: f"postgresql://kaguan:{STRONG}@db/kaguan", setting: "verify-full"}
            )
        case "PGPASSWORD":
            load_settings({**given("prod"), DATABASE: with_tls, setting: STRONG})
        case _:
            environ = {**given("prod"), DATABASE: f"postgresql://kaguan:{STRONG}@/kaguan", setting: "10.0.0.5"}
            with pytest.raises(ConfigurationError, match=Exemption.DATABASE_CLEARTEXT):
                load_settings(environ)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (DATABASE, "mysql://db/x"),
        (DATABASE, "postgresql://[x/y"),
        (REDIS, "http://redis"),
        (REDIS, "redis://[x"),
        (SMTP, "mail.example:25"),
        (SMTP, "smtp://[x"),
        # 没有编码的口令：标准库的错误里有它的一段，甚至整段
        (REDIS, "redis://user:harbour/71@redis:6379/0"),
        (REDIS, "redis://:harbour＠71@redis:6379/0"),
        (SMTP, "smtp://user:harbour/71@mail"),
        (SMTP, "smtps://user:harbour：71@mail"),
        (f"{ONELINK}BASE_URL", "https://onelink.example:harbour"),
    ],
)
def test_an_address_that_cannot_be_read_has_no_way_out_and_is_not_shown(key: str, value: str) -> None:
    everything = json.dumps(list(Exemption))
    with pytest.raises(ConfigurationError, match="看不懂这个地址") as refusal:
        load_settings(given("prod", **{key: value}, KAGUAN_ALLOW_INSECURE=everything))
    assert "harbour" not in str(refusal.value)


@pytest.mark.parametrize("url", ["smtp://user:harbour/71@mail", "smtps://user:harbour：71@mail"])
def test_a_relay_host_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="百分号编码") as refusal:
        parse_relay_host(url)
    assert "harbour" not in str(refusal.value)


def test_the_environment_cannot_be_changed_by_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("env: prod\n", "utf-8")
    with pytest.raises(ConfigurationError, match="KAGUAN_ENV：只能用环境变量给出"):
        load_settings({"KAGUAN_CONFIG_FILE": str(path), **SECRETS})


def test_development_refuses_none_of_it_and_warns_of_trusting_everyone() -> None:
    weak = {key: value for _, key, value in WEAK}
    environ = {**WEBHOOK, **weak}
    assert [one.exemption for one in tolerated(load_settings(environ), environ)] == [Exemption.TRUSTED_PROXIES]


def test_starttls_is_required_unless_something_else_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("api:\n  port: 9001\n", "utf-8")
    assert load_settings({"KAGUAN_CONFIG_FILE": str(path)}).smtp.starttls == "required"


@pytest.mark.parametrize("origin", ["*", "null"])
def test_an_origin_that_is_anybody_has_no_way_out(origin: str) -> None:
    sound = '"https://console.example"'
    load_settings(given("prod", KAGUAN_API__CORS_ORIGINS=f"[{sound}]"))
    with pytest.raises(ConfigurationError, match="KAGUAN_API__CORS_ORIGINS"):
        load_settings(given("prod", KAGUAN_API__CORS_ORIGINS=f'[{sound}, "{origin}"]'))
