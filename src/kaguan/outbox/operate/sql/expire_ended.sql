-- 看走势至多往回看一小时：更早的删去，一次一小批
with old as materialized (
    select ctid
    from tb_ended
    where at < now() - interval '2 hours'
    order by at
    limit %(limit)s
    for update skip locked
)
delete from tb_ended
where ctid = any(array(select ctid from old))
