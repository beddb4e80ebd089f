"""隔离令牌的两半：每条语句少验一半。"""

from __future__ import annotations

from tests.model.mutation import CLAIM_ID, WORK, Mutation

SETTLES_NOTHING = CLAIM_ID + "::test_the_zombie_of_a_lost_history_settles_nothing"
DECLARES_NOTHING = CLAIM_ID + "::test_the_zombie_of_a_lost_history_passes_no_fence_and_declares_nothing"
RENEWS_NOTHING = CLAIM_ID + "::test_the_zombie_of_a_lost_history_neither_renews_nor_hands_back"
EARLIER_DELIVERY = CLAIM_ID + "::test_nothing_is_settled_by_the_holder_of_an_earlier_delivery"


def _without_delivery(what: str, statement: str) -> Mutation:
    check = " and t.delivery = %(delivery)s"
    return Mutation(f"{what}的结算不看投递号", f"{WORK}{statement}.sql", check, "", (EARLIER_DELIVERY,))


def _without_claim_id(what: str, statement: str, test: str, *, protocol: bool = True) -> Mutation:
    return Mutation(
        f"{what}不看认领号",
        f"{WORK}{statement}.sql",
        " and w.claim_id = %(claim_id)s",
        "",
        (test,),
        protocol=protocol,
    )


def _batch_without_claim_id(what: str, statement: str, alias: str, test: str) -> Mutation:
    check = f" and w.claim_id = {alias}.claim_id"
    return Mutation(f"{what}不看认领号", f"{WORK}{statement}.sql", check, "", (test,), protocol=True)


CLAIM_ID_MUTATIONS = (
    _without_claim_id("写入", "fence", DECLARES_NOTHING),
    _without_claim_id("进度", "progress", DECLARES_NOTHING),
    _without_claim_id("失败的结算", "settle_failed", SETTLES_NOTHING),
    # 不明的总记过一笔，核对因此换了投递号
    _without_claim_id("不明的结算", "settle_uncertain", SETTLES_NOTHING, protocol=False),
    _batch_without_claim_id("意向", "declare_intent", "asked", DECLARES_NOTHING),
    _batch_without_claim_id("成功的结算", "settle_done", "held", SETTLES_NOTHING),
    _batch_without_claim_id("重试的结算", "settle_retry", "held", SETTLES_NOTHING),
    _batch_without_claim_id("心跳", "heartbeat", "h", RENEWS_NOTHING),
    _batch_without_claim_id("交还", "release", "h", RENEWS_NOTHING),
    Mutation(
        "回音丢了不看认领号",
        "src/kaguan/outbox/work/settlement.py",
        "now[1:] == token",
        "now[1] == token[0]",
        (SETTLES_NOTHING,),
    ),
    Mutation(
        "结算不看投递号",
        WORK + "settle_done.sql",
        " and t.delivery = d.delivery",
        "",
        (CLAIM_ID + "::test_success_is_not_written_by_the_holder_of_an_earlier_delivery",),
    ),
    Mutation(
        "重试的结算不看投递号",
        WORK + "settle_retry.sql",
        " and t.delivery = d.delivery",
        "",
        (EARLIER_DELIVERY,),
    ),
    _without_delivery("失败", "settle_failed"),
    _without_delivery("不明", "settle_uncertain"),
    Mutation(
        "等锁之后抢走别人刚认领的",
        WORK + "claim.sql",
        "where w.lease_until is null or w.delivery <> excluded.delivery",
        "where true",
        (CLAIM_ID + "::test_a_claim_that_waited_for_another_does_not_take_it_over",),
    ),
)
