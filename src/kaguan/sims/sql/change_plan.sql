-- 套餐换成了：档案照改
update tb_sim
set plan = %(plan)s, version = version + 1, updated_at = clock_timestamp()
where iccid = %(iccid)s and deleted_at is null and plan is distinct from %(plan)s
