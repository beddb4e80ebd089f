select id
from tb_sim
where iccid = %(iccid)s and deleted_at is null
