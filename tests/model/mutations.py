"""把协议的代码一处一处弄坏：每一处给出哪些用例该发觉。``old`` 在文件里必须恰好出现 ``count`` 次。"""

from __future__ import annotations

from dataclasses import dataclass

INBOX = "src/kaguan/inbox/sql/"
OUTBOX = "src/kaguan/outbox/sql/"
TASKS = "src/kaguan/tasks/sql/"
DELIVERY = "tests/integration/test_delivery.py"
REDRIVE = "tests/integration/test_redrive.py"
CORNERS = "tests/integration/test_protocol_corners.py"
SHARED = "tests/integration/test_shared_delivery.py"
ORDERING = "tests/integration/test_ordering.py"
UNCERTAIN = "tests/integration/test_email_uncertain.py"
RELAY = "tests/integration/test_fault_relay.py"
LIMITS = "tests/integration/test_fault_limits.py"
SIMULATION = "tests/integration/test_simulation.py"


@dataclass(frozen=True, slots=True)
class Mutation:
    """``protocol`` 的必须被模拟（任意交错）自己发觉；别的由 ``tests`` 里的用例发觉即可。"""

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]
    protocol: bool = False
    count: int = 1


MUTATIONS = (
    # 隔离令牌
    Mutation("认领不看投递号", INBOX + "claim.sql", "on t.id = w.task_id and t.delivery = w.delivery",
             "on t.id = w.task_id", (REDRIVE, SIMULATION)),
    Mutation("认领不看状态", INBOX + "claim.sql", "where t.status in ('pending', 'queued', 'retrying') and",
             "where", (DELIVERY, SHARED)),
    Mutation("认领不计尝试", INBOX + "claim.sql", "attempt = t.attempt + 1", "attempt = t.attempt", (DELIVERY,)),
    Mutation("意向与写入不验令牌", "src/workers/attempt.py", "if await cursor.fetchone() is None:", "if False:",
             (UNCERTAIN, REDRIVE, SIMULATION)),
    Mutation("成功的结算不验令牌", INBOX + "settle_done.sql",
             "on t.id = d.task_id and t.delivery = d.delivery and t.attempt = d.attempt", "on t.id = d.task_id",
             (REDRIVE, SIMULATION)),
    Mutation("重试的结算不验令牌", INBOX + "settle_retry.sql",
             "and delivery = %(delivery)s and attempt = %(attempt)s and status = 'running'", "",
             (CORNERS, REDRIVE), protocol=True),
    Mutation("失败的结算不验令牌", INBOX + "settle_failed.sql",
             "and delivery = %(delivery)s and attempt = %(attempt)s and status = 'running'", "",
             (REDRIVE, SIMULATION), protocol=True),
    Mutation("不明的结算不验令牌", INBOX + "settle_uncertain.sql",
             "and delivery = %(delivery)s and attempt = %(attempt)s and status = 'running'", "",
             (UNCERTAIN, SIMULATION), protocol=True),
    Mutation("写入不与结算同一事务", "src/workers/settlement.py",
             "async with self.pool.connection() as connection, connection.transaction():\n"
             "                return await _settle_with",
             "async with self.pool.connection() as connection:\n                return await _settle_with",
             (DELIVERY, CORNERS), protocol=True),
    Mutation("回音丢了就当令牌失效", "src/workers/settlement.py",
             "if now == (status, attempt.delivery + bumped, counted):", "if False:", (CORNERS,)),
    # 转交
    Mutation("先标记并提交、后入队", "src/relay/forward.py",
             "            results = await saq.enqueue_many(",
             "            await store.mark_handed_over(connection, [(row, p.job) for p in parcels for row in p.rows])\n"
             "            await connection.commit()\n"
             "            results = await saq.enqueue_many(", (DELIVERY,)),
    Mutation("没入队也当作交出", "src/relay/forward.py", "(unproven if result is None else handed)", "(handed)",
             (DELIVERY, CORNERS, REDRIVE, SIMULATION)),
    Mutation("两个 relay 取同样的行", OUTBOX + "fetch.sql", "    for update skip locked\n", "", (DELIVERY, RELAY)),
    Mutation("标记不看状态", OUTBOX + "handed_over.sql", "where t.status in ('pending', 'retrying')", "where true",
             (DELIVERY, SIMULATION), protocol=True),
    Mutation("搁置的行照样交出", OUTBOX + "fetch.sql", "parked_at is null and", "", (REDRIVE,)),
    Mutation("高水位不算数", "src/relay/forward.py", "self.config.high_water - n", "self.config.high_water",
             (DELIVERY,)),
    Mutation("门铃不响", "src/kaguan/outbox/doorbell.py", 'await connection.execute(f"notify {CHANNEL}")', "pass",
             (RELAY,)),
    # 重投
    Mutation("纪元变了也不管", "src/relay/epoch.py", "if recorded == here:", "if True:", (REDRIVE, CORNERS)),
    Mutation("先记下纪元、后重投", "src/relay/epoch.py", "        count = await self._redrive_before(row[0])",
             "        async with self.pool.connection() as connection:\n"
             "            await store.set_epoch(connection, here)\n"
             "        count = await self._redrive_before(row[0])", (SIMULATION,)),
    Mutation("核对了也不重投", "src/relay/redrive.py", "if missing:", "if False:", (REDRIVE,), protocol=True),
    Mutation("被取走而没人认领的不管", "src/relay/redrive.py", "if overdue:", "if False:", (CORNERS,), protocol=True),
    Mutation("核对不认得同乘的投递", "src/relay/redrive.py", "return task.job or delivery_key",
             "return delivery_key", (SHARED,)),
    Mutation("租约到期没人收", OUTBOX + "redrive_expired.sql", "and lease_until < clock_timestamp()",
             "and lease_until = '-infinity'", (REDRIVE,), protocol=True),
    Mutation("收回不换投递号", OUTBOX + "redrive_expired.sql", "delivery = t.delivery + 1", "delivery = t.delivery",
             (REDRIVE,), protocol=True),
    Mutation("收回不看意向", OUTBOX + "redrive_expired.sql",
             "when intent_at is null or type = any(%(resend_types)s::text[]) then", "when true then",
             (UNCERTAIN, REDRIVE), protocol=True),
    Mutation("毒丸盖过意向", OUTBOX + "redrive_expired.sql",
             "then case when intent_at is null then 'failed' else 'uncertain' end", "then 'failed'", (SIMULATION,)),
    Mutation("毒丸从不搁置", OUTBOX + "redrive_expired.sql", "lost_leases + 1 >= %(max_lost)s",
             "lost_leases + 1 >= %(max_lost)s + 1000", (REDRIVE,)),
    Mutation("收回也计尝试", OUTBOX + "redrive_expired.sql", "then greatest(t.attempt - 1, 0) else",
             "then t.attempt else", (REDRIVE,)),
    Mutation("重投不看状态", OUTBOX + "redrive.sql", "where t.status = 'queued'", "where true", (REDRIVE,)),
    Mutation("重投不留痕", OUTBOX + "redrive.sql",
             "select id, 'redriven', attempt, delivery, jsonb_build_object('cause', %(cause)s::text)\n    from moved",
             "select id, 'redriven', attempt, delivery, jsonb_build_object('cause', %(cause)s::text)\n    from moved"
             " where false", (REDRIVE, SIMULATION), protocol=True),
    Mutation("不扫描孤儿", OUTBOX + "orphans.sql", "and not exists (select from tb_outbox", "and false and not exists"
             " (select from tb_outbox", (REDRIVE,)),
    # 租约与停机
    Mutation("心跳不续租", INBOX + "heartbeat.sql", "clock_timestamp() + make_interval(secs => %(lease)s)",
             "t.lease_until", (REDRIVE,)),
    Mutation("心跳不认令牌", INBOX + "heartbeat.sql",
             "    where t.worker = %(worker)s and t.status = 'running'", "    where t.status = 'running' or"
             " %(worker)s = ''", (REDRIVE, SIMULATION)),
    Mutation("交还不认令牌", INBOX + "release.sql",
             "        on t.id = h.task_id and t.delivery = h.delivery\n    where t.worker = %(worker)s and",
             "        on t.id = h.task_id\n    where %(worker)s <> '' and", (SIMULATION,)),
    Mutation("停机不交还", "src/workers/leases.py", "return await self._hand_back([*self._held, *self._abandoned])",
             "return 0", (REDRIVE, SHARED)),
    # 重试、取消、受理
    Mutation("重试不退避", "src/kaguan/tasks/backoff.py", "uniform(0, ceiling)", "uniform(0, 0)",
             ("tests/unit/test_backoff.py",)),
    Mutation("重试没有尽头", "src/workers/settlement.py",
             "case Retry(reason, delay) if attempt.attempt < attempt.max_attempts:", "case Retry(reason, delay):",
             (DELIVERY,), protocol=True),
    Mutation("运行中的取消被忘掉", TASKS + "cancel.sql", "coalesce(t.cancel_requested_at, clock_timestamp())",
             "t.cancel_requested_at", (DELIVERY,)),
    Mutation("要求过取消还重试", INBOX + "settle_retry.sql", "cancel_requested_at is not null as unwanted",
             "false as unwanted", (CORNERS,)),
    Mutation("成功的也能重来", TASKS + "retry.sql", "target.status in ('failed', 'uncertain')",
             "target.status in ('failed', 'uncertain', 'succeeded')", (DELIVERY, SIMULATION), protocol=True),
    Mutation("同号不同文也当重复", "src/kaguan/tasks/service.py",
             "if first is None or first.fingerprint != item.fingerprint:", "if first is None:", (DELIVERY,)),
    Mutation("先寄、后记意向", "src/workers/email/transport.py", "declared = await declare()\n"
             "            return await session.deliver(envelope, declared) if declared else {}",
             "receipts = await session.deliver(envelope, list(envelope.recipients))\n"
             "            await declare()\n            return receipts",
             ("tests/integration/test_email_transport.py", "tests/integration/test_email_handler.py")),
    Mutation("不记意向", "src/workers/attempt.py", 'await connection.execute(load("kaguan.inbox", "declare_intent")'
             ", self.token)", "pass", (UNCERTAIN, DELIVERY), protocol=True),
    Mutation("任务锁不认投递号", "src/workers/guard.py", "repeated: bool = mark in {holder, settled}",
             "repeated: bool = holder is not None or settled is not None", (DELIVERY, REDRIVE)),
    Mutation("队头没完就放行下一个", TASKS + "ordering_vacate.sql", "and not exists (\n"
             "          select from tb_task t where", "and not exists (\n          select from tb_task t"
             " where false and", (ORDERING,)),
)  # fmt: skip
