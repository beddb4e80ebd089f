-- 数据库不答的那一段，答了之后补记
insert into tb_concern (code, subject, since, parameters, bad_at, ended_at)
values (%(code)s, '', least(%(since)s, clock_timestamp()), '{}', clock_timestamp(), clock_timestamp())
