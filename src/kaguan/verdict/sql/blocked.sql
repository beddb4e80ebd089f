-- 被队头卡住的键：队头失败了在等重试、等人定夺，后面的已经到期（等着说它结局的通知不算）。队头是 UUIDv7，最老的在前，只看最老的几个
with heads as materialized (
    select principal, key, head
    from tb_ordering
    where head is not null
    order by head
    limit %(cap)s
)
select
    h.head, h.key, t.status, coalesce(t.last_error, '{}') as error,
    extract(epoch from clock_timestamp() - n.due)::float8 as waited,
    n.due as since
from heads h
join vw_task t on t.id = any(array[h.head])  -- 按号去找，别拿整张表来合并
    and (t.status = 'retrying' or t.ordering_holds and t.status in ('failed', 'uncertain'))
cross join lateral (
    select greatest(available_at, created_at) as due
    from tb_task
    where principal = h.principal and ordering_key = h.key and in_line is not null
      and in_line > t.ordering_seq and type <> %(notice)s
    order by in_line
    limit 1
) as n
where n.due < clock_timestamp() - make_interval(secs => %(patience)s)
order by n.due
limit %(limit)s
