-- 号码以这一段开头或结尾的卡（:mod:`kaguan.sims.search` 找到的）：各是什么 ICCID，为它们做的任务，新的在前
select
    array(select iccid from tb_sim where id = any(%(ids)s)),
    array(
        select noted.task_id
        from unnest(%(ids)s::bigint[]) as one (sim_id)
        cross join lateral (
            select task_id
            from tb_sim_task
            where sim_id = one.sim_id
            order by task_id desc
            limit %(limit)s
        ) as noted
        order by noted.task_id desc
        limit %(limit)s
    )
