-- 最老的一批变更里过了保留期的，连同回执，合计约 limit 张；还有没定论的留着
with oldest as materialized (
    select id, cards, requested_at from tb_sim_change order by id limit %(limit)s
),
old as materialized (
    select id
    from (
        select id, sum(cards) over (order by id) - cards as ahead
        from oldest c
        where requested_at < now() - make_interval(days => %(days)s)
          and (
              select 1
              from tb_sim_receipt r
              where r.change_id = c.id and r.status in ('pending', 'uncertain')
              limit 1
          ) is null
    ) as counted
    where ahead < %(limit)s
),
receipts as (
    delete from tb_sim_receipt r
    using old
    where r.change_id = any(array[old.id])
    returning 1
),
gone as (
    delete from tb_sim_change c
    using old
    where c.id = any(array[old.id])
)
select count(*) from receipts
