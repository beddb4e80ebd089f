-- 锁住点名的卡，直到提交：同一张卡的两次受理一前一后，后来的看得见先来的。总按号码的次序锁，与同步一样
select id
from tb_sim
where iccid = any(%(iccids)s::text[]) and deleted_at is null
order by iccid
for no key update
