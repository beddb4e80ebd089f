"""配置：每个错误都说清键、所给的值与允许的范围。"""

from __future__ import annotations

from pathlib import Path

import pytest

from kaguan.config import ConfigurationError, Environment, Process, known_keys, load_settings
from kaguan.config.loading import CONFIG_DIRECTORY
from kaguan.logging.masking import mask
from kaguan.product.checking import check_settings
from tests.support.mail_tasks import CERTIFICATES
from tests.support.production import BOTH_CARRIERS, CONTROL_CENTER, NEEDED, ONELINK, SECRETS, SMTP


@pytest.mark.parametrize("environment", list(Environment))
def test_every_environment_file_loads(environment: Environment) -> None:
    assert (CONFIG_DIRECTORY / f"config.{environment}.yaml").is_file()
    assert load_settings({"KAGUAN_ENV": environment, **SECRETS}).env is environment


def test_environment_overrides_the_file_and_the_file_overrides_the_default(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("api:\n  port: 9001\nworker:\n  lease: 7\n", "utf-8")
    environ = {"KAGUAN_CONFIG_FILE": str(path), "KAGUAN_API__PORT": "9002"}
    settings = load_settings(environ)
    assert (settings.api.port, settings.worker.lease, settings.worker.concurrency) == (9002, 7, 20)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"KAGUAN_API__PORT": "99999"}, ["KAGUAN_API__PORT", "99999", "65535"]),
        ({"KAGUAN_API__PORT": "abc"}, ["KAGUAN_API__PORT", "abc", "整数"]),
        ({"KAGUAN_ENV": "production"}, ["KAGUAN_ENV", "production", "'staging'、'prod'"]),
        ({"KAGUAN_LOGGING__LEVEL": "TRACE"}, ["KAGUAN_LOGGING__LEVEL", "TRACE", "'DEBUG'"]),
        ({"KAGUAN_TELEMETRY__SAMPLE_RATIO": "2"}, ["KAGUAN_TELEMETRY__SAMPLE_RATIO", "≤ 1"]),
        ({"KAGUAN_API__PROT": "1"}, ["未知配置键", "KAGUAN_API__PROT", "KAGUAN_API__PORT"]),
        ({"KAGUAN_API__METRICS_PUBLIC": "maybe"}, ["KAGUAN_API__METRICS_PUBLIC", "true 或 false"]),
        ({"KAGUAN_API__TRUSTED_PROXIES": '["notanip"]'}, ["KAGUAN_API__TRUSTED_PROXIES", "notanip", "网段"]),
        ({"KAGUAN_API__TRUSTED_PROXIES": "10.0.0.0/8"}, ["KAGUAN_API__TRUSTED_PROXIES", "10.0.0.0/8", "JSON"]),
        ({"KAGUAN_ALLOW_INSECURE": '["everything"]'}, ["KAGUAN_ALLOW_INSECURE", "everything", "redis_password"]),
        ({"KAGUAN_DATABASE__LISTEN_URL": "no"}, ["KAGUAN_DATABASE__LISTEN_URL", "postgresql://", "off"]),
        ({"KAGUAN_CONFIG_FILE": "/nowhere/config.yaml"}, ["KAGUAN_CONFIG_FILE", "/nowhere/config.yaml"]),
    ],
)
def test_a_wrong_value_names_its_key_the_value_and_what_is_allowed(environ: dict[str, str], says: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(environ)
    message = str(refusal.value)
    assert [part for part in says if part not in message] == []
    assert "\n" not in message


REDIS = "KAGUAN_REDIS__URL"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://:quiet-harbour-71@redis/0", "rediss://"),
        ("redis://:quiet-harbour-71@redis:x/0", "百分号编码"),
        ("redis+sentinel://:quiet-harbour-71@a,b", "主的名字"),
        ("redis+sentinel://:quiet-harbour-71@a,b/main/one", "主的名字"),
        ("redis+sentinel://:quiet#harbour-71@a,b/main", "百分号编码"),
        ("redis+sentinel://:quiet-harbour-71@a:26379,:26379/main", "主机:端口"),
        ("redis+sentinel://:quiet-harbour-71@a:port/main", "主机:端口"),
        ("redis+sentinel://:quiet-harbour-71@a/main?sentinel_ssl=maybe", "true 或 false"),
        ("redis+sentinel://:quiet-harbour-71@a/main?sentinel_pasword=quiet-harbour-71", "sentinel_pasword"),
    ],
)
def test_a_wrong_redis_address_says_how_it_is_written_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as refusal:
        load_settings({REDIS: url})
    assert str(refusal.value).startswith(f"配置有误：{REDIS}：看不懂这个地址")
    assert "harbour" not in str(refusal.value)


