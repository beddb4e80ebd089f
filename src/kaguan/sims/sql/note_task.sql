insert into tb_sim_task (sim_id, task_id)
values (%(sim_id)s, %(task_id)s)
on conflict do nothing
