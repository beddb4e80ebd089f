-- 一家的库存按 id 键集翻页：内存有界，翻多深都一样快
select id, iccid
from tb_sim
where carrier = %(carrier)s and deleted_at is null and id > %(after)s
order by id
limit %(limit)s
