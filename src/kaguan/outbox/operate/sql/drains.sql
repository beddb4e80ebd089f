-- 要收工的，先说的在前
select worker, reason, actor, created_at from tb_drain order by created_at, worker
