-- 锁住这些有序键（没有就立起来），直到提交：同键的受理与放行从此一个接一个
insert into tb_ordering (principal, key, last_seq)
select distinct principal, key, 0
from unnest(%(principals)s::text[], %(keys)s::text[]) as k (principal, key)
order by principal, key -- 同样的键总按同一次序锁，并发的批次不会死锁
on conflict (principal, key) do update set updated_at = clock_timestamp()
