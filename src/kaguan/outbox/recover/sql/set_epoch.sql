insert into tb_broker as b (id, epoch)
values (1, %(epoch)s)
on conflict (id) do update
set epoch = excluded.epoch,
    since = case when %(is_lost)s then now() else b.since end,
    lost_at = case when %(is_lost)s then now() else b.lost_at end -- 头一次记下不算
