update tb_schedule
set next_due_at = %(next_due_at)s, updated_at = clock_timestamp(),
    last_fired_at = case when %(fired)s then clock_timestamp() else last_fired_at end
where name = %(name)s
