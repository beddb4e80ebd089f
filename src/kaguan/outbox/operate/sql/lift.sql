-- 照旧：过了期的已经照旧了
delete from tb_limit where scope = %(scope)s and name = %(name)s and until > clock_timestamp()
returning scope, name, at_once, per_second, reason, actor, created_at, until
