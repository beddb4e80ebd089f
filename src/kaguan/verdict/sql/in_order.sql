-- 有序键后面排着的：最老的 cap 个队头，至多排着几个（键上发过的号减去队头的，途中取消了的也在内），多的在前
select o.key, o.principal as caller, o.head as task_id, (o.last_seq - t.ordering_seq)::int as behind
from (
    select principal, key, head, last_seq
    from tb_ordering
    where head is not null
    order by head
    limit %(cap)s
) as o
join tb_task t on t.id = any(array[o.head])  -- 按号去找，别拿整张表来合并
where o.last_seq > t.ordering_seq
order by behind desc, o.key, o.principal
limit %(limit)s
