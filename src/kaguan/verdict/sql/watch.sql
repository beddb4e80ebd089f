-- 轮到自己看了吗：离上一眼够久的那一个得到一行。换了主的钟慢，上一眼在将来，也算够久
insert into tb_watch as w (id, looked_at)
values (1, clock_timestamp())
on conflict (id) do update set looked_at = excluded.looked_at
where abs(extract(epoch from excluded.looked_at - w.looked_at)) >= %(pace)s
returning looked_at
