-- 已交出而未结算（Redis 里的受高水位限制、运行中的受并发限制）、排在同键之后的、搁置的；都封顶
select
    (select count(*) from (select from tb_work where lease_until is null limit %(cap)s) as q) as queued,
    (select count(*) from (select from tb_work where lease_until is not null limit %(cap)s) as r) as running,
    ({{order.waiting}}) as ordered,
    ({{operate.parked}}) as parked
