-- 结束了的，太旧的与多于上限的各删一批
delete from tb_concern
where id in (
    select id from (
        select id, ended_at, row_number() over (order by id desc) as place from tb_concern where ended_at is not null
    ) as ended
    where ended_at < clock_timestamp() - make_interval(days => %(days)s) or place > %(most)s
    order by id
    limit %(limit)s
)
