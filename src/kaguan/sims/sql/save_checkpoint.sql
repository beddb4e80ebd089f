-- 与批次的写入同一事务：要么一起在，要么一起不在
insert into tb_sync_checkpoint as c (task_id, carrier, sync_type, day, cursor, batches, counters, done_at)
values (%(task_id)s, %(carrier)s, %(sync_type)s, %(day)s, %(cursor)s, %(batches)s, %(counters)s,
        case when %(done)s then clock_timestamp() end)
on conflict (task_id, carrier, sync_type, day) do update
set cursor = excluded.cursor,
    batches = excluded.batches,
    counters = excluded.counters,
    done_at = excluded.done_at,
    updated_at = clock_timestamp()
