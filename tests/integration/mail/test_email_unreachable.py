"""连不上中继：话说到原因为止，worker 与 ``kaguan doctor`` 说的一样；地址与口令哪里都不漏。"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kaguan.config.relay_host import parse_relay_host
from kaguan.mail.connection import Step, UnreachableError, open_link, trust
from kaguan.mail.failure import describe_tls
from tests.support.eventually import PATIENCE
from tests.support.invocation import Invocation
from tests.support.mail_tasks import CERTIFICATES, STALLED, client_tls, config_for, server_tls
from tests.support.places import own_port
from tests.support.smtp_server import DROP, STALL, Script, SmtpServer, smtp_server

CA = CERTIFICATES / "localhost.crt"
FAILED = "与中继协商 TLS 失败"


async def refusal(url: str, **config: object) -> UnreachableError:
    settings = config_for(url, **{"ca_file": CA, "timeout": PATIENCE, **config})
    with pytest.raises(UnreachableError) as caught:
        await open_link(parse_relay_host(url), settings, trust(settings), "me.example")
    return caught.value


@asynccontextmanager
async def presenting(mode: str, context: ssl.SSLContext) -> AsyncIterator[SmtpServer]:
    script = Script(implicit_tls=context) if mode == "implicit" else Script(starttls=context)
    async with smtp_server(script) as server:
        yield server


@pytest.mark.parametrize("mode", ["implicit", "starttls"])
@pytest.mark.parametrize(
    ("certificate", "config", "cause"),
    [
        ("localhost", {"ca_file": None}, "证书是自签名的"),
        ("expired", {}, "证书已过期"),
        ("elsewhere", {}, "证书与主机名不符"),
        ("stranger", {}, "签发证书的 CA 不受信任"),
    ],
)
async def test_what_is_wrong_with_the_certificate_is_said(
    mode: str, certificate: str, config: dict[str, object], cause: str
) -> None:
    async with presenting(mode, server_tls(certificate)) as server:
        error = await refusal(server.url, starttls="required", **config)
    assert (str(error), error.step, error.code) == (f"{FAILED}：{cause}", Step.TLS, None)


@pytest.mark.parametrize("mode", ["implicit", "starttls"])
async def test_the_ca_file_is_trusted_and_nothing_else(mode: str) -> None:
    async with presenting(mode, server_tls()) as server:
        settings = config_for(server.url, starttls="required", ca_file=CA)
        link = await open_link(parse_relay_host(server.url), settings, trust(settings), "me.example")
        assert link.tls_version in {"TLSv1.2", "TLSv1.3"}
        await link.close()
    assert server.commands[-1] == "QUIT"
    assert len(trust(settings).get_ca_certs()) == 1


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLError:
    """在内存里握手到客户端报错为止；asyncio 的服务器不发警报就断开，说不出为什么。"""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        try:
            ours.do_handshake()
            ours.read()
        except ssl.SSLWantReadError:
            with suppress(ssl.SSLError):
                theirs.do_handshake()
        except ssl.SSLError as error:
            return error
    raise AssertionError("握手成了")


def narrowed(context: ssl.SSLContext, attribute: str, value: object) -> ssl.SSLContext:
    setattr(context, attribute, value)
    return context


@pytest.mark.parametrize(
    ("client", "server", "cause"),
    [
        (
            narrowed(client_tls(), "minimum_version", ssl.TLSVersion.TLSv1_3),
            narrowed(server_tls(), "maximum_version", ssl.TLSVersion.TLSv1_2),
            "没有共同的 TLS 版本",
        ),
        (client_tls(), narrowed(server_tls(), "verify_mode", ssl.CERT_REQUIRED), "对方要求客户端证书"),
    ],
)
def test_why_the_handshake_failed_is_said(client: ssl.SSLContext, server: ssl.SSLContext, cause: str) -> None:
    assert str(describe_tls(handshake(client, server))) == f"{FAILED}：{cause}"


async def test_implicit_tls_to_a_port_that_speaks_in_clear_is_told_apart() -> None:
    async with smtp_server() as server:
        error = await refusal(server.url.replace("smtp:", "smtps:"))
    assert (str(error), error.step) == (f"{FAILED}：对方说的不是 TLS", Step.TLS)


async def test_plaintext_slipped_in_before_tls_is_no_part_of_the_dialogue() -> None:
    """隐式 TLS：握手之前到的「220」若算数，之后每句应答都会错位。"""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 forged\r\n")
        await writer.drain()
        await reader.read(1)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        error = await refusal(f"smtps://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    assert error.step is Step.TLS


@pytest.mark.parametrize(
    ("script", "config", "says", "code", "step"),
    [
        (Script(greeting="554 5.7.1 you@x.example no"), {}, "中继不接待：5.7.1 *** no", 554, "greeting"),
        (Script(greeting=DROP), {}, "中继断开了连接", None, "greeting"),
        (Script(greeting=STALL), {"timeout": STALLED}, "等中继应答超时", None, "greeting"),
        (Script(), {"starttls": "required"}, "对方没有提供 STARTTLS，而配置要求加密", None, "tls"),
        (Script(greeting="220-\r\n220 ok", credentials=("u", "p")), {"starttls": "optional"}, None, None, None),
    ],
    ids=["turned-away", "dropped", "silent", "no-starttls", "welcome"],
)
async def test_each_step_says_where_it_stopped(
    script: Script, config: dict[str, object], says: str | None, code: int | None, step: str | None
) -> None:
    async with smtp_server(script) as server:
        if says is None:
            settings = config_for(server.url, ca_file=CA, **config)
            link = await open_link(parse_relay_host(server.url), settings, trust(settings), "me.example")
            assert link.tls_version is None
            await link.close()
            return
        error = await refusal(server.url, **config)
    assert (str(error), error.code, error.step) == (says, code, step)


async def test_a_refused_connection_and_an_unknown_host_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """解析不了是我们说的：这台机器问的解析服务器，也许根本不答。"""

    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    assert str(await refusal(f"smtp://127.0.0.1:{own_port()}")) == "连不上中继：连接被拒绝"
    assert str(await refusal("smtp://nowhere.invalid:25")) == "连不上中继：主机名解析不了"


async def test_a_relay_that_echoes_the_credentials_cannot_make_us_show_them() -> None:
    script = Script(credentials=("user@x.example", "right"), rejection="535 5.7.8 {line} / {username} / {password}")
    async with smtp_server(script) as server:
        error = await refusal(server.url_as("user%40x.example", "s3cret-word"))
    assert (error.code, error.step) == (535, Step.LOGIN)
    assert str(error) == "中继拒绝登录：5.7.8 AUTH PLAIN *** / *** / ***"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Invocation:
    monkeypatch.setenv("KAGUAN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("KAGUAN_SMTP__STARTTLS", "required")
    monkeypatch.setenv("KAGUAN_SMTP__TIMEOUT", f"{PATIENCE:g}")
    return Invocation(monkeypatch, capsys)


async def smtp_finding(run: Invocation, url: str, ca_file: str | None = str(CA)) -> dict[str, Any]:
    run.monkeypatch.setenv("KAGUAN_SMTP__URL", url)
    if ca_file is not None:
        run.monkeypatch.setenv("KAGUAN_SMTP__CA_FILE", ca_file)
    _, out, err = await asyncio.to_thread(run, "doctor", "--json")
    assert out, err
    (finding,) = [one for one in json.loads(out) if one["part"] == "SMTP"]
    return dict(finding)


@pytest.mark.parametrize("mode", ["implicit", "starttls"])
async def test_doctor_speaks_tls_logs_in_and_says_goodbye(run: Invocation, mode: str) -> None:
    async with presenting(mode, server_tls()) as server:
        server.script.credentials = ("user", "right")
        finding = await smtp_finding(run, server.url_as("user", "right"))
    assert finding == {
        "part": "SMTP",
        "ok": True,
        "detail": f"127.0.0.1:{server.port}、TLSv1.3、登录成功",
        "advice": "",
        "attention": False,
    }
    assert [one for one in server.commands if one in {"STARTTLS", "AUTH", "QUIT", "MAIL"}] == (
        ["STARTTLS", "AUTH", "QUIT"] if mode == "starttls" else ["AUTH", "QUIT"]
    )


async def test_doctor_says_which_certificate_problem_and_which_key(run: Invocation) -> None:
    async with presenting("starttls", server_tls()) as server:
        finding = await smtp_finding(run, server.url, ca_file=None)
    assert not finding["ok"]
    assert "证书是自签名的" in finding["detail"]
    assert "KAGUAN_SMTP__CA_FILE" in finding["advice"]


async def test_doctor_says_that_the_login_failed_but_not_the_password(run: Invocation) -> None:
    async with presenting("starttls", server_tls()) as server:
        server.script.credentials = ("user", "right")
        finding = await smtp_finding(run, server.url_as("user", "s3cret-word"))
    assert not finding["ok"]
    assert finding["detail"].endswith("中继拒绝登录：5.7.8 authentication failed (535)")
    assert "密码" in finding["advice"]
    assert "s3cret-word" not in json.dumps(finding)


async def test_doctor_gives_up_on_a_relay_that_says_nothing(run: Invocation) -> None:
    run.monkeypatch.setenv("KAGUAN_SMTP__TIMEOUT", "0.2")
    async with smtp_server(Script(greeting=STALL)) as server:
        finding = await smtp_finding(run, server.url)
    assert (finding["ok"], "超时" in finding["detail"]) == (False, True)


async def test_doctor_names_a_ca_file_that_is_not_there(run: Invocation) -> None:
    run.monkeypatch.setenv("KAGUAN_SMTP__CA_FILE", "/nowhere/ca.pem")
    code, out, err = await asyncio.to_thread(run, "doctor")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "KAGUAN_SMTP__CA_FILE" in err