def test_an_address_by_sentinels_is_masked_wherever_it_is_told() -> None:
    url = "rediss+sentinel://kaguan:quiet-harbour-71@a:26379,b:26379/main/0?sentinel_password=loud-harbour-72"
    assert load_settings({REDIS: url}).redis.url.get_secret_value() == url
    assert "harbour" not in mask(f"连不上 {url}，退避")


@pytest.mark.parametrize("key", ["KAGUAN_DATABASE__URL", "KAGUAN_DATABASE__LISTEN_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "postgres:kaguan:quiet-harbour-71@db",
        "mysql://kaguan:quiet-harbour-71@db",
        "postgresql://kaguan:quiet-harbour-71%zz@db-1,db-2/kaguan",
        "postgresql://kaguan:quiet-harbour-71@db/kaguan?sslmod=require",
    ],
)
def test_a_wrong_database_address_is_not_repeated_with_its_password(key: str, url: str) -> None:
    with pytest.raises(ConfigurationError, match=key) as refusal:
        load_settings({key: url})
    assert "quiet-harbour-71" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_notifications_are_heard_at_the_address_of_their_own_at_the_common_one_or_not_at_all() -> None:
    common = {"KAGUAN_DATABASE__URL": "postgresql://pooler/kaguan"}

    def heard_at(**more: str) -> str | None:
        listening = load_settings({**common, **more}).database.listening
        return None if listening is None else listening.url.get_secret_value()

    assert heard_at() == "postgresql://pooler/kaguan"
    assert heard_at(KAGUAN_DATABASE__LISTEN_URL="postgresql://db/kaguan") == "postgresql://db/kaguan"
    assert heard_at(KAGUAN_DATABASE__LISTEN_URL="off") is None


def test_a_ca_file_must_exist_and_hold_certificates(tmp_path: Path) -> None:
    sound = CERTIFICATES / "localhost.crt"
    assert load_settings({"KAGUAN_SMTP__CA_FILE": str(sound)}).smtp.ca_file == sound
    (tmp_path / "torn.pem").write_bytes(sound.read_bytes()[:400])
    (tmp_path / "empty.pem").touch()
    unfit = (tmp_path / "torn.pem", tmp_path / "empty.pem", CERTIFICATES / "localhost.key", tmp_path, tmp_path / "none")
    for path in unfit:
        with pytest.raises(ConfigurationError) as refusal:
            load_settings({"KAGUAN_SMTP__CA_FILE": str(path)})
        message = str(refusal.value)
        assert message.startswith("配置有误：KAGUAN_SMTP__CA_FILE：")
        assert str(path) in message
        assert "\n" not in message


def test_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    """也不当作读它的库的参数。"""
    path = tmp_path / "config.yaml"
    for text in ("api:\n  prot: 9001\n", "_env_file: x\n", "_cli_parse_args: true\n"):
        path.write_text(text, "utf-8")
        with pytest.raises(ConfigurationError, match="未知配置键"):
            load_settings({"KAGUAN_CONFIG_FILE": str(path)})


def test_a_file_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text in ("api: [\n", "api:\n\tport: 1\n", "- api\n"):
        path.write_text(text, "utf-8")
        with pytest.raises(ConfigurationError, match="配置读取失败"):
            load_settings({"KAGUAN_CONFIG_FILE": str(path)})


def test_all_that_is_wrong_is_said_at_once_a_line_each() -> None:
    wrong = {"KAGUAN_API__PORT": "many", "KAGUAN_API__PROT": "1", "KAGUAN_WORKER__LEASE": "0"}
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(wrong)
    lines = str(refusal.value).splitlines()
    assert [[key for key in wrong if key in line.split("；")[0]] for line in sorted(lines)] == [
        ["KAGUAN_API__PROT"],
        ["KAGUAN_API__PORT"],
        ["KAGUAN_WORKER__LEASE"],
    ]


@pytest.mark.parametrize("spelling", ["kaguan_api__port", "Kaguan_Api__Port"])
def test_a_key_may_be_spelled_in_any_case(spelling: str) -> None:
    assert load_settings({spelling: "9003"}).api.port == 9003
    assert load_settings({spelling: "9003", "KAGUAN_API__PORT": "9003"}).api.port == 9003


def test_two_spellings_of_one_key_with_different_values_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"kaguan_env.*KAGUAN_ENV.*同一个键"):
        load_settings({"KAGUAN_ENV": "dev", "kaguan_env": "prod"})


