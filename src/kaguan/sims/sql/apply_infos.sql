-- 一批卡资料：运营商没给的不抹掉我们的；different 是两边都有而不同的卡。只动 asked_at 之前看过的卡（迟到的旧应答不盖新值）
-- 一张一张按号码找，别的条件找到再看：没有统计信息时，规划器会以为挑一家的更省
with seen as materialized (
    select *
    from unnest(%(iccids)s::text[], %(msisdns)s::text[], %(imsis)s::text[], %(activated)s::date[])
        as t (iccid, msisdn, imsi, activated_on)
    order by iccid
), locked as materialized (
    select s.id,
           s.iccid,
           s.info_synced_at,
           coalesce(seen.msisdn, s.msisdn) as msisdn,
           coalesce(seen.imsi, s.imsi) as imsi,
           coalesce(seen.activated_on, s.activated_on) as activated_on,
           (coalesce(seen.msisdn, s.msisdn), coalesce(seen.imsi, s.imsi), coalesce(seen.activated_on, s.activated_on))
               is distinct from (s.msisdn, s.imsi, s.activated_on) as changed,
           coalesce(seen.msisdn <> s.msisdn, false) or coalesce(seen.imsi <> s.imsi, false)
               or coalesce(seen.activated_on <> s.activated_on, false) as different
    from seen
    cross join lateral (
        select * from tb_sim where iccid = seen.iccid and deleted_at is null limit 1 for no key update
    ) as s
    where s.carrier = %(carrier)s
), eligible as materialized (
    select *
    from locked
    where info_synced_at is null or info_synced_at <= %(asked_at)s
), updated as (
    update tb_sim s
    set msisdn = e.msisdn,
        imsi = e.imsi,
        activated_on = e.activated_on,
        info_synced_at = %(asked_at)s,
        updated_at = case when e.changed then clock_timestamp() else s.updated_at end,
        version = s.version + e.changed::int
    from eligible e
    where s.id = any(array[e.id])  -- 这样写只能一行一行按号去找；写等号，表还空着时计划好的会把整张表拿来合并
)
select (select count(*) from locked) as matched,
       count(*) filter (where changed) as updated,
       coalesce(array_agg(iccid order by id) filter (where different), '{}') as different
from eligible
