-- 一批日用量：自然键 (iccid, day)，修订号更高的覆盖，旧的忽略；xmax = 0 即本次新插入。
-- 修订号相同而数值不同（当天的用量还在涨）：后问到的覆盖，迟到的旧应答不盖新值
with incoming as (
    select *
    from unnest(%(iccids)s::text[], %(data_bytes)s::bigint[], %(sms_counts)s::int[], %(revisions)s::int[])
        as t (iccid, data_bytes, sms_count, revision)
), written as (
    insert into tb_sim_usage as u (iccid, day, carrier, data_bytes, sms_count, revision, synced_at)
    select iccid, %(day)s, %(carrier)s, data_bytes, sms_count, revision, %(asked_at)s
    from incoming
    order by iccid
    on conflict (iccid, day) do update
    set carrier = excluded.carrier,
        data_bytes = excluded.data_bytes,
        sms_count = excluded.sms_count,
        revision = excluded.revision,
        synced_at = excluded.synced_at
    where excluded.revision > u.revision
        or (
            excluded.revision = u.revision
            and (excluded.data_bytes, excluded.sms_count) is distinct from (u.data_bytes, u.sms_count)
            and excluded.synced_at >= u.synced_at
        )
    returning u.iccid, u.xmax = 0 as inserted
)
select count(*) filter (where inserted) as inserted,
       count(*) filter (where not inserted) as updated,
       coalesce(array_agg(iccid order by iccid) filter (where not inserted), '{}') as different
from written
