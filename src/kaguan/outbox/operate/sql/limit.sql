-- 另定限额：已有的让位，别的太多就不再加。过期很久的顺手清掉，结束的当时就不作数，清不清都一样
with expired as (
    delete from tb_limit
    where until < clock_timestamp() - interval '1 day' and (scope, name) <> (%(scope)s, %(name)s)
)
insert into tb_limit as l (scope, name, at_once, per_second, reason, actor, until)
select %(scope)s, %(name)s, %(at_once)s::smallint, %(per_second)s::smallint, %(reason)s, %(actor)s,
    coalesce(%(until)s::timestamptz, clock_timestamp() + make_interval(secs => %(seconds)s))
where (
    select count(*) from tb_limit where until > clock_timestamp() and (scope, name) <> (%(scope)s, %(name)s)
) < %(most)s
on conflict (scope, name) do update
set at_once = excluded.at_once, per_second = excluded.per_second, reason = excluded.reason, actor = excluded.actor,
    created_at = excluded.created_at, until = excluded.until
returning scope, name, at_once, per_second, reason, actor, created_at, until
