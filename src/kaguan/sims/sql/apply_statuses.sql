-- 一批状态：只动 asked_at 之前看过的卡（迟到的旧应答不盖新值）；状态变了才记事件，同一条语句里。
-- 这次没问到的在线状态不动；停机原因只属于停机的卡，没说新的就留着旧的。
-- 一张一张按号码找，别的条件找到再看：刚登记完一批卡，规划器还没有统计信息，会以为挑一家的更省
with seen as materialized (
    select *
    from unnest(%(iccids)s::text[], %(states)s::text[], %(raws)s::text[], %(sessions)s::text[], %(reasons)s::text[])
        as t (iccid, state, raw, session, reason)
    order by iccid
), locked as materialized (
    select s.id, s.iccid, s.lifecycle_state as old_state, s.status_synced_at, seen.state, seen.raw,
           coalesce(seen.session, s.session_state) as session,
           case when seen.state = 'suspended' then coalesce(seen.reason, s.suspend_reason) end as reason,
           s.session_state as old_session, s.suspend_reason as old_reason
    from seen
    cross join lateral (
        select * from tb_sim where iccid = seen.iccid and deleted_at is null limit 1 for no key update
    ) as s
    where s.carrier = %(carrier)s
), eligible as materialized (
    select *,
           old_state <> state as changed,
           (state, session, reason) is distinct from (old_state, old_session, old_reason) as touched
    from locked
    where status_synced_at is null or status_synced_at <= %(asked_at)s
), updated as (
    update tb_sim s
    set lifecycle_state = e.state,
        carrier_status = e.raw,
        session_state = e.session,
        suspend_reason = e.reason,
        status_source = %(carrier)s,
        status_synced_at = %(asked_at)s,
        status_changed_at = case when e.changed then %(asked_at)s else s.status_changed_at end,
        updated_at = case when e.touched then clock_timestamp() else s.updated_at end,
        version = s.version + e.touched::int
    from eligible e
    where s.id = any(array[e.id])  -- 这样写只能一行一行按号去找；写等号，表还空着时计划好的会把整张表拿来合并
), events as (
    insert into tb_sim_event (iccid, old_state, new_state, carrier_status, source, task_id)
    select iccid, old_state, state, raw, %(carrier)s, %(task_id)s
    from eligible
    where changed
    order by id
)
select (select count(*) from locked) as matched,
       (select coalesce(jsonb_agg(jsonb_build_object('iccid', iccid, 'old', old_state, 'new', state) order by id), '[]')
        from eligible where changed) as changes,
       array(select iccid from seen where not exists (select from locked l where l.iccid = seen.iccid)) as missing_here
