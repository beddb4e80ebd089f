-- 停下：已有的太多就不再加。过期很久的顺手清掉，结束的当时就不作数，清不清都一样
with expired as (
    delete from tb_pause where until < clock_timestamp() - interval '1 day'
)
insert into tb_pause (scope, name, reason, actor, until)
select %(scope)s, %(name)s, %(reason)s, %(actor)s,
    coalesce(%(until)s::timestamptz, clock_timestamp() + make_interval(secs => %(seconds)s))
where (select count(*) from tb_pause where until > clock_timestamp()) < %(most)s
returning id, scope, name, reason, actor, created_at, until, 0 as waiting
