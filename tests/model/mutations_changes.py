"""在运营商那里改卡：意向、查证、只发一次、宽限、回执、次序。"""

from __future__ import annotations

from tests.model.mutation import Mutation

CHANGING = "tests/integration/sims/test_changing.py"
REQUESTS = "tests/integration/sims/test_change_requests.py"
CONTRACT = "tests/contracts/test_carriers_changing.py"
HANDLER = "src/workers/sim/changing.py"

CHANGE_MUTATIONS = (
    Mutation(
        "改卡的连接断了，客户端库自己再发一遍",
        "src/kaguan/carriers/guarded.py",
        "middlewares=(_never_again,) if request.once else None",
        "middlewares=None",
        (CONTRACT + "::test_a_lost_answer_is_one_request_and_the_carrier_can_be_asked",),
    ),
    Mutation(
        "运营商说没有这回事就当场信",
        HANDLER,
        "return NotHappened() if waited > self.desk.config.change_grace else None",
        "return NotHappened()",
        (CHANGING + "::test_a_carrier_is_not_believed_before_what_is_on_its_way_has_had_its_time",),
    ),
    Mutation(
        "没有回音的当作没做成，再来一次",
        HANDLER,
        'return Uncertain(Reason("sims.change_unanswered", {"reason": error.reason}))',
        'return Retry(Reason("sims.change_unanswered", {"reason": error.reason}))',
        (CHANGING + "::test_whatever_the_carrier_does_a_card_is_changed_once",),
    ),
    Mutation(
        "收下了没做完的，不留意向",
        HANDLER,
        "        attempt.intended = True  # 做了没有，还不知道：意向留着，下一次先问\n",
        "",
        (CHANGING + "::test_whatever_the_carrier_does_a_card_is_changed_once",),
    ),
    Mutation(
        "收下了就算做成，不看一眼",
        HANDLER,
        "case OrderSeen(stage=Stage.DONE):\n                return self.desk.done(",
        "case OrderSeen():\n                return self.desk.done(",
        (CHANGING + "::test_a_change_that_is_underway_is_not_called_done",),
    ),
    Mutation(
        "对方还在做，就当没做过",
        "src/kaguan/outbox/work/verification.py",
        "return Snooze(reason, effect, delay)  # 意向留着：下一次还是先问",
        "attempt.intended = False",
        (CHANGING + "::test_a_change_that_is_underway_is_not_called_done",),
    ),
    Mutation(
        "不同的人要求的各排各的",
        "src/kaguan/sims/changes.py",
        "principal=CHANGING,",
        "principal=str(change_id),",
        (REQUESTS + "::test_a_card_with_a_change_ahead_is_judged_by_what_it_will_be_and_waits",),
    ),
    Mutation(
        "凭据之外的也改",
        "src/kaguan/sims/changes.py",
        '"iccids": [verdict.iccid for verdict in planned.changing]}\n    return packed',
        '"iccids": [verdict.iccid for verdict in planned.verdicts]}\n    return packed',
        (REQUESTS + "::test_what_was_seen_is_what_is_done",),
    ),
    Mutation(
        "受理时不锁卡",
        "src/kaguan/sims/changes.py",
        '    await connection.execute(load(PACKAGE, "change_lock"), {"iccids": list(wanted.iccids)})\n',
        "",
        (REQUESTS + "::test_two_requests_at_once_for_one_card_see_each_other",),
    ),
    Mutation(
        "更早的一次也算这一次做的",
        "src/kaguan/carriers/control_center.py",
        "if named and entry.effectiveDate > order.since:",
        "if named:",
        (CONTRACT + "::test_what_was_done_and_then_undone_is_found_in_the_audit_history",),
    ),
    Mutation(
        "人说了究竟怎样，回执不跟着",
        "migrations/versions/0100_initial.py",
        "when new.status in ('succeeded', 'uncertain') then new.status",
        "when new.status in ('uncertain') then new.status",
        (CHANGING + "::test_what_nobody_can_tell_is_a_doubt_until_a_person_says_what_happened",),
    ),
)
