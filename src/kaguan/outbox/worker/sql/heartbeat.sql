-- 每个进程每次心跳一条 UPDATE：续租仍归自己的；不在返回里的就是丢了。
-- 别人锁着的跳过，不等：一行等锁不该让别的都断租。它仍归自己（mine 不锁也看得见），收回它的也得先拿到锁。
-- 状态写成子查询：按号去找，别走那个满是死行的部分索引（docs/adr/0028）
with mine as materialized (
    select t.id, t.delivery, t.cancel_requested_at is not null as unwanted
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as h (task_id, delivery)
        on t.id = h.task_id and t.delivery = h.delivery
    where t.worker = %(worker)s and t.status = (select 'running')
),
held as materialized (
    select t.id
    from tb_task t
    join mine m on m.id = t.id and m.delivery = t.delivery
    where t.status = (select 'running')
    for no key update of t skip locked
),
renewed as (
    update tb_task t
    set lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
    from held
    where t.id = held.id
)
select id, delivery, unwanted from mine
