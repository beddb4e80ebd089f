"""email:send：先记意向，再发信，再记结局（I3）。已被收下的收件人不再寄第二次。"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from kaguan.breakers.board import BreakerKind
from kaguan.config import ConfigurationError
from kaguan.config.model import UncertainPolicy
from kaguan.mail import store
from kaguan.mail.message import Envelope, UnsendableError, build
from kaguan.mail.store import Intended, Known, Letter, Recorded, Settled
from kaguan.mail.task import EmailPayload
from kaguan.mail.vocabulary import DeliveryStatus
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.gathered import Gathered
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry, Snooze, Uncertain, Write
from kaguan.outbox.work.verification import Verified
from kaguan.telemetry.metrics import observe
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason
from workers.email.metrics import MailMetrics
from workers.email.receipt import Outage, Receipt, RecipientOutcome, reason_of
from workers.email.transport import Mailer, QueuedError, RelayHostOpenError, open_mailer
from workers.email.verifying import EmailVerify, open_lookup
from workers.pauses import failed_pause, outage_pause, queued_pause
from workers.resources import Resources

Observe = Callable[[Mapping[str, int], float], None]
Deferred = Callable[[Outage], None]

log = get_logger(__name__)

STATUS_OF = {
    RecipientOutcome.ACCEPTED: DeliveryStatus.ACCEPTED,
    RecipientOutcome.REFUSED: DeliveryStatus.REFUSED,
    RecipientOutcome.DEFERRED: DeliveryStatus.DEFERRED,
}


class EmailHandler:
    """``sender`` 是发件人，``显示名 <地址>``。

    指标钩子：``observe`` 是各结局的收件人数与会话秒数；``deferred`` 是一封信因中继主机停摆而等着，及其缘由。
    """

    def __init__(
        self, mailer: Mailer, sender: str, observe: Observe | None = None, deferred: Deferred | None = None
    ) -> None:
        self._mailer = mailer
        self._sender = sender
        self._observe = observe
        self._deferred = deferred

    async def __call__(self, attempt: Attempt[EmailPayload]) -> Outcome:
        try:
            self._mailer.refuse_if_open()
            outcome, outage = await self._send(attempt)
        except RelayHostOpenError as refusal:
            pause = outage_pause(attempt.passes)  # 两数之差就是不计尝试的趟数
            waiting = Reason("mail.waiting", {"replies": [refusal.reason]})
            outcome, outage = _waiting(waiting, pause), Outage.OPEN
        if outage is not None and self._deferred is not None:
            self._deferred(outage)
        return outcome

    async def _send(self, attempt: Attempt[EmailPayload]) -> tuple[Outcome, Outage | None]:
        """寄一次；第二项非空：没寄成说的是中继主机。

        Raises:
            RelayHostOpenError: 中继主机的断路器断开着，没有去连。
        """
        known, first_tried, identifier, lost_for = await self._known(attempt)
        last_lost = None if lost_for is None else asyncio.get_running_loop().time() - lost_for
        date = first_tried or datetime.now(UTC)
        try:
            envelope = await self._build(attempt.payload, attempt.task_id, date, identifier)
        except UnsendableError as error:
            return Discard(Reason("mail.unsendable", {"reason": error.reason})), None
        letter = store.Letter(attempt.task_id, envelope.message_id, attempt.attempt, date)
        due = _due(envelope, known)
        if not due:
            attempt.call_nobody()
            return Done(_result(envelope, known, {})), None

        async def declare() -> list[str]:
            return await attempt.intend(Gathered(store.intend, Intended(letter, due))) or []

        started = time.monotonic()
        try:
            async with attempt.outside("smtp"):
                receipts = await self._mailer.send(envelope, due, declare)
        except QueuedError:
            return Snooze(Reason("mail.queued"), delay=queued_pause(attempt.delivery)), None
        counts = _counts(receipts)
        if counts[RecipientOutcome.ACCEPTED] < len(receipts):  # 人人收下的，任务完成的那一行就够
            log.info("邮件投递结束", **counts)
        if self._observe is not None:
            self._observe(counts, time.monotonic() - started)
        unknown = {one for one in due if attempt.intended and known.get(one) is DeliveryStatus.INTENDED}
        outage = _outage(receipts)
        in_session = attempt.declared  # 没有记过意向就是没连上：怪不到这封信，逐收件人也没有可记的
        its_own = in_session and last_lost is not None and self._mailer.accepted_since(last_lost)
        if outage is None or its_own:
            return _conclude(envelope, letter, known, receipts, unknown), None
        write = _recorder(letter, receipts, unknown) if in_session else None
        return _waiting(reason_of("mail.waiting", receipts, RecipientOutcome.DEFERRED), failed_pause(), write), outage

    async def _known(self, attempt: Attempt[EmailPayload]) -> Known:
        """已有的逐收件人记录；头一次投递，谁也没有寄过，不必去看。"""
        if attempt.delivery == 1:
            return Known({}, None, None, None)
        return await attempt.read(store.recipients, attempt.task_id)

    async def _build(self, payload: EmailPayload, task_id: UUID, date: datetime, identifier: str | None) -> Envelope:
        """附件的编码要几百毫秒，放到线程里：续租靠的也是这个事件循环。"""
        if payload.attachments:
            return await asyncio.to_thread(build, payload, task_id, self._sender, date, identifier)
        return build(payload, task_id, self._sender, date, identifier)


def _due(envelope: Envelope, known: Mapping[str, DeliveryStatus]) -> list[str]:
    """还要投递的收件人：没有定论的；若全都被拒过（人要求重试），就再试被拒的。"""
    final = {DeliveryStatus.ACCEPTED, DeliveryStatus.REFUSED}
    undecided = [recipient for recipient in envelope.recipients if known.get(recipient) not in final]
    if undecided or DeliveryStatus.ACCEPTED in known.values():
        return undecided
    return list(envelope.recipients)


def _outage(receipts: Mapping[str, Receipt]) -> Outage | None:
    """没投成的全都说的是中继主机：缘由；否则 None。"""
    unsent = [
        receipt
        for receipt in receipts.values()
        if receipt.outcome in {RecipientOutcome.DEFERRED, RecipientOutcome.UNKNOWN}
    ]
    return unsent[0].outage if unsent and all(receipt.outage for receipt in unsent) else None


def _waiting(reason: Reason, pause: float, write: Write | None = None) -> Snooze:
    """等中继主机恢复：不计尝试，断路器断开前的头几次也不计。"""
    return Snooze(reason, write, pause, BreakerKind.SMTP)


def _conclude(
    envelope: Envelope,
    letter: Letter,
    known: Mapping[str, DeliveryStatus],
    receipts: Mapping[str, Receipt],
    unknown: Collection[str],
) -> Outcome:
    """逐收件人的结局 → 任务的结局；不明最先，其次可再试，最后才是定论。"""
    write = _recorder(letter, receipts, unknown)
    outcomes = {receipt.outcome for receipt in receipts.values()}
    if RecipientOutcome.UNKNOWN in outcomes:
        return Uncertain(reason_of("mail.unknown", receipts, RecipientOutcome.UNKNOWN), write)
    if RecipientOutcome.DEFERRED in outcomes:
        return Retry(reason_of("mail.deferred", receipts, RecipientOutcome.DEFERRED), effect=write, outage=True)
    if doubtful := {
        one: receipts[one] for one in unknown if one in receipts and receipts[one].outcome is RecipientOutcome.REFUSED
    }:
        # 再寄也是被拒，先前那封却也许到了：结算据意向记 uncertain，别人被收下也不能算完成
        return Discard(reason_of("mail.refused_after_unknown", doubtful, RecipientOutcome.REFUSED), write)
    if RecipientOutcome.ACCEPTED in outcomes or DeliveryStatus.ACCEPTED in known.values():
        return Done(_result(envelope, known, receipts), write)
    return Discard(reason_of("mail.refused", receipts, RecipientOutcome.REFUSED), write)


def _recorder(letter: Letter, receipts: Mapping[str, Receipt], unknown: Collection[str]) -> Write:
    """不明的收件人不记：行仍是 intended，如实；先前不明的（``unknown``），这次没寄成也还是不明。"""
    outcomes: list[Recorded] = [
        store.Recorded(recipient, STATUS_OF[receipt.outcome], receipt.code, receipt.reply)
        for recipient, receipt in receipts.items()
        if receipt.outcome is RecipientOutcome.ACCEPTED
        or (receipt.outcome is not RecipientOutcome.UNKNOWN and recipient not in unknown)
    ]

    return Gathered(store.record, Settled(letter, outcomes))


def _counts(receipts: Mapping[str, Receipt]) -> dict[str, int]:
    return {
        str(outcome): sum(receipt.outcome is outcome for receipt in receipts.values()) for outcome in RecipientOutcome
    }


def _result(envelope: Envelope, known: Mapping[str, DeliveryStatus], receipts: Mapping[str, Receipt]) -> dict[str, Any]:
    recipients = []
    for recipient in envelope.recipients:
        receipt = receipts.get(recipient)
        status = known.get(recipient) if receipt is None else STATUS_OF[receipt.outcome]
        recipients.append({"recipient": recipient, "status": status, "code": receipt.code if receipt else None})
    return {"message_id": envelope.message_id, "recipients": recipients}


@asynccontextmanager
async def open_email(resources: Resources) -> AsyncIterator[Handler[EmailPayload]]:
    """发信的通道；配置了查证接口的，结局不明时先去问。

    Raises:
        ConfigurationError: 没有中继主机的地址，或读不懂。
    """
    smtp, metrics = resources.settings.smtp, MailMetrics(resources.metrics.registry)

    def mail_sent(recipients: Mapping[str, int], seconds: float) -> None:
        for outcome, count in recipients.items():
            metrics.smtp.labels(outcome).inc(count)
        observe(metrics.smtp_seconds, seconds)

    async with AsyncExitStack() as stack:
        try:
            mailer = await stack.enter_async_context(open_mailer(smtp, resources.redis))
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        mailer.watch_breaker(partial(resources.breaker_changed, BreakerKind.SMTP))
        email = EmailHandler(
            mailer, smtp.sender, mail_sent, lambda reason: metrics.smtp_outage_deferrals.labels(reason).inc()
        )
        if not smtp.verify_url:
            yield email
            return
        lookup = await stack.enter_async_context(open_lookup(smtp.verify_url, smtp.timeout))
        yield Verified(email, EmailVerify(lookup, smtp.sender), resend=smtp.uncertain is UncertainPolicy.RESEND)
