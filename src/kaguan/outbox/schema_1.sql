-- 发件箱的第一版：产品的迁移与别的应用的 install 都执行它。发布之后不再改，要改就另写一版

create table tb_task (
    id uuid not null,
    type text not null,
    queue text not null,
    principal text not null,
    request_id text,
    schedule_at timestamptz,
    payload jsonb not null,
    traceparent text,
    ordering_key text,
    ordering_seq bigint,
    ordering_holds boolean,
    created_at timestamptz default now() not null,
    available_at timestamptz default now() not null,
    max_attempts smallint not null,
    delivery integer default 1 not null,
    status text default 'pending' not null,
    attempt smallint default 0 not null,
    lost_leases smallint default 0 not null,
    claim_id uuid,
    intent_at timestamptz,
    cancel_requested_at timestamptz,
    progress jsonb,
    result jsonb,
    last_error jsonb,
    attempt_traceparent text,
    queued_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    not_done text generated always as (
        case when status in ('failed', 'uncertain', 'cancelled') then status end
    ) stored,
    in_line bigint generated always as (
        case when status in ('pending', 'retrying') then ordering_seq end
    ) stored,
    constraint pk_tb_task primary key (id),
    constraint ck_tb_task_type check (type ~ '^[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)+$' and length(type) <= 64),
    constraint ck_tb_task_queue check (queue in ('critical', 'default', 'low')),
    constraint ck_tb_task_status check (
        status in ('pending', 'retrying', 'succeeded', 'failed', 'uncertain', 'cancelled')
    ),
    constraint ck_tb_task_finished check (
        (finished_at is not null) = (status in ('succeeded', 'failed', 'cancelled'))
    ),
    constraint ck_tb_task_attempt check (attempt between 0 and max_attempts),
    constraint ck_tb_task_counters check (delivery >= 1 and max_attempts >= 1 and lost_leases >= 0),
    constraint ck_tb_task_intent check (intent_at is null or status not in ('succeeded', 'failed', 'cancelled')),
    constraint ck_tb_task_request_id check (request_id is null or length(request_id) between 1 and 128),
    constraint ck_tb_task_ordering check ((ordering_key is null) = (ordering_seq is null)),
    constraint ck_tb_task_ordering_key check (ordering_key is null or length(ordering_key) between 1 and 128),
    constraint ck_tb_task_ordering_holds check (ordering_holds is null or ordering_key is not null)
) with (fillfactor = 60, vacuum_index_cleanup = on, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- 成功的结算改到的列（status、finished_at 在内），哪个索引都不提：那一次更新因此不动索引（HOT，docs/adr/0044）
create index ix_tb_task_dead on tb_task (not_done, type, id) where not_done in ('failed', 'uncertain');
create index ix_tb_task_in_line on tb_task (id) where in_line is not null;
create index ix_tb_task_not_done on tb_task (not_done, id) where not_done is not null;
create index ix_tb_task_ordering on tb_task (principal, ordering_key, in_line) where in_line is not null;
create index ix_tb_task_ordering_key on tb_task (ordering_key, id) where ordering_key is not null;
create index ix_tb_task_type_id on tb_task (type, id);
create unique index uq_tb_task_request_id_principal on tb_task (request_id, principal) where request_id is not null;

create table tb_outbox (
    task_id uuid not null,
    delivery integer not null,
    type text not null,
    priority smallint not null,
    principal text not null,
    alone boolean default false not null,
    available_at timestamptz default now() not null,
    parked_at timestamptz,
    parked_reason text,
    waiting_for text,
    waiting_since timestamptz,
    constraint pk_tb_outbox primary key (task_id),
    constraint ck_tb_outbox_priority check (priority between 0 and 2),
    constraint ck_tb_outbox_delivery check (delivery >= 1),
    constraint ck_tb_outbox_parked check ((parked_at is null) = (parked_reason is null)),
    constraint ck_tb_outbox_waiting check ((waiting_for is null) = (waiting_since is null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
create index ix_tb_outbox_caller on tb_outbox (priority, principal, available_at, task_id) where parked_at is null;
create index ix_tb_outbox_due on tb_outbox (priority, available_at, task_id) where parked_at is null;
create index ix_tb_outbox_parked_at on tb_outbox (parked_at) where parked_at is not null;
create index ix_tb_outbox_place on tb_outbox (waiting_for, priority, principal, waiting_since, task_id)
    where waiting_for is not null and parked_at is null;
create index ix_tb_outbox_waiting on tb_outbox (waiting_for, waiting_since, task_id)
    where waiting_for is not null and parked_at is null;

create table tb_work (
    task_id uuid not null,
    delivery integer not null,
    priority smallint not null,
    queued_at timestamptz default clock_timestamp() not null,
    job text,
    claim_id uuid,
    attempt smallint,
    worker text,
    started_at timestamptz,
    lease_until timestamptz,
    constraint pk_tb_work primary key (task_id),
    constraint ck_tb_work_lease check (num_nulls(lease_until, claim_id, worker, attempt) in (0, 4)),
    constraint ck_tb_work_priority check (priority between 0 and 2)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
create index ix_tb_work_handed on tb_work (queued_at, task_id) where lease_until is null;
create index ix_tb_work_leased on tb_work (lease_until) where lease_until is not null;

create table tb_ended (
    at timestamptz default clock_timestamp() not null,
    type text not null,
    queue text not null,
    status text not null,
    tasks integer default 1 not null,
    constraint ck_tb_ended_tasks check (tasks > 0)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index ix_tb_ended_at on tb_ended (at);

create table tb_task_event (
    id bigint generated always as identity,
    task_id uuid not null,
    at timestamptz default clock_timestamp() not null,
    kind text not null,
    attempt smallint not null,
    delivery integer not null,
    worker text,
    actor text,
    detail jsonb default '{}' not null,
    traceparent text,
    constraint pk_tb_task_event primary key (id),
    constraint ck_tb_task_event_kind check (
        kind in ('attempt_failed', 'redriven', 'fenced', 'uncertain', 'cancel_requested', 'cancelled',
        'retried', 'interrupted', 'parked', 'resend', 'to_verify', 'verified',
        'resolved', 'changed')
    )
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index ix_tb_task_event_task_id_id on tb_task_event (task_id, id);

create table tb_ordering (
    principal text not null,
    key text not null,
    last_seq bigint not null,
    head uuid,
    updated_at timestamptz default now() not null,
    constraint pk_tb_ordering primary key (principal, key)
);
create index ix_tb_ordering_idle on tb_ordering (updated_at) where head is null;
create unique index uq_tb_ordering_head on tb_ordering (head) where head is not null;

create table tb_vanished (
    task_id uuid not null,
    type text not null,
    request_id text,
    delivery integer not null,
    first_seen timestamptz default clock_timestamp() not null,
    constraint pk_tb_vanished primary key (task_id)
);
create index ix_tb_vanished_first_seen on tb_vanished (first_seen);

create table tb_broker (
    id smallint not null,
    epoch uuid not null,
    since timestamptz default now() not null,
    lost_at timestamptz,
    forwarded_at timestamptz,
    lineage uuid,
    history text,
    incarnation timestamptz,
    constraint pk_tb_broker primary key (id),
    constraint ck_tb_broker_single check (id = 1)
);

create table tb_seal (
    id smallint not null,
    key bytea default uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) not null,
    constraint pk_tb_seal primary key (id),
    constraint ck_tb_seal_single check (id = 1)
);

create table tb_schedule (
    name text not null,
    definition text not null,
    enabled boolean default true not null,
    last_fired_at timestamptz,
    next_due_at timestamptz not null,
    updated_at timestamptz default now() not null,
    constraint pk_tb_schedule primary key (name),
    constraint ck_tb_schedule_name check (length(name) between 1 and 64)
);

create table tb_pause (
    id uuid default gen_random_uuid() not null,
    scope text not null,
    name text not null,
    reason text not null,
    actor text not null,
    created_at timestamptz default clock_timestamp() not null,
    until timestamptz not null,
    constraint pk_tb_pause primary key (id),
    constraint ck_tb_pause_scope check (scope in ('type', 'queue', 'carrier', 'caller', 'key')),
    constraint ck_tb_pause_name check (length(name) between 1 and 128),
    constraint ck_tb_pause_reason check (length(reason) between 1 and 500)
);

create table tb_limit (
    scope text not null,
    name text not null,
    at_once smallint,
    per_second smallint,
    reason text not null,
    actor text not null,
    created_at timestamptz default clock_timestamp() not null,
    until timestamptz not null,
    constraint pk_tb_limit primary key (scope, name),
    constraint ck_tb_limit_scope check (scope in ('type', 'carrier')),
    constraint ck_tb_limit_name check (length(name) between 1 and 128),
    constraint ck_tb_limit_values check (
        num_nonnulls(at_once, per_second) > 0 and least(at_once, per_second) > 0
        and (scope = 'carrier' or per_second is null)
    ),
    constraint ck_tb_limit_reason check (length(reason) between 1 and 500)
);

create table tb_drain (
    worker text not null,
    reason text not null,
    actor text not null,
    created_at timestamptz default clock_timestamp() not null,
    constraint pk_tb_drain primary key (worker),
    constraint ck_tb_drain_worker check (length(worker) between 1 and 128),
    constraint ck_tb_drain_reason check (length(reason) between 1 and 500)
);

create table tb_installation (
    id smallint not null,
    name text not null,
    version smallint not null,
    uuid uuid default gen_random_uuid() not null,
    constraint pk_tb_installation primary key (id),
    constraint ck_tb_installation_single check (id = 1)
);

create view vw_task as
select
    t.id, t.type, t.queue, t.principal, t.request_id, t.schedule_at, t.payload,
    case
        when w.lease_until is not null then 'running'
        when w.task_id is not null then 'queued'
        else t.status
    end as status,
    coalesce(w.attempt, t.attempt) as attempt, t.max_attempts, t.delivery, coalesce(w.claim_id, t.claim_id) as claim_id,
    t.lost_leases, w.lease_until, w.worker, t.intent_at, t.cancel_requested_at, t.progress, t.result, t.last_error,
    t.traceparent, t.attempt_traceparent, w.job, t.ordering_key, t.ordering_seq, t.ordering_holds, t.created_at,
    t.available_at, coalesce(w.queued_at, t.queued_at) as queued_at,
    coalesce(w.started_at, t.started_at) as started_at, t.finished_at
from tb_task t
left join lateral (
    select * from tb_work w where w.task_id = t.id and w.delivery = t.delivery and t.finished_at is null limit 1
) as w on true;

insert into tb_seal (id) values (1);
