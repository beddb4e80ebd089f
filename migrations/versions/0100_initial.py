"""第一版的结构

号从 0100 起：更小的是发布之前的程序建的库，升不上来。

Revision ID: 0100
Revises:
"""

from __future__ import annotations

from alembic import op

from kaguan.outbox.schema import PRODUCT, install_sql

revision = "0100"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = """
create table tb_concern (
    id bigint generated always as identity,
    code text not null,
    subject text not null,
    parameters jsonb not null,
    since timestamptz not null,
    first_seen timestamptz default clock_timestamp() not null,
    warn_at timestamptz,
    bad_at timestamptz,
    ended_at timestamptz,
    told text,
    told_at timestamptz,
    cleared_at timestamptz,
    constraint pk_tb_concern primary key (id),
    constraint ck_tb_concern_seen check (num_nonnulls(warn_at, bad_at) > 0),
    constraint ck_tb_concern_told check (told in ('warn', 'bad')),
    constraint ck_tb_concern_telling check (
        num_nonnulls(told, told_at) <> 1 and (told is not null or cleared_at is null)
    )
);
create unique index uq_tb_concern_open on tb_concern (code, subject) where ended_at is null;
create index ix_tb_concern_kept on tb_concern (id) where ended_at is null or (told is not null and cleared_at is null);

create table tb_acknowledgement (
    id uuid default gen_random_uuid() not null,
    code text not null,
    subject text not null,
    level text not null,
    most bigint,
    reason text not null,
    actor text not null,
    created_at timestamptz default clock_timestamp() not null,
    until timestamptz not null,
    constraint pk_tb_acknowledgement primary key (id),
    constraint ck_tb_acknowledgement_level check (level in ('warn', 'bad')),
    constraint ck_tb_acknowledgement_reason check (length(reason) between 1 and 500)
);
create unique index uq_tb_acknowledgement_code_subject on tb_acknowledgement (code, subject);

create table tb_watch (
    id bigint not null,
    looked_at timestamptz not null,
    constraint pk_tb_watch primary key (id),
    constraint ck_tb_watch_id check (id = 1)
);

create table tb_user (
    username text not null,
    email text not null,
    password_hash text not null,
    status text default 'active' not null,
    id bigint generated always as identity,
    created_at timestamptz default now() not null,
    updated_at timestamptz default now() not null,
    deleted_at timestamptz,
    version integer default 1 not null,
    constraint pk_tb_user primary key (id),
    constraint ck_tb_user_status check (status in ('active', 'inactive', 'banned')),
    constraint ck_tb_user_username check (length(username) between 3 and 50),
    constraint ck_tb_user_email check (length(email) between 3 and 254)
);
create index ix_tb_user_created_at_id on tb_user (created_at, id) where deleted_at is null;
create index ix_tb_user_live_id on tb_user (id) where deleted_at is null;
create index ix_tb_user_status_id on tb_user (status, id) where deleted_at is null;
create index ix_tb_user_updated_at_id on tb_user (updated_at, id) where deleted_at is null;
create unique index uq_tb_user_email on tb_user (lower(email)) where deleted_at is null;
create unique index uq_tb_user_username on tb_user (lower(username)) where deleted_at is null;

create table tb_order (
    order_id text not null,
    user_id bigint not null,
    amount bigint not null,
    currency text default 'CNY' not null,
    status text default 'pending' not null,
    remark text,
    id bigint generated always as identity,
    created_at timestamptz default now() not null,
    updated_at timestamptz default now() not null,
    deleted_at timestamptz,
    version integer default 1 not null,
    constraint pk_tb_order primary key (id),
    constraint ck_tb_order_status check (status in ('pending', 'paid', 'processing', 'completed', 'cancelled')),
    constraint ck_tb_order_amount check (amount > 0),
    constraint ck_tb_order_currency check (currency ~ '^[A-Z]{3}$'),
    constraint ck_tb_order_order_id check (length(order_id) between 1 and 64)
);
create index ix_tb_order_created_at_id on tb_order (created_at, id) where deleted_at is null;
create index ix_tb_order_live_id on tb_order (id) where deleted_at is null;
create index ix_tb_order_status_id on tb_order (status, id) where deleted_at is null;
create index ix_tb_order_updated_at_id on tb_order (updated_at, id) where deleted_at is null;
create index ix_tb_order_user_id_id on tb_order (user_id, id) where deleted_at is null;
create unique index uq_tb_order_order_id on tb_order (order_id) where deleted_at is null;

create table tb_sim (
    iccid text collate "C" not null,
    carrier text not null,
    eid text collate "C",
    msisdn text collate "C",
    imsi text collate "C",
    imei text collate "C",
    plan text,
    group_name text,
    tags text[] default '{}' not null,
    customer text,
    remark text,
    luhn_valid boolean not null,
    lifecycle_state text default 'unknown' not null,
    suspend_reason text,
    session_state text,
    carrier_status text,
    status_source text,
    status_changed_at timestamptz,
    status_synced_at timestamptz,
    info_synced_at timestamptz,
    activated_on date,
    profile_since timestamptz default now() not null,
    id bigint generated always as identity,
    created_at timestamptz default now() not null,
    updated_at timestamptz default now() not null,
    deleted_at timestamptz,
    version integer default 1 not null,
    constraint pk_tb_sim primary key (id),
    constraint ck_tb_sim_carrier check (carrier ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint ck_tb_sim_iccid check (iccid ~ '^89[0-9]{17,18}$'),
    constraint ck_tb_sim_eid check (eid ~ '^89[0-9]{30}$'),
    constraint ck_tb_sim_imei check (imei ~ '^[0-9]{15}$'),
    constraint ck_tb_sim_lifecycle_state check (
        lifecycle_state in ('inventory', 'testing', 'pending_activation', 'active', 'suspended',
        'pre_cancelled', 'cancelled', 'unknown')
    ),
    constraint ck_tb_sim_session check (session_state is null or session_state in ('online', 'offline', 'unknown'))
);
create index ix_tb_sim_carrier_id on tb_sim (carrier, id, lifecycle_state, plan) where deleted_at is null;
create index ix_tb_sim_created_at_id on tb_sim (created_at, id) where deleted_at is null;
create index ix_tb_sim_customer_id on tb_sim (customer, id) where deleted_at is null and customer is not null;
create index ix_tb_sim_eid_reversed on tb_sim (reverse(eid), id) include (eid)
    where deleted_at is null and eid is not null;
create index ix_tb_sim_group_name_id on tb_sim (group_name, id) where deleted_at is null and group_name is not null;
create index ix_tb_sim_iccid_reversed on tb_sim (reverse(iccid), id) include (iccid) where deleted_at is null;
create index ix_tb_sim_imei on tb_sim (imei, id) where deleted_at is null and imei is not null;
create index ix_tb_sim_imei_reversed on tb_sim (reverse(imei), id) include (imei)
    where deleted_at is null and imei is not null;
create index ix_tb_sim_imsi on tb_sim (imsi, id) where deleted_at is null and imsi is not null;
create index ix_tb_sim_imsi_reversed on tb_sim (reverse(imsi), id) include (imsi)
    where deleted_at is null and imsi is not null;
create index ix_tb_sim_lifecycle_state_id on tb_sim (lifecycle_state, id, carrier, plan) where deleted_at is null;
create index ix_tb_sim_live_id on tb_sim (id) where deleted_at is null;
create index ix_tb_sim_msisdn on tb_sim (msisdn, id) where deleted_at is null and msisdn is not null;
create index ix_tb_sim_msisdn_reversed on tb_sim (reverse(msisdn), id) include (msisdn)
    where deleted_at is null and msisdn is not null;
create index ix_tb_sim_plan_id on tb_sim (plan, id, lifecycle_state, carrier)
    where deleted_at is null and plan is not null;
create index ix_tb_sim_tags on tb_sim using gin (tags) where deleted_at is null;
create index ix_tb_sim_updated_at_id on tb_sim (updated_at, id) where deleted_at is null;
create unique index uq_tb_sim_eid on tb_sim (eid) include (id) where deleted_at is null and eid is not null;
create unique index uq_tb_sim_iccid on tb_sim (iccid) include (id) where deleted_at is null;

create table tb_sim_profile (
    id bigint generated always as identity,
    sim_id bigint not null,
    iccid text collate "C" not null,
    carrier text not null,
    msisdn text,
    imsi text,
    since timestamptz not null,
    until timestamptz default now() not null,
    constraint pk_tb_sim_profile primary key (id)
);
create index ix_tb_sim_profile_iccid on tb_sim_profile (iccid, sim_id);
create index ix_tb_sim_profile_iccid_reversed on tb_sim_profile (reverse(iccid), sim_id) include (iccid);
create index ix_tb_sim_profile_sim_id_id on tb_sim_profile (sim_id, id);

create table tb_sim_task (
    sim_id bigint not null,
    task_id uuid not null,
    constraint pk_tb_sim_task primary key (sim_id, task_id)
);
create index ix_tb_sim_task_task_id on tb_sim_task (task_id);

create table tb_sim_event (
    id bigint generated always as identity,
    iccid text collate "C" not null,
    at timestamptz default now() not null,
    old_state text not null,
    new_state text not null,
    carrier_status text,
    source text not null,
    task_id uuid,
    constraint pk_tb_sim_event primary key (id)
);
create index ix_tb_sim_event_iccid_id on tb_sim_event (iccid, id);

create table tb_sim_change (
    id bigint generated always as identity,
    change text not null,
    plan text,
    reason text not null,
    requested_by text not null,
    requested_at timestamptz default now() not null,
    request_id text,
    schedule_at timestamptz,
    asked jsonb not null,
    cards integer not null,
    constraint pk_tb_sim_change primary key (id),
    constraint ck_tb_sim_change_change check (change in ('suspend', 'resume', 'activate', 'plan')),
    constraint ck_tb_sim_change_plan check ((change = 'plan') = (plan is not null))
);
create unique index uq_tb_sim_change_request on tb_sim_change (requested_by, request_id) where request_id is not null;

create table tb_sim_receipt (
    id bigint generated always as identity,
    change_id bigint not null,
    iccid text collate "C" not null,
    task_id uuid,
    requested_at timestamptz default now() not null,
    status text default 'pending' not null,
    reason jsonb,
    reference text,
    called_at timestamptz,
    answered_at timestamptz,
    order_number text,
    evidence jsonb,
    settled_at timestamptz,
    constraint pk_tb_sim_receipt primary key (id),
    constraint ck_tb_sim_receipt_status check (status in ('pending', 'succeeded', 'refused', 'failed', 'uncertain')),
    constraint ck_tb_sim_receipt_settled check ((settled_at is null) = (status in ('pending', 'uncertain'))),
    constraint ck_tb_sim_receipt_unaccepted check (task_id is not null or status = 'refused')
);
create unique index uq_tb_sim_receipt_change_iccid on tb_sim_receipt (change_id, iccid);
create unique index uq_tb_sim_receipt_task on tb_sim_receipt (task_id) where task_id is not null;
create index ix_tb_sim_receipt_open on tb_sim_receipt (change_id) where status in ('pending', 'uncertain');
create index ix_tb_sim_receipt_iccid_id on tb_sim_receipt (iccid, id);

create table tb_sim_usage (
    iccid text collate "C" not null,
    day date not null,
    carrier text not null,
    data_bytes bigint not null,
    sms_count integer default 0 not null,
    revision integer default 1 not null,
    synced_at timestamptz default now() not null,
    constraint pk_tb_sim_usage primary key (iccid, day),
    constraint ck_tb_sim_usage_amounts check (data_bytes >= 0 and sms_count >= 0 and revision >= 1)
);
create index ix_tb_sim_usage_day_carrier on tb_sim_usage (day, carrier);

create table tb_sync_checkpoint (
    task_id uuid not null,
    carrier text not null,
    sync_type text not null,
    day date not null,
    cursor text,
    batches integer default 0 not null,
    counters jsonb default '{}' not null,
    done_at timestamptz,
    updated_at timestamptz default now() not null,
    constraint pk_tb_sync_checkpoint primary key (task_id, carrier, sync_type, day),
    constraint ck_tb_sync_checkpoint_sync_type check (sync_type in ('sim_info', 'sim_status', 'usage')),
    constraint ck_tb_sync_checkpoint_batches check (batches >= 0)
);
create index ix_tb_sync_checkpoint_subject on tb_sync_checkpoint (carrier, sync_type, day);

create table tb_email_delivery (
    task_id uuid not null,
    recipient text not null,
    status text default 'intended' not null,
    message_id text not null,
    smtp_code smallint,
    smtp_reply text,
    attempt smallint not null,
    intended_at timestamptz default clock_timestamp() not null,
    settled_at timestamptz,
    constraint pk_tb_email_delivery primary key (task_id, recipient),
    constraint ck_tb_email_delivery_status check (status in ('intended', 'accepted', 'refused', 'deferred')),
    constraint ck_tb_email_delivery_settled check ((settled_at is null) = (status = 'intended'))
);

create table tb_api_token (
    id bigint generated always as identity,
    name text not null,
    token_hash bytea not null,
    hint text not null,
    scopes text[] not null,
    created_at timestamptz default now() not null,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    constraint pk_tb_api_token primary key (id),
    constraint ck_tb_api_token_name check (length(name) between 1 and 100),
    constraint ck_tb_api_token_token_hash check (octet_length(token_hash) = 32)
);
create unique index uq_tb_api_token_name on tb_api_token (name) where revoked_at is null;
create unique index uq_tb_api_token_token_hash on tb_api_token (token_hash);

create table tb_session (
    id bytea not null,
    token_id bigint not null,
    csrf text not null,
    created_at timestamptz default now() not null,
    last_seen_at timestamptz default now() not null,
    expires_at timestamptz not null,
    constraint pk_tb_session primary key (id),
    constraint ck_tb_session_id check (octet_length(id) = 32)
);
create index ix_tb_session_expires_at on tb_session (expires_at);

create table tb_idempotency_key (
    principal text not null,
    key text not null,
    fingerprint bytea not null,
    status smallint,
    headers jsonb default '{}' not null,
    body jsonb,
    created_at timestamptz default now() not null,
    expires_at timestamptz not null,
    constraint pk_tb_idempotency_key primary key (principal, key),
    constraint ck_tb_idempotency_key_key check (length(key) between 1 and 255),
    constraint ck_tb_idempotency_key_fingerprint check (octet_length(fingerprint) = 32)
);
create index ix_tb_idempotency_key_expires_at on tb_idempotency_key (expires_at);

create table tb_audit (
    id bigint generated always as identity,
    at timestamptz default clock_timestamp() not null,
    actor text not null,
    token_id bigint,
    action text not null,
    target text,
    detail jsonb default '{}' not null,
    request_id text,
    outcome text not null,
    constraint pk_tb_audit primary key (id),
    constraint ck_tb_audit_outcome check (outcome in ('ok', 'refused', 'failed'))
);
create index ix_tb_audit_at on tb_audit (at, id);
create index ix_tb_audit_anonymous on tb_audit (at) where token_id is null and outcome = 'refused';
"""
# 回执随它的任务走：谁定了任务的结局（结算、收回租约、取消、人说了究竟怎样），回执在同一条语句里就有，不必人人都记得
RECEIPTS = (
    """
create function sim_receipt_follows() returns trigger language plpgsql as $function$
begin
    update tb_sim_receipt r
    set status = case
            when new.status in ('succeeded', 'uncertain') then new.status
            when new.status = 'failed' and starts_with(new.last_error ->> 'code', 'sims.refused_') then 'refused'
            when new.status in ('failed', 'cancelled') then 'failed'
            else 'pending'
        end,
        reason = case when new.status not in ('succeeded', 'cancelled') then new.last_error end,
        settled_at = case when new.status in ('succeeded', 'failed', 'cancelled') then clock_timestamp() end,
        evidence = coalesce(
            r.evidence,
            (
                select jsonb_build_object('said_by', e.actor, 'note', e.detail ->> 'note', 'at', e.at)
                from tb_task_event e
                where e.task_id = new.id and e.kind = 'resolved' and new.status = 'succeeded'
                order by e.id desc
                limit 1
            )
        )
    where r.task_id = new.id;
    return null;
end
$function$""",
    """
create trigger sim_receipt_follows after update of status on tb_task
for each row when (new.type = 'sim:change' and old.status is distinct from new.status)
execute function sim_receipt_follows()""",
)
TABLES = (
    "tb_task", "tb_outbox", "tb_work", "tb_ended", "tb_task_event", "tb_ordering", "tb_vanished", "tb_broker",
    "tb_seal", "tb_schedule", "tb_pause", "tb_limit", "tb_drain", "tb_installation", "tb_concern", "tb_watch",
    "tb_user", "tb_order", "tb_sim", "tb_sim_profile", "tb_sim_task", "tb_sim_event", "tb_sim_change", "tb_sim_receipt",
    "tb_sim_usage", "tb_sync_checkpoint", "tb_email_delivery", "tb_api_token", "tb_session", "tb_idempotency_key",
    "tb_audit", "tb_acknowledgement",
)  # fmt: skip


def upgrade() -> None:
    for statement in (install_sql(PRODUCT), *SCHEMA.split(";\n"), *RECEIPTS):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    op.execute("drop function outbox_accept(jsonb)")
    op.execute("drop view vw_task")
    for table in TABLES:
        op.drop_table(table)
    op.execute("drop function sim_receipt_follows()")
