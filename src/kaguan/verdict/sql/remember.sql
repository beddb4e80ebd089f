-- 记下看见的，结束不再看见的：最后看见的那一刻就是它没了的时候；只在一刻看见过还没露面的（刚启动）没有长短，不留，告诉过人的除外
with gone as (
    select
        c.id,
        c.code not in ('no_relay', 'no_worker') or c.since < greatest(c.warn_at, c.bad_at) or c.told is not null
            as lasted
    from tb_concern as c
    join unnest(%(gone_codes)s::text[], %(gone_subjects)s::text[]) as told (code, subject) using (code, subject)
    where c.ended_at is null
),
momentary as (
    delete from tb_concern as c using gone where c.id = gone.id and not gone.lasted
),
ended as (
    update tb_concern as c
    set ended_at = least(greatest(c.warn_at, c.bad_at), clock_timestamp())
    from gone
    where c.id = gone.id and gone.lasted
)
insert into tb_concern as c (code, subject, since, parameters, warn_at, bad_at)
select code, subject, since, parameters, warn_at, bad_at
from unnest(
    %(codes)s::text[], %(subjects)s::text[], %(since)s::timestamptz[], %(parameters)s::jsonb[],
    %(warn_at)s::timestamptz[], %(bad_at)s::timestamptz[]
) as told (code, subject, since, parameters, warn_at, bad_at)
order by code, subject
on conflict (code, subject) where ended_at is null
do update set since = excluded.since, parameters = excluded.parameters,
    warn_at = excluded.warn_at, bad_at = excluded.bad_at
