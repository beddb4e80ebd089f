-- now()：clock_timestamp() 随行而变，进不了索引条件，一个没过期也要看遍全表。
-- 按 ctid 删：怎么也不必再找一遍，有没有统计信息都一样
delete from tb_idempotency_key
where ctid = any(array(
    select ctid
    from tb_idempotency_key
    where expires_at < now()
    order by expires_at
    limit %(limit)s
    for update skip locked
))
