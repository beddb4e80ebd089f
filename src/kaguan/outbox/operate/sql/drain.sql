-- 要一个 worker 收工：说过的照第一次说的。没来得及带走的（被杀了）一天之后顺手清掉
with over as (
    delete from tb_drain where created_at < clock_timestamp() - interval '1 day' and worker <> %(worker)s
)
insert into tb_drain as d (worker, reason, actor)
values (%(worker)s, %(reason)s, %(actor)s)
on conflict (worker) do update set worker = excluded.worker
returning worker, reason, actor, created_at
