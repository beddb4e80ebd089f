-- 已交出而未结算（Redis 里的受高水位限制、运行中的受并发限制）、排在同键之后的、搁置的；都封顶
select
    (select count(*) from (select from tb_work where lease_until is null limit %(cap)s) as q) as queued,
    (select count(*) from (select from tb_work where lease_until is not null limit %(cap)s) as r) as running,
    (
        select count(*)
        from (
            -- order by 让计划走索引，数到封顶就停
            select from tb_task t
            where t.in_line is not null
              and not exists (select from tb_outbox o where o.task_id = t.id)
              and (select 1 from tb_work w where w.task_id = t.id) is null
            order by t.principal, t.ordering_key, t.in_line
            limit %(cap)s
        ) as w
    ) as ordered,
    (select count(*) from (select from tb_outbox where parked_at is not null limit %(cap)s) as p) as parked
