-- 数据库不答的那一段，答了之后补记；几个进程都看见了，头一个记的算
insert into tb_concern (code, subject, since, parameters, bad_at, ended_at)
select %(code)s, '', least(%(since)s, clock_timestamp()), '{}', clock_timestamp(), clock_timestamp()
where not exists (select from tb_concern where code = %(code)s and ended_at >= %(since)s)
