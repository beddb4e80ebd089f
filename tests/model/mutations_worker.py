"""认领、结算、租约、停机、重试、取消、受理。"""

from __future__ import annotations

from tests.model.mutation import (
    CLAIM_ID,
    CORNERS,
    DELIVERY,
    REDRIVE,
    SHARED,
    SIMULATION,
    STORIES,
    SURVIVORS,
    UNCERTAIN,
    WORK,
    Mutation,
)

WORKER_MUTATIONS = (
    # 隔离令牌
    Mutation(
        "认领不看投递号",
        WORK + "claim.sql",
        "on t.id = asked.task_id and t.delivery = asked.delivery",
        "on t.id = asked.task_id",
        (
            REDRIVE + "::test_expired_lease_gives_the_task_to_another_and_the_zombie_changes_nothing",
            SIMULATION + "::test_a_stale_delivery_does_not_take_the_task_from_the_current_one",
        ),
    ),
    Mutation(
        "折成一批的两份投递都得手",
        "src/kaguan/outbox/work/claiming.py",
        "row.token: row for row in await cursor.fetchall()}\n"
        "    if not claimed and not await gate_is_open(connection):\n        raise GateClosedError\n"
        "    return [claimed.get(token) for",
        "row.id: row for row in await cursor.fetchall()}\n    return [claimed.get(token.task_id) for",
        (SHARED + "::test_two_copies_of_a_delivery_claimed_in_one_batch_run_it_once",),
    ),
    Mutation(
        "认领不看状态",
        WORK + "claim.sql",
        "where t.status in ('pending', 'retrying') and",
        "where",
        (CLAIM_ID + "::test_a_claim_that_waited_for_a_cancellation_runs_nothing",),
    ),
    Mutation(
        "认领不计尝试",
        WORK + "claim.sql",
        "claim_id, attempt + 1,",
        "claim_id, attempt,",
        (DELIVERY + "::test_transient_failures_are_retried_five_times_then_failed_with_every_cause",),
    ),
    Mutation(
        "意向与写入不验令牌",
        "src/kaguan/outbox/work/fence.py",
        "if await cursor.fetchone() is None:",
        "if False:",
        (CLAIM_ID + "::test_the_zombie_of_a_lost_history_passes_no_fence_and_declares_nothing", STORIES),
    ),
    Mutation(
        "写入不与结算同一事务",
        "src/kaguan/outbox/work/fence.py",
        "self.pool.connection() as connection, connection.transaction():",
        "self.pool.connection() as connection:",
        (
            DELIVERY + "::test_effect_and_settlement_are_one_transaction",
            CORNERS + "::test_failing_write_costs_an_attempt_and_its_cause_is_kept",
        ),
        protocol=True,
    ),
    Mutation(
        "回音丢了就当令牌失效",
        "src/kaguan/outbox/work/settlement.py",
        "if now is not None and now[1:] == token and now[0] in expected:",
        "if False:",
        (CORNERS + "::test_settlement_repeated_after_a_lost_commit_reply_is_not_a_fenced_write",),
    ),
    # 租约与停机
    Mutation(
        "心跳不续租",
        WORK + "heartbeat.sql",
        "clock_timestamp() + make_interval(secs => %(lease)s)",
        "lease_until",
        (REDRIVE + "::test_heartbeat_renews_leases_and_tells_the_handler_when_one_is_lost",),
    ),
    Mutation(
        "交还不认令牌",
        WORK + "release.sql",
        "where w.task_id = h.task_id and w.delivery = h.delivery and w.claim_id = h.claim_id",
        "where w.task_id = h.task_id",
        (SIMULATION + "::test_a_stopping_zombie_does_not_take_the_task_from_its_heir",),
    ),
    Mutation(
        "停机不交还",
        "src/kaguan/outbox/work/leases.py",
        "tokens = [*self._held, *self._abandoned]",
        "tokens: list[Token] = []",
        (REDRIVE + "::test_stopping_worker_hands_back_at_once_and_the_attempt_is_not_counted",),
    ),
    # 重试、取消、受理
    Mutation(
        "重试不退避",
        "src/kaguan/flow/backoff.py",
        "jitter(0, exponential(attempt, base, cap))",
        "0.0",
        ("tests/unit/flow/test_backoff.py",),
    ),
    Mutation(
        "重试没有尽头",
        "src/kaguan/outbox/work/settlement.py",
        "case Retry(reason, delay) if attempt.attempt < attempt.max_attempts:",
        "case Retry(reason, delay):",
        (DELIVERY + "::test_transient_failures_are_retried_five_times_then_failed_with_every_cause",),
        protocol=True,
    ),
    Mutation(
        "运行中的取消被忘掉",
        "src/kaguan/outbox/operate/sql/cancel.sql",
        "coalesce(t.cancel_requested_at, clock_timestamp())",
        "t.cancel_requested_at",
        (DELIVERY + "::test_cancel_before_and_while_running",),
    ),
    Mutation(
        "要求过取消还重试",
        WORK + "settle_retry.sql",
        "cancel_requested_at is not null as unwanted",
        "false as unwanted",
        (CORNERS + "::test_cancel_asked_for_while_an_attempt_fails_is_not_forgotten",),
    ),
    Mutation(
        "成功的也能重来",
        "src/kaguan/outbox/vocabulary.py",
        "RETRYABLE = frozenset({TaskStatus.FAILED, TaskStatus.UNCERTAIN})",
        "RETRYABLE = frozenset({TaskStatus.FAILED, TaskStatus.UNCERTAIN, TaskStatus.SUCCEEDED})",
        (DELIVERY + "::test_what_has_succeeded_or_was_cancelled_cannot_be_retried",),
        protocol=True,
    ),
    Mutation(
        "同号不同文也当重复",
        "src/kaguan/outbox/accept/sql/outbox_accept.sql",
        "when first.payload = s.payload and",
        "when first.id is not null and",
        (DELIVERY + "::test_same_request_id_returns_the_first_task_and_another_body_is_refused",),
    ),
    Mutation(
        "失败与取消盖过先前的意向",
        "src/kaguan/outbox/work/settlement.py",
        "        if attempt.intended:\n            return",
        "        if False:\n            return",
        (UNCERTAIN + "::test_an_unknown_mail_ends_neither_failed_nor_cancelled",),
    ),
    Mutation(
        "一次决定抵几次",
        WORK + "last_decision.sql",
        "'uncertain', 'resend', 'to_verify', 'retried'",
        "'uncertain', 'retried'",
        (
            "tests/integration/mail/test_email_verify.py::test_one_decision_of_a_person_allows_one_more_mail_and_no_second",
        ),
    ),
    Mutation(
        "先寄、后记意向",
        "src/workers/email/transport.py",
        "declared = await declare()\n"
        "                return await self._deliver(session, envelope, declared) if declared else {}",
        "receipts = await self._deliver(session, envelope, list(envelope.recipients))\n"
        "                await declare()\n                return receipts",
        ("tests/integration/mail/test_email_transport.py", "tests/integration/mail/test_email_handler.py"),
    ),
    Mutation(
        "不记意向",
        "src/kaguan/outbox/work/sql/declare_intent.sql",
        "set intent_at = clock_timestamp()",
        "set intent_at = null",
        (UNCERTAIN + "::test_policy_hold_leaves_the_task_uncertain_and_mails_nobody_twice",),
        protocol=True,
    ),
    Mutation(
        "令牌失效的也凑着写",
        "src/kaguan/outbox/work/intents.py",
        "intent.write if intent.token in held else None",
        "intent.write",
        (
            "tests/integration/outbox/work/test_gathered.py::test_one_that_lost_its_task_declares_nothing_and_the_others_do",
        ),
    ),
    Mutation(
        "任务锁不认投递号",
        "src/kaguan/outbox/work/claiming.py",
        "if holder == str(delivery).encode():",
        "if holder is not None:",
        (
            REDRIVE + "::test_expired_lease_gives_the_task_to_another_and_the_zombie_changes_nothing",
            DELIVERY + "::test_transient_failures_are_retried_five_times_then_failed_with_every_cause",
        ),
    ),
    Mutation(
        "队头没完就放行下一个",
        "src/kaguan/outbox/order/sql/vacate.sql",
        "and not exists (\n          select from tb_task where",
        "and not exists (\n          select from tb_task where false and",
        (SURVIVORS + "::test_the_relay_does_not_release_the_next_while_the_head_is_not_done",),
    ),
)
