-- 新的计划，或表达式改过的：从现在起算下一次。另一个 relay 已登记的不动。
insert into tb_schedule (name, definition, next_due_at)
values (%(name)s, %(definition)s, %(next_due_at)s)
on conflict (name) do update
set definition = excluded.definition, next_due_at = excluded.next_due_at, updated_at = clock_timestamp()
where tb_schedule.definition <> excluded.definition
