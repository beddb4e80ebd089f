"""转交与重投。"""

from __future__ import annotations

from tests.model.mutation import (
    CORNERS,
    DELIVERY,
    ORDERING,
    REDRIVE,
    SHARED,
    SIMULATION,
    STORIES,
    STORIES_HELD,
    SURVIVORS,
    UNCERTAIN,
    WORK,
    Mutation,
)

GUESTS = "tests/integration/outbox/accept/"
LEASES = "tests/integration/outbox/work/test_leases.py"
VERIFIED = "tests/integration/mail/test_email_verify.py"
REDIS_FAILOVER = (
    "tests/integration/outbox/recover/test_fault_redis.py"
    "::test_a_failover_that_loses_its_tail_loses_no_task_and_repeats_no_effect"
)


PAUSES = "tests/integration/outbox/operate/test_pauses.py"
HANDED_BEFORE = PAUSES + "::test_what_was_handed_over_already_does_not_start_and_keeps_its_attempts"
WAITS_VISIBLY = PAUSES + "::test_what_is_paused_waits_visibly_and_the_rest_goes_on"

OUTBOX_MUTATIONS = (
    # 暂停
    Mutation(
        "停着的也认领",
        WORK + "claim.sql",
        "      and (select 1 from tb_pause p where {{holding}} limit 1) is null\n",
        "",
        (HANDED_BEFORE,),
    ),
    Mutation(
        "停着的照样交出",
        "src/kaguan/outbox/deliver/sql/fetch.sql",
        "pause.id as pause",
        "null::uuid as pause",
        (WAITS_VISIBLY,),
    ),
    Mutation(
        "停着的放回去而不搁着",
        WORK + "set_back.sql",
        "principal, until,",
        "principal, clock_timestamp(),",
        (HANDED_BEFORE,),
    ),
    Mutation(
        "放回停着的不留痕",
        WORK + "set_back.sql",
        'attempt, delivery, \'{"cause": "paused"}\' from moved',
        'attempt, delivery, \'{"cause": "paused"}\' from moved where false',
        (HANDED_BEFORE, STORIES_HELD),
        protocol=True,
    ),
    Mutation(
        "恢复了不放行",
        "src/kaguan/outbox/operate/pauses.py",
        "    await pausing.let_go(connection, pause_id)",
        "    await pausing.held(connection)",
        (WAITS_VISIBLY,),
    ),
    # 转交
    Mutation(
        "先标记并提交、后入队",
        "src/kaguan/outbox/deliver/forward.py",
        "            results = await enqueue_many(",
        "            await mark_queued(connection, deliveries)\n"
        "            await connection.commit()\n"
        "            results = await enqueue_many(",
        (DELIVERY + "::test_redis_out_of_memory_marks_nothing", DELIVERY + "::test_redis_away_marks_nothing"),
    ),
    Mutation(
        "没入队也当作交出",
        "src/kaguan/outbox/deliver/forward.py",
        "strict=True) if queued]\n",
        "strict=True)]\n",
        (DELIVERY, CORNERS, REDRIVE),
    ),
    Mutation(
        "两个 relay 取同样的行",
        "src/kaguan/outbox/deliver/sql/fetch.sql",
        "    for update skip locked\n",
        "",
        (DELIVERY + "::test_two_relays_hand_over_each_row_once",),
        count=2,
    ),
    Mutation(
        "标记不看状态",
        "src/kaguan/outbox/deliver/sql/handed_over.sql",
        "where t.status in ('pending', 'retrying')",
        "where true",
        (STORIES, DELIVERY),
        protocol=True,
    ),
    Mutation(
        "搁置的行照样交出",
        "src/kaguan/outbox/deliver/sql/fetch.sql",
        "parked_at is null and",
        "",
        (SURVIVORS + "::test_a_row_set_aside_is_not_handed_over_until_it_is_taken_up_again",),
        count=2,
    ),
    Mutation(
        "高水位不算数",
        "src/kaguan/outbox/deliver/forward.py",
        "self.most - len(self._sizes)",
        "self.most",
        ("tests/unit/outbox/test_forward_window.py::test_deliveries_are_capped_however_many_tasks_would_fit",),
    ),
    Mutation(
        "门铃不响",
        "src/kaguan/outbox/accept/doorbell.py",
        'await self._redis.publish(key(self._redis, DOORBELL), b"")',
        "pass",
        (SURVIVORS + "::test_a_ring_goes_out",),
    ),
    # 客人的事务
    Mutation(
        "受理看调用者的 search_path",
        "src/kaguan/outbox/accept/sql/outbox_accept.sql",
        "    execute 'alter function outbox_accept(jsonb) set search_path",
        "    perform 'alter function outbox_accept(jsonb) set search_path",
        (
            "tests/integration/outbox/accept/test_contract.py::test_tables_are_found_whatever_the_search_path_of_the_caller",
        ),
    ),
    Mutation(
        "保存点一放就报提交",
        "src/kaguan/outbox/accept/joining.py",
        "        if session.in_nested_transaction():",
        "        if False:",
        (GUESTS + "test_drivers.py::test_only_what_a_session_commits_is_told_of_whatever_became_of_its_savepoints",),
    ),
    Mutation(
        "回滚了的也报提交",
        "src/kaguan/outbox/accept/joining.py",
        "if not _within(one[0], ended)]",
        "if True]",
        (GUESTS + "test_drivers.py::test_only_what_a_session_commits_is_told_of_whatever_became_of_its_savepoints",),
    ),
    # 重投
    Mutation(
        "纪元变了也不管",
        "src/kaguan/outbox/recover/epoch.py",
        "if is_same:",
        "if True:",
        (REDRIVE + "::test_flushed_redis_is_noticed_by_its_epoch_and_everything_comes_back",),
    ),
    Mutation(
        "切换了主也不管",
        "src/kaguan/outbox/recover/epoch.py",
        "and known ~= history then",
        "and false then",
        (REDIS_FAILOVER,),
    ),
    Mutation(
        "先记下纪元、后重投",
        "src/kaguan/outbox/recover/epoch.py",
        "        count = await self._redrive_forgotten()",
        "        async with self.pool.connection() as connection:\n"
        "            await history.set_epoch(connection, here)\n"
        "        count = await self._redrive_forgotten()",
        (SIMULATION + "::test_an_epoch_redrive_killed_halfway_is_taken_up_by_the_next_relay",),
    ),
    Mutation(
        "核对了也不重投",
        "src/kaguan/outbox/recover/redrive.py",
        "if missing:",
        "if False:",
        (REDRIVE + "::test_job_that_saq_forgot_is_redriven_and_one_it_knows_is_not",),
        protocol=True,
    ),
    Mutation(
        "被取走而没人认领的不管",
        "src/kaguan/outbox/recover/redrive.py",
        "return missing + self._long_taken(taken)",
        "return missing",
        (CORNERS + "::test_job_popped_by_a_worker_that_died_before_starting_it_comes_back",),
        protocol=True,
    ),
    Mutation(
        "核对不认得同乘的投递",
        "src/kaguan/outbox/deliver/in_redis.py",
        "return task.job or delivery_key",
        "return delivery_key",
        (SHARED + "::test_a_forgotten_shared_delivery_comes_back_and_a_live_one_stays",),
    ),
    Mutation(
        "租约到期没人收",
        "src/kaguan/outbox/recover/sql/redrive_expired.sql",
        "where w.lease_until between lapsed.since and lapsed.until",
        "where w.lease_until = '-infinity'",
        (REDRIVE + "::test_expired_lease_gives_the_task_to_another_and_the_zombie_changes_nothing",),
        protocol=True,
    ),
    Mutation(
        "收回不换投递号",
        "src/kaguan/outbox/recover/sql/redrive_expired.sql",
        "delivery = t.delivery + 1",
        "delivery = t.delivery",
        (
            REDRIVE + "::test_zombie_that_wakes_while_the_heir_is_running_changes_nothing",
            REDRIVE + "::test_expired_lease_gives_the_task_to_another_and_the_zombie_changes_nothing",
        ),
        protocol=True,
    ),
    Mutation(
        "收回不看意向",
        "src/kaguan/outbox/recover/sql/redrive_expired.sql",
        "when t.intent_at is null or %(redelivered)s::jsonb ? t.type then",
        "when true then",
        (UNCERTAIN + "::test_policy_hold_leaves_the_task_uncertain_and_mails_nobody_twice",),
        protocol=True,
    ),
    Mutation(
        "毒丸盖过意向",
        "src/kaguan/outbox/recover/sql/redrive_expired.sql",
        "then case when t.intent_at is null then 'failed' else 'uncertain' end",
        "then 'failed'",
        (SIMULATION + "::test_a_mail_that_may_be_out_is_never_called_failed_or_cancelled",),
    ),
    Mutation(
        "毒丸从不搁置",
        "src/kaguan/outbox/recover/sql/redrive_expired.sql",
        "lost_leases + 1 >= %(max_lost)s",
        "lost_leases + 1 >= %(max_lost)s + 1000",
        (REDRIVE + "::test_task_that_keeps_killing_its_worker_is_parked_and_others_flow",),
    ),
    Mutation(
        "几个嫌疑同在一个进程",
        "src/kaguan/outbox/work/sql/claim.sql",
        "when lost_leases < %(suspect)s or (",
        "when true or (",
        (LEASES + "::test_of_two_suspects_a_worker_takes_one_and_the_other_comes_later_uncounted",),
    ),
    Mutation(
        "手里已有嫌疑还再拿",
        "src/kaguan/outbox/work/sql/claim.sql",
        "where h.worker = %(worker)s",
        "where h.worker is null",
        (LEASES + "::test_while_a_suspect_is_in_hand_others_are_given_back_and_the_rest_is_done",),
    ),
    Mutation(
        "并发的认领各拿一个嫌疑",
        "src/kaguan/outbox/work/claiming.py",
        "room = not choosing.locked()",
        "room = True",
        (LEASES + "::test_of_two_claims_at_once_only_one_takes_a_suspect",),
    ),
    Mutation(
        "停顿就当持有者死了",
        "src/kaguan/outbox/recover/sql/redrive_expired.sql",
        "%(grace)s::float8 = 0 or",
        "true or",
        (
            REDRIVE + "::test_after_a_stall_the_living_get_one_lease_to_renew_and_the_dead_are_taken_back",
            REDRIVE + "::test_a_look_that_hung_in_the_stall_itself_takes_nothing_from_the_living",
        ),
    ),
    Mutation(
        "收下过就当都收下了",
        "src/workers/email/verifying.py",
        "return letter if len(letter) == 1 else None",
        "return letter",
        (VERIFIED + "::test_an_answer_that_does_not_say_for_whom_settles_no_letter_to_several",),
    ),
    Mutation(
        "收回也计尝试",
        "src/kaguan/outbox/recover/sql/redrive_expired.sql",
        "then greatest(e.attempt - 1, 0) else",
        "then e.attempt else",
        (REDRIVE + "::test_stopping_worker_hands_back_at_once_and_the_attempt_is_not_counted",),
    ),
    Mutation(
        "重投不看状态",
        "src/kaguan/outbox/fragments.toml",
        " and (w.lease_until is null) = (select true)",
        "",
        (SURVIVORS + "::test_redrive_leaves_alone_what_was_claimed_meanwhile",),
    ),
    Mutation(
        "重投不留痕",
        "src/kaguan/outbox/recover/sql/redrive.sql",
        "select id, 'redriven', attempt, delivery, jsonb_build_object('cause', %(cause)s::text)\n    from moved",
        "select id, 'redriven', attempt, delivery, jsonb_build_object('cause', %(cause)s::text)\n    from moved"
        " where false",
        (REDRIVE + "::test_flushed_redis_is_noticed_by_its_epoch_and_everything_comes_back", STORIES_HELD),
        protocol=True,
    ),
    Mutation(
        "不扫描孤儿",
        "src/kaguan/outbox/recover/sql/orphan_page.sql",
        "and not exists (select from tb_outbox",
        "and false and not exists (select from tb_outbox",
        (REDRIVE + "::test_waiting_task_without_outbox_row_gets_one",),
    ),
    Mutation(
        "没交出的也认领",
        WORK + "claim.sql",
        "          (select 1 from tb_work w where w.task_id = t.id and w.delivery = t.delivery) is not null\n",
        "          true\n",
        (ORDERING + "::test_a_delivery_from_a_lost_history_does_not_overtake_the_head",),
        protocol=True,
    ),
    Mutation(
        "拦着的不等人定夺",
        "src/kaguan/outbox/fragments.toml",
        " or ordering_holds and status in ('failed', 'uncertain'))",
        ")",
        (ORDERING + "::test_a_head_that_holds_lets_nobody_go_until_a_person_decides",),
        protocol=True,
    ),
    Mutation(
        "还拦着键的也过期",
        "src/kaguan/outbox/operate/sql/expire_tasks.sql",
        "status <> 'failed' or ordering_holds is null",
        "true",
        (ORDERING + "::test_a_head_that_holds_does_not_expire",),
    ),
    Mutation(
        "搁置盖过意向",
        "src/kaguan/outbox/deliver/sql/park.sql",
        "case when t.intent_at is null then 'failed' else 'uncertain' end",
        "'failed'",
        (REDRIVE + "::test_a_poison_pill_that_may_have_made_its_call_is_uncertain_and_never_called_failed",),
    ),
)
