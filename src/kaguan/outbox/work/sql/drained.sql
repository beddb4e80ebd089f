-- 有没有人要这个 worker 收工：谁，为什么
select actor, reason from tb_drain where worker = %(worker)s
