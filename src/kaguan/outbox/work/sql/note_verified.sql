-- 一次尝试里反复问（等着外面恢复，不计尝试）、答得一样的，只记头一次
insert into tb_task_event (task_id, kind, attempt, delivery, detail)
select %(task_id)s, 'verified', %(attempt)s, %(delivery)s, %(detail)s
where not coalesce(
    (
        select kind = 'verified' and attempt = %(attempt)s and detail = %(detail)s::jsonb
        from tb_task_event
        where task_id = %(task_id)s and kind <> 'interrupted'
        order by id desc
        limit 1
    ),
    false
)