@pytest.mark.parametrize("process", list(NEEDED))
def test_production_asks_each_process_for_its_own_secrets_alone(process: Process) -> None:
    """自己的够了就启动；少一个就不；两家运营商都用的，worker 两家的都要，别的照旧。"""
    own = {"KAGUAN_ENV": "prod", **{key: SECRETS[key] for key in NEEDED[process]}}
    load_settings(own, process)
    for missing in NEEDED[process]:
        with pytest.raises(ConfigurationError, match=f"{missing}：没有给出"):
            load_settings({key: value for key, value in own.items() if key != missing}, process)
    for (address, url), secret in zip(BOTH_CARRIERS.items(), (ONELINK, CONTROL_CENTER), strict=True):
        if process is Process.WORKER:
            with pytest.raises(ConfigurationError, match=f"{secret}：没有密码"):
                load_settings({**own, address: url}, process)
            load_settings({**own, address: url, secret: SECRETS[secret]}, process)
        else:
            load_settings({**own, address: url}, process)


@pytest.mark.parametrize("process", list(NEEDED))
def test_a_weak_secret_is_refused_by_whoever_is_given_it(process: Process) -> None:
    for key, weak in {SMTP: "smtps://user:secret@mail:465", ONELINK: "password", CONTROL_CENTER: "123456"}.items():
        with pytest.raises(ConfigurationError, match=key):
            load_settings({"KAGUAN_ENV": "prod", **SECRETS, key: weak}, process)


def test_secrets_never_show_in_the_settings_or_in_an_error() -> None:
    settings = load_settings({"KAGUAN_ENV": "prod", **SECRETS})
    shown = repr(settings)
    assert not [value for value in ("quiet-harbour", *SECRETS.values()) if value in shown]
    with pytest.raises(ConfigurationError) as refusal:
        load_settings({**SECRETS, "KAGUAN_API__PORT": "0"})
    assert "quiet-harbour" not in str(refusal.value)


@pytest.mark.parametrize("planted", ["whsec_cGxhbnRlZA==", "planted"])
def test_a_webhook_without_a_sound_secret_is_refused_without_showing_it(planted: str) -> None:
    webhook = {"KAGUAN_WEBHOOKS__URL": "https://hooks.example/x", "KAGUAN_WEBHOOKS__SECRET": planted}
    with pytest.raises(ConfigurationError, match=r"KAGUAN_WEBHOOKS：.*whsec_ 加 base64") as refusal:
        load_settings({**SECRETS, **webhook})
    assert planted not in str(refusal.value)


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_only_the_worker_must_be_given_the_secret_of_a_webhook(environment: str) -> None:
    """签名的是它；API 只要知道推不推、推给谁。"""
    caller = '{"name": "erp", "url": "https://hooks.example/y"}'
    webhook = {"KAGUAN_WEBHOOKS__URL": "https://hooks.example/x", "KAGUAN_WEBHOOKS__CALLERS": f"[{caller}]"}
    alerts = {"KAGUAN_ALERTS__URL": "https://hooks.example/z"}
    given = {"KAGUAN_ENV": environment, **SECRETS, **webhook, **alerts}
    settings = load_settings(given, Process.API)
    target = settings.webhooks.target("erp")
    assert target is not None
    assert settings.alerts.url == "https://hooks.example/z"
    assert target.url == "https://hooks.example/y"
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(given, Process.WORKER)
    here, theirs, warned = str(refusal.value).splitlines()
    assert warned.startswith("配置有误：KAGUAN_ALERTS：没有给 secret")
    assert here.startswith("配置有误：KAGUAN_WEBHOOKS：没有给 secret")
    assert theirs.startswith("配置有误：KAGUAN_WEBHOOKS：callers 里的 erp 没有给 secret")


def test_who_is_alerted_has_a_mailbox() -> None:
    with pytest.raises(ConfigurationError, match=r"KAGUAN_ALERTS__MAIL_TO .*：nobody$"):
        check_settings(load_settings({"KAGUAN_ALERTS__MAIL_TO": '["duty@example.com", "nobody"]'}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"KAGUAN_ALERTS__CONSOLE_URL": "ops.example"},
        {"KAGUAN_WEBHOOKS__URL": "ftp://hooks.example/x"},
        {"KAGUAN_SMTP__VERIFY_URL": "http://mail.example/log"},
        {"KAGUAN_SMTP__VERIFY_URL": "file:///{message_id}"},
    ],
)
def test_addresses_of_the_wrong_kind_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="http"):
        load_settings({**SECRETS, **wrong})


def test_known_keys_cover_the_documented_ones() -> None:
    documented = {"KAGUAN_ENV", "KAGUAN_API__PORT", "KAGUAN_DATA_DIR", "KAGUAN_DATABASE__URL", "KAGUAN_SMTP__URL"}
    assert documented <= known_keys()


def test_second_terminal_finds_the_running_stack(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("KAGUAN_API__PORT=18099\n", "utf-8")
    environ = {"KAGUAN_DATA_DIR": str(tmp_path)}
    assert load_settings(environ).api.port == 18099
    assert load_settings({**environ, "KAGUAN_API__PORT": "18100"}).api.port == 18100
