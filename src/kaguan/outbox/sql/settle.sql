-- 认下这一次启动；其间又换了服务器的、别人已认下的不算
update tb_broker
set incarnation = %(incarnation)s, history = %(history)s, lineage = coalesce(lineage, gen_random_uuid())
where id = 1 and pg_postmaster_start_time() = %(incarnation)s and incarnation is distinct from %(incarnation)s
