"""PostgreSQL 的历史断了。"""

from __future__ import annotations

from tests.model.mutation import WORK, Mutation

HISTORY = "tests/integration/outbox/recover/test_history_cut.py"
VANISHED = "tests/integration/outbox/recover/test_vanished.py"
GATE = "{{gate_is_open}}"
WAITS = (HISTORY + "::test_nothing_is_claimed_handed_over_or_decided_before_the_new_start_is_looked_at",)
RELAY = "src/kaguan/outbox/recover/history.py"
HELD_BACK = (HISTORY + "::test_what_a_holder_writes_waits_for_the_reconciliation_and_its_lease_is_not_lost",)


def _ungated(what: str, statement: str, *, protocol: bool = True) -> Mutation:
    return Mutation(f"没有核对也{what}", f"{WORK}{statement}.sql", f"and {GATE}", "", HELD_BACK, protocol=protocol)


HISTORY_MUTATIONS = (
    Mutation("没有核对也认领", WORK + "claim.sql", f"and {GATE}", "", WAITS, protocol=True),
    Mutation("没有核对也交出", "src/kaguan/outbox/deliver/sql/fetch.sql", f"where {GATE}", "", WAITS, protocol=True),
    Mutation(
        "没有核对也收回租约",
        "src/kaguan/outbox/recover/sql/redrive_expired.sql",
        f"and {GATE}",
        "",
        WAITS,
        protocol=True,
    ),
    Mutation(
        "没有核对也重投",
        "src/kaguan/outbox/recover/sql/redrive.sql",
        f"(%(while_closed)s or {GATE})",
        "(%(while_closed)s or true)",
        WAITS,
        protocol=True,
    ),
    _ungated("写入", "fence"),
    _ungated("记意向", "declare_intent"),
    _ungated("结算成功", "settle_done"),
    _ungated("结算重试", "settle_retry"),
    _ungated("结算失败", "settle_failed"),
    _ungated("结算不明", "settle_uncertain", protocol=False),  # 同上
    Mutation(
        "等核对的当作令牌失效",
        "src/kaguan/outbox/work/fence.py",
        "if now == (TaskStatus.RUNNING, self.token.delivery, self.token.claim_id):",
        "if False:",
        HELD_BACK,
    ),
    Mutation(
        "没有核对也答人的要求",
        "src/kaguan/outbox/recover/gate.py",
        "    if not await gate_is_open(connection):\n        raise GateClosedError",
        "",
        (HISTORY + "::test_what_a_person_asks_for_before_the_reconciliation_is_answered_as_if_the_database_were_away",),
        protocol=True,
    ),
    Mutation(
        "已有意向的不再疑",
        "src/kaguan/outbox/recover/sql/doubt.sql",
        "else n.delivery >= v.delivery",
        "else n.delivery >= v.delivery and v.intent_at is null",
        (HISTORY + "::test_a_waiting_mail_gets_a_mark_whatever_its_intent_says_and_one_for_each_note",),
        protocol=True,
    ),
    Mutation(
        "正在跑的一律留给持有者",
        "src/kaguan/outbox/recover/sql/doubt.sql",
        "when v.status = 'running' and n.delivery = v.delivery then 'running'",
        "when v.status = 'running' then 'running'",
        (HISTORY + "::test_a_holder_that_was_succeeded_in_the_tail_is_relieved_and_the_mail_is_in_doubt",),
        protocol=True,
    ),
    Mutation(
        "记着的不可信也留给持有者",
        "src/kaguan/outbox/recover/sql/doubtful_due.sql",
        "is null then 0 else 1",
        "is null then 0 else 0",
        (HISTORY + "::test_without_trusted_notes_nobody_knows_whether_a_holder_was_succeeded",),
        protocol=True,
    ),
    Mutation(
        "失败之后有人让它重来过的不管",
        "src/kaguan/outbox/recover/sql/doubt.sql",
        "when v.status in ('failed', 'uncertain') then n.delivery > v.delivery",
        "when v.status in ('failed', 'uncertain') then false",
        (
            HISTORY
            + "::test_an_ended_mail_that_a_person_revived_in_the_tail_is_in_doubt_and_one_that_ended_there_is_not",
        ),
        protocol=True,
    ),
    Mutation(
        "外部调用之前不记",
        "src/kaguan/outbox/work/intents.py",
        "await self.calls.note(connection, [token[:2] for token in tokens])",
        "pass",
        (HISTORY + "::test_without_redis_no_call_is_made_and_the_attempt_is_given_back_uncounted",),
        protocol=True,
    ),
    Mutation(
        "Redis 丢过数据也信它记着的",
        RELAY,
        "is_trusted = mark is not None and same_redis and await self._is_complete(recorded, mark)",
        "is_trusted = True",
        (HISTORY + "::test_notes_that_may_be_incomplete_put_every_due_mail_in_doubt",),
        protocol=True,
    ),
    Mutation(
        "结局还记得的也疑",
        "src/kaguan/outbox/recover/sql/doubt.sql",
        "else n.delivery >= v.delivery",
        "else true",
        (HISTORY + "::test_a_failed_attempt_that_is_known_leaves_no_doubt_behind",),
    ),
    Mutation(
        "不看水位",
        RELAY,
        "is_behind = mark is not None and mark.watermark > recorded.watermark",
        "is_behind = False",
        (HISTORY + "::test_a_database_set_back_on_the_same_timeline_is_behind_the_watermark",),
        protocol=True,
    ),
    Mutation(
        "认下之后水位还落后",
        "src/kaguan/outbox/recover/sql/open_gate.sql",
        "greatest(forwarded_at, %(ahead)s)",
        "forwarded_at",
        (HISTORY + "::test_a_database_set_back_on_the_same_timeline_is_behind_the_watermark",),
        protocol=True,
    ),
    Mutation(
        "没核对完就认下",
        RELAY,
        "raise TimeoutError  # 都被人锁着：过一会儿从头再来",
        "return total",
        (HISTORY + "::test_a_reconciliation_stopped_halfway_leaves_the_gate_shut_and_the_next_goes_on",),
    ),
    Mutation(
        "不见了的也当作重复",
        "src/kaguan/outbox/recover/sql/vanish.sql",
        "where t.id is null",
        "where false",
        (VANISHED + "::test_what_postgresql_forgot_is_named_with_its_request_and_never_called_a_duplicate",),
        protocol=True,
    ),
)
