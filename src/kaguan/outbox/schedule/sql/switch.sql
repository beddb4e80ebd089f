-- 停用期间到期的不补：重新启用时从现在起算。一直开着的不动它的下一次。
insert into tb_schedule (name, definition, enabled, next_due_at)
values (%(name)s, %(definition)s, %(enabled)s, %(next_due_at)s)
on conflict (name) do update
set enabled = excluded.enabled, definition = excluded.definition, updated_at = clock_timestamp(),
    next_due_at = case
        when tb_schedule.enabled and tb_schedule.definition = excluded.definition then tb_schedule.next_due_at
        else excluded.next_due_at
    end
