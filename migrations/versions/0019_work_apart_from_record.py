"""手里的活与记录分开：交出了、认领了的各有一个窄行（tb_work），记录只在受理与有了结局时写

先扩后缩（docs/adr/0035）：建表、照抄眼下在手里的，一瞬的事。0.2.0 的进程照旧把它们写在 tb_task 上：两个触发器替它
抄过来，也不让它动新进程手里的；下一版去掉。新的进程从不写那几个状态，碰不到触发器。退回时抄回 tb_task。

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# 任务与手里的活合起来看
VIEW = """
create view vw_task as
select
    t.id, t.type, t.queue, t.principal, t.request_id, t.fingerprint, t.payload,
    case
        when w.lease_until is not null then 'running'
        when w.task_id is not null then 'queued'
        else t.status
    end as status,
    coalesce(w.attempt, t.attempt) as attempt, t.max_attempts, t.delivery, coalesce(w.claim_id, t.claim_id) as claim_id,
    t.lost_leases, w.lease_until, w.worker, t.intent_at, t.cancel_requested_at, t.progress, t.result, t.last_error,
    t.traceparent, t.attempt_traceparent, w.job, t.ordering_key, t.ordering_seq, t.created_at, t.available_at,
    coalesce(w.queued_at, t.queued_at) as queued_at, coalesce(w.started_at, t.started_at) as started_at, t.finished_at
from tb_task t
left join lateral (
    select * from tb_work w where w.task_id = t.id and w.delivery = t.delivery and t.finished_at is null limit 1
) as w on true
"""

# 0.2.0 的认领、重投、取消：新进程有人在做的，不许动，取消改成请求；补行：交出了的不是漏了。结算写下认领号，不是它
GUARD = """
create function kaguan_guard_held() returns trigger language plpgsql as $$
declare
    held tb_work;
begin
    select * into held from tb_work w where w.task_id = old.id and w.delivery = old.delivery;
    if held.claim_id is not null and held.lease_until > clock_timestamp() then
        if new.status not in ('cancelled', 'uncertain') then
            return null;
        end if;
        old.cancel_requested_at := coalesce(old.cancel_requested_at, clock_timestamp());
        return old;
    end if;
    if held.task_id is not null and held.lease_until is null and new.status = old.status
        and new.available_at = old.available_at and new.intent_at is not distinct from old.intent_at then
        return null;
    end if;
    return new;
end $$
"""
GUARDING = """
create trigger kaguan_guard_held before update of status, delivery on tb_task for each row
when (
    old.status in ('pending', 'queued', 'retrying') and new.claim_id is not distinct from old.claim_id
    and (
        new.status in ('running', 'cancelled', 'uncertain')
        or (new.delivery > old.delivery and new.status in ('pending', 'queued', 'retrying'))
    )
)
execute function kaguan_guard_held()
"""

# 0.2.0 的交出、认领、续租、交还、结算、重投：照抄成窄行
MIRROR = """
create function kaguan_mirror_held() returns trigger language plpgsql as $$
declare
    rank constant smallint := case new.queue when 'critical' then 0 when 'default' then 1 else 2 end;
begin
    if new.status = 'running' then
        insert into tb_work (
            task_id, delivery, priority, attempt, queued_at, started_at, lease_until, worker, job
        )
        values (
            new.id, new.delivery, rank, new.attempt, coalesce(new.queued_at, clock_timestamp()), new.started_at,
            new.lease_until, new.worker, new.job
        )
        on conflict (task_id) do update
        set delivery = excluded.delivery, claim_id = null, attempt = excluded.attempt, started_at = excluded.started_at,
            lease_until = excluded.lease_until, worker = excluded.worker;
    elsif new.status = 'queued' then
        insert into tb_work (task_id, delivery, priority, queued_at, job)
        values (new.id, new.delivery, rank, new.queued_at, new.job)
        on conflict (task_id) do nothing;
    else
        delete from tb_work where task_id = new.id and (claim_id is null or new.status in ('cancelled', 'uncertain'));
    end if;
    return null;
end $$
"""
MIRRORING = """
create trigger kaguan_mirror_held after update of status, lease_until on tb_task for each row
when (
    old.status = 'running' or new.status = 'running' or (new.status = 'queued' and old.status <> 'queued')
    or (old.status = 'queued' and new.status = 'pending') or new.status in ('cancelled', 'uncertain')
)
execute function kaguan_mirror_held()
"""


def upgrade() -> None:
    op.create_table(
        "tb_work",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("delivery", sa.Integer(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("job", sa.Text(), nullable=True),
        sa.Column("claim_id", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.SmallInteger(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(lease_until is null) = (worker is null) and (lease_until is null) = (attempt is null)",
            name="lease",
        ),
        sa.CheckConstraint("claim_id is null or lease_until is not null", name="claim"),
        sa.CheckConstraint("priority between 0 and 2", name="priority"),
        sa.PrimaryKeyConstraint("task_id", name="pk_tb_work"),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.01", "autovacuum_vacuum_cost_delay": "0"},
    )
    op.create_index(
        "ix_tb_work_handed", "tb_work", ["queued_at", "task_id"],
        postgresql_where=sa.text("lease_until is null"),
    )  # fmt: skip
    op.create_index(
        "ix_tb_work_leased", "tb_work", ["lease_until"], postgresql_where=sa.text("lease_until is not null")
    )
    op.execute(VIEW)
    for statement in (GUARD, GUARDING, MIRROR, MIRRORING):
        op.execute(statement)
    # 触发器的锁已挡住写：抄的就是眼下的
    op.execute("""
        insert into tb_work (task_id, delivery, priority, queued_at, job, attempt, worker, started_at, lease_until)
        select
            id, delivery, case queue when 'critical' then 0 when 'default' then 1 else 2 end, coalesce(queued_at, clock_timestamp()), job, case status when 'running' then attempt end,
            worker, case status when 'running' then started_at end, lease_until
        from tb_task
        where status in ('queued', 'running')
    """)


def downgrade() -> None:
    op.execute("drop trigger kaguan_mirror_held on tb_task")
    op.execute("drop trigger kaguan_guard_held on tb_task")
    op.execute("drop function kaguan_mirror_held")
    op.execute("drop function kaguan_guard_held")
    op.execute("""
        update tb_task t
        set status = case when w.lease_until is null then 'queued' else 'running' end, queued_at = w.queued_at,
            job = w.job, claim_id = coalesce(w.claim_id, t.claim_id), attempt = coalesce(w.attempt, t.attempt),
            worker = w.worker, started_at = coalesce(w.started_at, t.started_at), lease_until = w.lease_until
        from tb_work w
        where t.id = w.task_id and t.delivery = w.delivery and t.status in ('pending', 'queued', 'running', 'retrying')
    """)
    op.execute("drop view vw_task")
    op.drop_table("tb_work")
