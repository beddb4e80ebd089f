"""``make demo``：对着 ``make run`` 带起的那一套走一遍真实输入，逐步核对，打印每个任务的时间线与 trace_id。

登记 200 张卡（真实号段，有错号）→ 同步状态与 7 天用量 → 建用户（国际化地址）→ 发一封中文、HTML、
1 MB 附件的邮件，再从收件端逐字节取回来对；末了两封有意不顺利，一封失败、一封结局不明，说怎么办。
有任何一处不符，退出码为 1。
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import sys
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from kaguan.config import ConfigurationError, Settings, load_settings
from kaguan.dev.demo_client import Client, DemoError, connect, expect, say
from kaguan.dev.simulator.population import iccid_at
from kaguan.dev.smtp_sink import REFUSED, UNANSWERED
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.product.exit_codes import ExitCode
from kaguan.sims.vocabulary import Carrier
from kaguan.words.units import MIB
from kaguan.words.zones import business_today

MAILS = "/tasks/email"
CARDS = 200
GOOD = 190
SPARSE = GOOD // 2
WRONG_CHECK_DIGIT = 5
MALFORMED = ("123", "8986", "89860000000000000000000000", "86001234567890123456", "8986ABCDEFGHIJKLMNO")
USAGE_DAYS = 7
PEOPLE = (
    ("zhang.san", "张三", "张三@例子.测试"),
    ("li.si", "李四", "lisi@例子.测试"),
    ("wang.wu", "王五", "用户@例子.测试"),
)


async def demo(settings: Settings) -> None:
    """依次走完每一步。

    Raises:
        DemoError: 有一步与预期不符。
    """
    run = secrets.token_hex(3)
    async with connect(settings) as client:
        iccids = await register_cards(client)
        await sync_status(client, iccids)
        await sync_usage(client, iccids)
        await create_users(client, run)
        await send_mail(client, run)
        await fail_mail(client, run)


async def register_cards(client: Client) -> list[str]:
    say(f"1. 登记 {CARDS} 张卡：真实号段，其中 {WRONG_CHECK_DIGIT} 张校验位不对，{len(MALFORMED)} 张不是 ICCID")
    sims = [_card(index) for index in range(GOOD + WRONG_CHECK_DIGIT)]
    for sim in sims[GOOD:]:
        sim["iccid"] = sim["iccid"][:-1] + str((int(sim["iccid"][-1]) + 5) % 10)
    sims += [{"iccid": text, "carrier": Carrier.ONELINK.value} for text in MALFORMED]
    answer = await client.call("POST", "/sims", {"sims": [{**sim, "remark": "演示卡"} for sim in sims]})
    items = answer["items"]
    expect(len(items) == CARDS, f"应逐张答复 {CARDS} 张，得到 {len(items)}")
    expect(answer["invalid"] == len(MALFORMED), f"应有 {len(MALFORMED)} 张不合法，得到 {answer['invalid']}")
    doubtful = [item for item in items if item["luhn_valid"] is False]
    expect(len(doubtful) == WRONG_CHECK_DIGIT, f"应有 {WRONG_CHECK_DIGIT} 张校验位提醒，得到 {len(doubtful)}")
    say(f"  新登记 {answer['created']}，已有 {answer['conflict']}，不合法 {answer['invalid']}")
    return [sim["iccid"] for sim in sims[:GOOD]]


def _card(index: int) -> dict[str, str]:
    """:data:`GOOD` 张里两张属 Control Center：它每秒只许 5 个调用，逐卡逐日地问，演示的时间多半在等它。"""
    carrier = Carrier.ONELINK if index % SPARSE else Carrier.CONTROL_CENTER
    return {"iccid": iccid_at(carrier, index), "carrier": carrier.value}


async def sync_status(client: Client, iccids: list[str]) -> None:
    say(f"2. 向运营商同步 {len(iccids)} 张卡的状态")
    accepted = await client.call("POST", "/tasks/sim", {"iccids": iccids, "force_sync": True})
    await client.finished(accepted["task_id"])
    states: dict[str, int] = {}
    for iccid in iccids:
        sim = await client.call("GET", f"/sims/{iccid}")
        expect(sim["status_synced_at"] is not None, f"{iccid} 没有同步到状态")
        states[sim["lifecycle_state"]] = states.get(sim["lifecycle_state"], 0) + 1
    expect("unknown" not in states, "有卡的运营商状态没有对应的生命周期")
    say("  " + "，".join(f"{state} {count}" for state, count in sorted(states.items())))


async def sync_usage(client: Client, iccids: list[str]) -> None:
    today = business_today()
    first, last = today - timedelta(days=USAGE_DAYS), today - timedelta(days=1)
    say(f"3. 同步 {first} 至 {last} 的用量")
    span = {"start_date": first.isoformat(), "end_date": last.isoformat()}
    accepted = await client.call("POST", "/tasks/sync", {"sync_type": "usage", **span})
    await client.finished(accepted["task_id"])
    total = 0
    for iccid in iccids[:10]:
        usage = await client.call("GET", f"/sims/{iccid}/usage?start_date={first}&end_date={last}")
        expect(len(usage["items"]) == USAGE_DAYS, f"{iccid} 应有 {USAGE_DAYS} 天用量，得到 {len(usage['items'])}")
        total += usage["data_bytes"]
    say(f"  抽查 10 张卡，{USAGE_DAYS} 天合计 {total / MIB:.1f} MiB")


async def create_users(client: Client, run: str) -> None:
    say("4. 建用户：国际化邮件地址；每人一封欢迎邮件")
    for username, name, address in PEOPLE:
        local, _, domain = address.partition("@")
        email = f"{local}.{run}@{domain}"
        account = {"username": f"{username}.{run}", "email": email, "password": secrets.token_urlsafe(16)}
        user = await client.call("POST", "/users", account)
        say(f"  {name} → 用户 {user['id']}")
        expect("password" not in json.dumps(user), "应答里出现了口令字段")
        await client.finished(user["welcome_task_id"])
        mail, _ = await received(client, user["welcome_task_id"])
        expect(account["username"] in str(mail["Subject"]), "欢迎邮件的标题不含用户名")


async def send_mail(client: Client, run: str) -> None:
    say("5. 发一封中文标题、HTML、1 MB 附件的邮件，再从收件端取回来逐字节核对")
    content = secrets.token_bytes(MIB)
    attachment = {"filename": "七月用量报表.bin", "content_type": "application/octet-stream"}
    body = {
        "request_id": f"demo-{run}",
        "to": ["用户@例子.测试", "ops@x.example"],
        "subject": f"张三、李四、王五：七月用量报表 📈 {run}",
        "body": "各位好：\n\n报表见附件。\n.以点开头的一行\n",
        "html": "<p>各位好：</p><p>报表见<strong>附件</strong>。</p>",
        "attachments": [{**attachment, "content_base64": base64.b64encode(content).decode("ascii")}],
    }
    first = await client.call("POST", MAILS, body)
    again = await client.call("POST", MAILS, body)
    expect(first["task_id"] == again["task_id"], "同一 request_id 重复提交得到了两个任务")
    await client.finished(first["task_id"])
    mail, envelope = await received(client, first["task_id"])
    verify_mail(mail, envelope, body, content)
    say("  信封、标题、正文、HTML 与附件都一字不差，只寄了一次")


async def fail_mail(client: Client, run: str) -> None:
    say("6. 两封有意不顺利的：一封对方不收，进死信；一封交了出去而没有回音，等人定夺")
    for to, expected, lever in (
        (REFUSED, TaskStatus.FAILED, "改好再来"),
        (UNANSWERED, TaskStatus.UNCERTAIN, "到对方那里查过，说做过还是没做过"),
    ):
        mail = {"to": [f"{to}x.example"], "subject": f"演示：{expected} {run}", "body": "有意不顺利的一封\n"}
        accepted = await client.call("POST", MAILS, mail)
        task = await client.finished(accepted["task_id"], expected)
        say(f"  {task['error']['reason']}")
        say(f"  {lever}：控制台 {client.base}/console/tasks/{task['task_id']}")
    say(f"  全部死信：{client.base}/console/dead-letters；命令行：kaguan task retry、kaguan task resolve")


def verify_mail(mail: EmailMessage, envelope: dict[str, Any], sent: dict[str, Any], content: bytes) -> None:
    """收到的与发出的一致。"""
    expect(envelope["rcpt_tos"] == sent["to"], f"信封收件人不符：{envelope['rcpt_tos']}")
    expect(mail["Subject"] == sent["subject"], f"标题不符：{mail['Subject']!r}")
    for kind, text in (("plain", sent["body"]), ("html", sent["html"])):
        part = mail.get_body((kind,))
        expect(part is not None, f"没有 {kind} 部分")
        shown = part.get_content() if part is not None else ""
        expect(shown.replace("\r\n", "\n").rstrip("\n") == text.rstrip("\n"), f"{kind} 正文不符")
    (attachment,) = mail.iter_attachments()
    expect(attachment.get_filename() == sent["attachments"][0]["filename"], "附件名不符")
    expect(attachment.get_payload(decode=True) == content, "附件内容不符")


async def received(client: Client, task_id: str) -> tuple[EmailMessage, dict[str, Any]]:
    """收件端里这个任务的那一封（Message-ID 由任务号决定），与它的信封。

    Raises:
        DemoError: 不是恰好一封，或不是邮件。
    """
    found = await asyncio.to_thread(_find, client.mail, task_id)
    expect(len(found) == 1, f"任务 {task_id} 应恰好寄出一封，收到 {len(found)} 封")
    mail = message_from_bytes(found[0].read_bytes(), policy=policy.default)
    if not isinstance(mail, EmailMessage):
        raise DemoError("收到的不是一封邮件")
    return mail, json.loads(found[0].with_suffix(".json").read_text("utf-8"))


def _find(directory: Path, task_id: str) -> list[Path]:
    mark = f"Message-ID: <{task_id}@".encode()
    found = []
    for path in directory.glob("*.eml"):
        with path.open("rb") as file:
            if mark in file.read(4096):
                found.append(path)
    return found


def main() -> ExitCode:
    """有不符、或栈没有在运行，是 ``FAILURE``。"""
    started = datetime.now(UTC)
    try:
        asyncio.run(demo(load_settings()))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.USAGE
    except DemoError as error:
        sys.stderr.write(f"不符：{error}\n")
        return ExitCode.FAILURE
    say(f"全部相符，用时 {(datetime.now(UTC) - started).total_seconds():.1f} 秒")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
