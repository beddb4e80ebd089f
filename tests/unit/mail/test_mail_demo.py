from __future__ import annotations

import base64
import os
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from kaguan.dev.demo import main, verify_mail
from kaguan.dev.demo_client import DemoError
from kaguan.mail.message import build
from kaguan.mail.task import EmailPayload

CONTENT = b"\x00\xff" * 1000
SENT: dict[str, Any] = {
    "to": ["用户@例子.测试", "ops@x.example"],
    "subject": "七月用量报表 📈",
    "body": "各位好：\n\n.点\n",
    "html": "<p>好</p>",
    "attachments": [
        {
            "filename": "七月.bin",
            "content_type": "application/octet-stream",
            "content_base64": base64.b64encode(CONTENT).decode("ascii"),
        }
    ],
}


def delivered(**changes: object) -> tuple[EmailMessage, dict[str, Any]]:
    payload = EmailPayload.model_validate({**SENT, **changes})
    task_id = UUID("01890000-0000-7000-8000-000000000001")
    envelope = build(payload, task_id, "k <k@x.example>", datetime(2026, 1, 1, tzinfo=UTC))
    message = message_from_bytes(envelope.content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message, {"rcpt_tos": list(envelope.recipients.values())}


def test_the_demo_accepts_what_was_sent() -> None:
    verify_mail(*delivered(), SENT, CONTENT)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"to": ["ops@x.example"]}, "收件人"),
        ({"subject": "别的"}, "标题"),
        ({"body": "别的"}, "plain"),
        ({"html": "别的"}, "html"),
        ({"attachments": [{**SENT["attachments"][0], "content_base64": "AA=="}]}, "附件内容"),
        ({"attachments": [{**SENT["attachments"][0], "filename": "b"}]}, "附件名"),
    ],
)
def test_the_demo_notices_every_difference(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(DemoError, match=complaint):
        verify_mail(*delivered(**changes), SENT, CONTENT)


def test_the_demo_without_a_stack_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("KAGUAN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KAGUAN_DATA_DIR", str(tmp_path))
    assert main() == 1
    assert "make run" in capsys.readouterr().err
