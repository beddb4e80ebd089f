-- 一批日用量：自然键 (iccid, day)，修订号更高的覆盖，旧的忽略；xmax = 0 即本次新插入
with incoming as (
    select *
    from unnest(%(iccids)s::text[], %(data_bytes)s::bigint[], %(sms_counts)s::int[], %(revisions)s::int[])
        as t (iccid, data_bytes, sms_count, revision)
), written as (
    insert into tb_sim_usage as u (iccid, day, carrier, data_bytes, sms_count, revision)
    select iccid, %(day)s, %(carrier)s, data_bytes, sms_count, revision
    from incoming
    order by iccid
    on conflict (iccid, day) do update
    set carrier = excluded.carrier,
        data_bytes = excluded.data_bytes,
        sms_count = excluded.sms_count,
        revision = excluded.revision,
        synced_at = now()
    where excluded.revision > u.revision
    returning u.iccid, u.xmax = 0 as inserted
)
select count(*) filter (where inserted) as inserted,
       count(*) filter (where not inserted) as updated,
       coalesce(array_agg(iccid order by iccid) filter (where not inserted), '{}') as different
from written
