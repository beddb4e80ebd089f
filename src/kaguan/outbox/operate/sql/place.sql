-- 一个没结束的、或失败了还拦着键的任务在它的键上：轮到谁、前面几个、后面是谁（各数到 cap、列到 shown）；没有键的没有行。
-- 交出了的不在排着的里面：看手里的活，不看视图，走得了（键，次序）的索引
-- 人工重来的不再占原来的位置：它有发件箱行，却不是队头
with me as materialized (
    select
        t.id, t.principal, t.ordering_key, t.ordering_seq, t.status, o.head,
        exists (select from tb_outbox x where x.task_id = t.id) as staged
    from vw_task t
    join tb_ordering o on o.principal = t.principal and o.key = t.ordering_key
    where t.id = %(task_id)s
      and (
          t.status in ('pending', 'queued', 'running', 'retrying')
          or t.ordering_holds and t.status in ('failed', 'uncertain') and o.head = t.id
      )
)
select
    me.head is not distinct from me.id as leading,
    me.status in ('pending', 'retrying') and not me.staged as waiting,
    (
        select count(*)::int
        from (
            select from tb_task t
            where t.principal = me.principal and t.ordering_key = me.ordering_key
              and t.in_line < me.ordering_seq
              and t.id is distinct from me.head and not exists (select from tb_work w where w.task_id = t.id)
            order by t.in_line
            limit %(cap)s
        ) as before
    ) as ahead,
    (
        select coalesce(array_agg(id order by in_line), '{}')
        from (
            select t.id, t.in_line
            from tb_task t
            where t.principal = me.principal and t.ordering_key = me.ordering_key
              and t.in_line > me.ordering_seq
              and t.id is distinct from me.head and not exists (select from tb_work w where w.task_id = t.id)
            order by t.in_line
            limit %(shown)s
        ) as after
    ) as behind,
    h.id as head_id, h.type as head_type, h.status as head_status, h.attempt as head_attempts,
    h.max_attempts as head_max_attempts, h.available_at as head_available_at, h.started_at as head_started_at,
    h.last_error as head_error
from me
left join vw_task h on h.id = me.head
    and (
        h.status in ('pending', 'queued', 'running', 'retrying') or h.ordering_holds and h.status in ('failed', 'uncertain')
    )
