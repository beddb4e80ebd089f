"""裁判：只看库、邮局与客户端得到的答复。每条不变量一个查询，返回违反者。"""

from __future__ import annotations

from kaguan.config.model import UncertainPolicy
from tests.simulation.world import World

# I6：除了最后一代，每一代投递都有一条事件说明它怎么没的。结算写旧的投递号，收回与重来写新的
UNEXPLAINED = """
select t.id::text
from vw_task t
cross join generate_series(1, t.delivery - 1) as generation
where not exists (
    select from tb_task_event e
    where e.task_id = t.id
      and (
          (e.delivery = generation and e.kind in ('attempt_failed', 'interrupted', 'resend', 'to_verify'))
          or (e.delivery = generation + 1 and (e.detail ? 'cause' or e.kind = 'retried'))
          or (e.delivery > generation and e.detail->>'cause' = 'history_cut') -- 忘了的那段用过的号都越过去
      )
)
"""
RULES = {
    "I1 没有着落": "select id::text from vw_task where status not in ('succeeded', 'failed', 'cancelled', 'uncertain')",
    "I2 成功而没有恰好生效一次": """
        select t.id::text from vw_task t
        where t.type = 'sim:status_sync' and t.status = 'succeeded'
          and (select count(*) from sim_ledger l where l.task_id = t.id) <> 1
    """,
    "I2 没有成功却生效了": """
        select l.task_id::text from sim_ledger l join vw_task t on t.id = l.task_id
        where t.status <> 'succeeded' or t.type <> 'sim:status_sync'
    """,
    "I4 实体与任务只有一半": """
        select coalesce(e.request_id, t.request_id)
        from sim_entity e full join (select request_id from vw_task where principal = 'entity') t using (request_id)
        where e.request_id is null or t.request_id is null
    """,
    "I6 投递号变了而没有事件": UNEXPLAINED,
    "I6 失败而没有原因": "select id::text from vw_task where status = 'failed' and last_error is null",
    "残留的手里的活": "select task_id::text from tb_work",
    "残留的发件箱行": """
        select o.task_id::text from tb_outbox o join vw_task t on t.id = o.task_id
        where o.parked_at is null
    """,
    "过了保留期还在": """
        select id::text from vw_task where finished_at < now() - interval '399 days'
        union all select key from tb_ordering where updated_at < now() - interval '399 days'
        union all select key from tb_idempotency_key where expires_at < now()
        union all select action from tb_audit where at < now() - interval '399 days'
    """,
    "没有任务的附属行": """
        select task_id::text
        from (
            select task_id from tb_task_event
            union select task_id from tb_email_delivery
            union select task_id from tb_outbox
        ) as attached
        where not exists (select from vw_task t where t.id = attached.task_id)
    """,
    "计划推进了而任务不齐": """
        select name from tb_schedule
        where next_due_at <= now()
           or (select count(*) from vw_task where principal = 'schedule')
              <> case when last_fired_at is null then 0 else 2 end
    """,
}
MARKS = """
select
    t.id::text, t.status, count(e.id) filter (where e.kind in ('uncertain', 'resend', 'to_verify')),
    count(e.id) filter (where e.kind = 'cancelled' and e.actor is not null) > 0
from tb_task t left join tb_task_event e on e.task_id = t.id
where t.type = 'email:send'
group by t.id
"""
ASKED = """
select
    t.id::text, count(e.id) filter (where e.kind = 'retried'),
    count(e.id) filter (where e.kind = 'verified' and e.detail->>'answer' = 'unknown')
from tb_task t left join tb_task_event e on e.task_id = t.id
where t.type = 'email:send'
group by t.id
"""


def judge(world: World) -> list[str]:
    """违反了哪些；空即合格。"""
    violations = [f"意外：{error!r}" for error in world.surprises] + world.witness.misdeeds
    for rule, statement in RULES.items():
        offenders = [row[0] for row in world.admin.execute(statement.encode()).fetchall()]
        if offenders:
            violations.append(f"{rule}：{offenders}")
    known = {row[0] for row in world.admin.execute("select id from vw_task").fetchall()} | world.standby.gone
    violations += [f"I1 受理了却没有：{task_id}" for task_id in world.accepted if task_id not in known]
    return violations + _mails(world) + (_verified_mails(world) if world.verifying else [])


def _mails(world: World) -> list[str]:
    """I3：每多寄一封之前都记过不明；成功的一定寄到了；没成功而寄到过的，一定记过不明，而且只有人取消得了它。

    忘了的那段里记过的也算记过；但时间线上总得看得见一个。
    """
    violations = []
    for task_id, status, seen, by_person in world.admin.execute(MARKS).fetchall():
        sends, marks = world.outside.sends[task_id], seen + world.standby.marks[task_id]
        if not seen and (sends > 1 or (sends and status != "succeeded")):
            violations.append(f"I3 时间线上看不见不明：{task_id} 是 {status}，寄了 {sends} 封")
        if sends > 1 + marks:
            violations.append(f"I3 悄悄再寄：{task_id} 寄了 {sends} 封，记过 {marks} 次不明")
        if status == "succeeded" and not sends:
            violations.append(f"I3 成功却没有寄：{task_id}")
        if status != "succeeded" and sends > marks:
            violations.append(f"I3 寄到了却说没有：{task_id} 是 {status}")
        if sends and (status == "failed" or (status == "cancelled" and not by_person)):
            violations.append(f"I3 寄到过的被系统判了 {status}：{task_id}")
    return violations


def _verified_mails(world: World) -> list[str]:
    """查证如实、又没有僵尸：只有人、或 resend 而问不出来，才许再寄。"""
    resend = world.settings.smtp.uncertain is UncertainPolicy.RESEND
    violations = []
    for task_id, decisions, unanswered in world.admin.execute(ASKED).fetchall():
        sends, allowed = world.outside.sends[task_id], 1 + decisions + (unanswered if resend else 0)
        if sends > allowed:
            violations.append(f"I3 查证过还再寄：{task_id} 寄了 {sends} 封，只许 {allowed} 封")
    return violations
