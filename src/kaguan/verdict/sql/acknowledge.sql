-- 收起：已有的太多就不再加；同一件换成这一次的。过期很久的顺手清掉，到时就不作数，清不清都一样
with expired as (
    delete from tb_acknowledgement
    where until < clock_timestamp() - interval '1 day' and (code, subject) <> (%(code)s, %(subject)s)
)
insert into tb_acknowledgement as a (code, subject, level, most, reason, actor, until)
select %(code)s, %(subject)s, %(level)s, %(most)s, %(reason)s, %(actor)s,
    coalesce(%(until)s::timestamptz, clock_timestamp() + make_interval(secs => %(seconds)s))
where (select count(*) from tb_acknowledgement where until > clock_timestamp()) < %(limit)s
on conflict (code, subject) do update set level = excluded.level, most = excluded.most, reason = excluded.reason,
    actor = excluded.actor, created_at = excluded.created_at, until = excluded.until
returning id, code, subject, level, most, reason, actor, created_at, until
