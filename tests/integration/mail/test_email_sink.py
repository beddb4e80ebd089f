from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import aiosmtplib
import pytest

from kaguan.database.pool import Pool
from kaguan.dev.program import Program, wait_until_ready
from kaguan.dev.smtp_sink import REFUSED, UNANSWERED, smtp_sink
from kaguan.flow.probes import greets_as_smtp
from kaguan.mail.task import EmailPayload
from kaguan.outbox.work.outcome import Discard, Done, Uncertain
from tests.support.eventually import PATIENCE
from tests.support.mail_tasks import attempt_of, config_for, insert_running, mail_to, run
from tests.support.places import own_port
from workers.email.transport import open_mailer

pytestmark = pytest.mark.unjudged("只考收件端：任务造出来就在跑，也没有人结算")
MEGABYTE = 1024 * 1024


async def send_through_sink(
    pool: Pool, directory: Path, payload: EmailPayload
) -> tuple[EmailMessage, dict[str, object]]:
    task_id = await insert_running(pool, payload)
    async with (
        smtp_sink(directory, "127.0.0.1", 0) as port,
        open_mailer(config_for(f"smtp://127.0.0.1:{port}")) as mailer,
    ):
        assert isinstance(await run(mailer, attempt_of(pool, task_id, payload)), Done)
    return stored_in(directory)


def stored_in(directory: Path) -> tuple[EmailMessage, dict[str, object]]:
    (stored,) = directory.glob("*.eml")
    parsed = message_from_bytes(stored.read_bytes(), policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed, json.loads(stored.with_suffix(".json").read_text("utf-8"))


async def test_the_sink_refuses_or_leaves_without_an_answer_whom_it_is_asked_to(pool: Pool, tmp_path: Path) -> None:
    """看得见失败与不明的样子；不明的那一封其实收下了。"""
    refused, unanswered = mail_to(f"{REFUSED}x.example"), mail_to(f"{UNANSWERED}x.example")
    async with (
        smtp_sink(tmp_path, "127.0.0.1", 0) as port,
        open_mailer(config_for(f"smtp://127.0.0.1:{port}")) as mailer,
    ):
        for payload, outcome, kept in ((refused, Discard, 0), (unanswered, Uncertain, 1)):
            task_id = await insert_running(pool, payload)
            assert isinstance(await run(mailer, attempt_of(pool, task_id, payload)), outcome)
            assert count_in(tmp_path) == kept


def count_in(directory: Path) -> int:
    return len(list(directory.glob("*.eml")))


async def test_a_megabyte_attachment_arrives_byte_for_byte(pool: Pool, tmp_path: Path) -> None:
    content = os.urandom(MEGABYTE)
    attachment = {
        "filename": "七月 用量报表.bin",
        "content_type": "application/octet-stream",
        "content_base64": base64.b64encode(content).decode(),
    }
    payload = mail_to(
        "a@x.example",
        subject="中文标题：用量报表 📈",
        body="正文\n.开头的点\n",
        html="<p>正文</p>",
        attachments=[attachment],
    )
    parsed, _ = await send_through_sink(pool, tmp_path, payload)
    (received,) = parsed.iter_attachments()
    assert isinstance(received, EmailMessage)
    assert received.get_content() == content
    assert received.get_filename() == "七月 用量报表.bin"
    assert parsed["Subject"] == "中文标题：用量报表 📈"
    plain, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert plain.get_content() == "正文\r\n.开头的点\r\n"
    assert html.get_content() == "<p>正文</p>\r\n"


async def test_an_internationalised_address_travels_with_smtputf8(pool: Pool, tmp_path: Path) -> None:
    parsed, envelope = await send_through_sink(pool, tmp_path, mail_to("用户@例子.测试", "li@例子.测试"))
    assert envelope["rcpt_tos"] == ["用户@例子.测试", "li@xn--fsqu00a.xn--0zwm56d"]
    assert parsed["To"] == "用户@例子.测试, li@xn--fsqu00a.xn--0zwm56d"


async def test_recipients_come_from_the_envelope_only(pool: Pool, tmp_path: Path) -> None:
    payload = mail_to(
        "a@x.example", subject="To: evil@x.example", body="To: evil@x.example\n\n.\nRCPT TO:<evil@x.example>"
    )
    _, envelope = await send_through_sink(pool, tmp_path, payload)
    assert envelope == {"mail_from": "no-reply@kaguan.example", "rcpt_tos": ["a@x.example"]}


async def test_a_sink_that_cannot_store_says_try_later_instead_of_losing_the_mail(tmp_path: Path) -> None:
    async with smtp_sink(tmp_path / "mail", "127.0.0.1", 0) as port:
        (tmp_path / "mail").rmdir()
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
            with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
                await client.sendmail("s@x.example", ["r@x.example"], b"Subject: x\r\n\r\n")
    assert refusal.value.code == 452


async def test_the_sink_process_greets_logs_no_address_and_stops_on_sigterm(tmp_path: Path) -> None:
    port = own_port()
    program = Program(
        "smtp",
        (sys.executable, "-m", "kaguan.dev.smtp_sink"),
        Path.cwd(),
        {"KAGUAN_DATA_DIR": str(tmp_path), "KAGUAN_SMTP__URL": f"smtp://127.0.0.1:{port}"},
        ready=partial(greets_as_smtp, port),
    )
    output = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *program.argv, stdout=output, stderr=asyncio.subprocess.STDOUT, **program.spawn_options()
    )
    try:
        await wait_until_ready(replace(program, ready_timeout=PATIENCE), lambda: process.returncode is None)
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
            await client.sendmail("s@x.example", ["secret@x.example"], b"Subject: x\r\n\r\n.dot\r\n")
        parsed, envelope = stored_in(tmp_path / "mail")
        assert parsed.get_payload() == ".dot\r\n"
        assert envelope == {"mail_from": "s@x.example", "rcpt_tos": ["secret@x.example"]}
    finally:
        process.send_signal(signal.SIGTERM)
        printed, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0
    assert "收下一封邮件" in printed.decode()
    assert "secret@" not in printed.decode()
