-- 保留期：最老的一批审计里过期的，和没认出是谁的拒绝里过期的（谁都能造出来，只留几天），各至多一批
with oldest as materialized (
    select id
    from (select id, at from tb_audit order by id limit %(limit)s) as first
    where at < now() - make_interval(days => %(days)s)
),
anonymous as materialized (
    select id
    from tb_audit
    where token_id is null and outcome = 'refused'
      and at < now() - make_interval(days => %(anonymous_days)s)
    order by at
    limit %(limit)s
),
gone as (
    delete from tb_audit
    where id in (select id from oldest union select id from anonymous)
    returning 1
)
select count(*)::int from gone
