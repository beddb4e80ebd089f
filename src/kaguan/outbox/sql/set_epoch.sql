insert into tb_broker (id, epoch)
values (1, %(epoch)s)
on conflict (id) do update set epoch = excluded.epoch, since = now()
