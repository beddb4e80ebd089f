-- 有队头的键，按队头一页页看
select head
from tb_ordering
where head is not null and head > %(after)s
order by head
limit %(limit)s
