"""PostgreSQL 的历史断了。"""

from __future__ import annotations

from tests.model.mutation import OUTBOX, WORKER, Mutation

HISTORY = "tests/integration/history/test_history_cut.py"
VANISHED = "tests/integration/history/test_vanished.py"
GATE = (
    "(select incarnation is null or incarnation = pg_postmaster_start_time() from tb_broker where id = 1) is not false"
)
WAITS = (HISTORY + "::test_nothing_is_claimed_handed_over_or_decided_before_the_new_start_is_looked_at",)
RELAY = "src/kaguan/outbox/relay/history.py"

HISTORY_MUTATIONS = (
    Mutation("没有核对也认领", WORKER + "claim.sql", f"and {GATE}", "", WAITS),
    Mutation("没有核对也交出", OUTBOX + "fetch.sql", f"where {GATE}", "", WAITS),
    Mutation("没有核对也收回租约", OUTBOX + "redrive_expired.sql", f"and {GATE}", "", WAITS),
    Mutation("没有核对也重投", OUTBOX + "redrive.sql", f"(%(settling)s or {GATE})", "(%(settling)s or true)", WAITS),
    Mutation(
        "外部调用之前不记",
        "src/kaguan/outbox/worker/attempt.py",
        "await self.calls.note(self.task_id, self.delivery)",
        "pass",
        (HISTORY + "::test_without_redis_no_call_is_made_and_the_attempt_is_given_back_uncounted",),
    ),
    Mutation(
        "Redis 丢过数据也信它记着的",
        RELAY,
        "is_trusted = mark is not None and same_redis and await self._is_complete(recorded, mark)",
        "is_trusted = True",
        (HISTORY + "::test_notes_that_may_be_incomplete_put_every_due_mail_in_doubt",),
    ),
    Mutation(
        "结局还记得的也疑",
        OUTBOX + "doubt.sql",
        "and n.delivery >= t.delivery",
        "",
        (HISTORY + "::test_a_failed_attempt_that_is_known_leaves_no_doubt_behind",),
    ),
    Mutation(
        "不看水位",
        RELAY,
        "is_behind = mark is not None and mark.watermark > recorded.watermark",
        "is_behind = False",
        (HISTORY + "::test_a_database_set_back_on_the_same_timeline_is_behind_the_watermark",),
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
        OUTBOX + "vanish.sql",
        "where not exists",
        "where false and not exists",
        (VANISHED + "::test_what_postgresql_forgot_is_named_with_its_request_and_never_called_a_duplicate",),
    ),
)
