-- 受理的约定，在库里：任何语言在自己的事务里都能调（docs/library.md；样例在 tests/integration/outbox/accept/vectors.json）。
-- 一个任务一行：第几个（从 0 数）、任务号、状态，与 accepted、replayed（同号同文，给出首个）、conflict（同号不同文，没有受理）。
-- 不发 NOTIFY。计划一遍就一直用：载荷是参数，照着它重新计划只是白抄；表还空着时计划的，也只按索引一行行地找
create or replace function outbox_accept(tasks jsonb)
returns table (place integer, task_id uuid, status text, outcome text)
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $function$
#variable_conflict use_column
declare
    refused text;
    ids uuid[];
    principals text[];
    keys text[];
    taken uuid[];
    admitted integer;
begin
    if jsonb_typeof(tasks) is distinct from 'array' then
        raise invalid_parameter_value using message = 'tasks: a JSON array of objects / 要是对象的数组';
    end if;
    -- 逐个核对；没给号的编一个 UUIDv7，同一批里随次序递增
    select
        min('tasks[' || place || ']' || wrong),
        array_agg(coalesce((task ->> 'id')::uuid, (
            lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
            || lpad(to_hex(mod(place, 4096)), 3, '0') || substr(gen_random_uuid()::text, 20)
        )::uuid) order by place),
        array_agg(coalesce(task ->> 'principal', {{nobody}})) filter (where task ->> 'ordering_key' is not null),
        array_agg(task ->> 'ordering_key') filter (where task ->> 'ordering_key' is not null)
    into refused, ids, principals, keys
    from generate_series(0, jsonb_array_length(tasks) - 1) as place
    cross join lateral (select tasks -> place as task offset 0) as one
    cross join lateral (
        select case
            when jsonb_typeof(task) <> 'object' then ': an object / 要是对象'
            when task - {{known}} <> '{}' then 
                '.' || (select min(key) from jsonb_object_keys(task - {{known}}) as key)
                || ': unknown; known are ' || array_to_string({{known}}, ', ') || ' / 不认得'
            when jsonb_typeof(task -> 'payload') is distinct from 'object' then '.payload: an object, always given / 必给，要是对象'
            when coalesce(task ->> 'type', '') !~ '^[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)+$' or length(task ->> 'type') > 64
                then '.type: always given, domain:action, up to 64 of a-z0-9_: / 必给，领域:动作，至多 64 个字符'
            when coalesce(task ->> 'max_attempts', '') !~ '^([1-9]\d?|10[01])$'
                then '.max_attempts: always given, 1 to 101 / 必给，1 到 101'
            when task ->> 'priority' not in ('critical', 'default', 'low')
                then '.priority: critical, default or low / 是 critical、default 或 low'
            when jsonb_typeof(task -> 'principal') not in ('string', 'null') or length(task ->> 'principal') not between 1 and 128
                then '.principal: 1 to 128 characters / 1 到 128 个字符'
            when jsonb_typeof(task -> 'request_id') not in ('string', 'null') or length(task ->> 'request_id') not between 1 and 128
                then '.request_id: 1 to 128 characters / 1 到 128 个字符'
            when jsonb_typeof(task -> 'ordering_key') not in ('string', 'null') or length(task ->> 'ordering_key') not between 1 and 128
                then '.ordering_key: 1 to 128 characters / 1 到 128 个字符'
            when task ->> 'key_policy' not in ('skip', 'hold') then '.key_policy: skip or hold / 是 skip 或 hold'
            when task ->> 'key_policy' = 'hold' and task ->> 'ordering_key' is null
                then '.key_policy: hold wants an ordering_key / hold 要有 ordering_key'
            when task ->> 'schedule_at' !~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$'
                then '.schedule_at: RFC 3339 with a time zone / 照 RFC 3339，带时区'
            when (task ->> 'schedule_at')::timestamptz >= '9999-12-31Z' then '.schedule_at: before 9999-12-31 / 在 9999-12-31 之前'
            when length(task ->> 'traceparent') <> 55 or task ->> 'traceparent' !~ '^[0-9a-f]+-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+$' -- 数着的正则贵十倍
                then '.traceparent: of W3C Trace Context / 照 W3C Trace Context'
            when substr(task ->> 'id', 15, 1) <> '7' then '.id: a UUIDv7 / 要是 UUIDv7'
        end as wrong offset 0
    ) as checked;
    if refused is not null then
        raise invalid_parameter_value using message = refused;
    end if;
    if keys is not null then
        -- 锁住这些键（没有就立起来），直到提交：同键的受理与放行从此一个接一个。次序号按一批的大小往前跳，有空隙无妨
        insert into tb_ordering (principal, key, last_seq)
        select distinct principal, key, cardinality(ids)
        from unnest(principals, keys) as k (principal, key)
        order by principal, key -- 同样的键总按同一次序锁，并发的批次不会死锁
        on conflict (principal, key) do update
        set last_seq = tb_ordering.last_seq + excluded.last_seq, updated_at = clock_timestamp();
    end if;
    -- 另一条语句：它的快照才看得见锁等到的那次提交
    with accepted as (
        insert into tb_task (
            id, type, queue, principal, request_id, schedule_at, payload, max_attempts, traceparent, available_at,
            ordering_key, ordering_seq, ordering_holds
        )
        select
            ids[place], type, queue, principal, request_id, schedule_at, payload, max_attempts, traceparent, greatest(schedule_at, now()), -- 没给的、已过去的都是现在
            ordering_key, case when ordering_key is not null then place + (
                select last_seq - cardinality(ids)
                from tb_ordering o
                where o.principal = s.principal and o.key = s.ordering_key
            ) end,
            case when key_policy = 'hold' then true end
        from (
            select
                type, coalesce(priority, {{usual}}) as queue, coalesce(principal, {{nobody}}) as principal, request_id, payload,
                schedule_at, traceparent, ordering_key, key_policy, max_attempts, place
            from rows from (jsonb_to_recordset(tasks) as ({{task}})) with ordinality as given (
                type, priority, principal, request_id, payload, schedule_at, ordering_key, traceparent, max_attempts, key_policy, place
            )
        ) as s
        order by principal, request_id -- 同样的请求总按同一次序插入，并发的批次不会死锁
        on conflict (principal, request_id) where request_id is not null do nothing
        returning id, delivery, type, queue, principal, available_at, ordering_key
    ),
    staged as (
        insert into tb_outbox ({{row}})
        select id, delivery, type, {{rank}}, principal, available_at
        from accepted
        where ordering_key is null -- 有序的由放行来写，一个键一次一个
    )
    select array_agg(id) into taken from accepted;
    if keys is not null then
        {{order.admit}}
        into admitted;
    end if;
    if cardinality(taken) = cardinality(ids) then
        return query select place::integer - 1, id, 'pending', 'accepted' from unnest(ids) with ordinality as u (id, place);
        return;
    end if;
    -- 首次的也许只在本机（等同步备库的提交断了、被取消了）：也写一笔 WAL，这次的答复就等到备库有了它
    perform pg_logical_emit_message(true, 'kaguan', '');
    return query
    select
        place::integer - 1, case when s.id = any (taken) then s.id else first.id end, coalesce(first.status, 'pending'),
        case
            when s.id = any (taken) then 'accepted'
            when first.payload = s.payload and first.type = s.type
                -- 人改过优先级的，重交的还是当初那一个
                and (first.queue = s.queue or exists (
                    select from tb_task_event e where e.task_id = first.id and e.kind = 'changed'
                ))
                and first.schedule_at is not distinct from s.schedule_at
                and first.ordering_key is not distinct from s.ordering_key then 'replayed'
            else 'conflict'
        end
    from (
        select id, place, type, coalesce(priority, {{usual}}) as queue, coalesce(principal, {{nobody}}) as principal, request_id,
            payload, schedule_at, ordering_key
        from unnest(ids) with ordinality as u (id, place)
        cross join lateral jsonb_to_record(tasks -> (place::integer - 1)) as given ({{task}})
    ) as s
    left join lateral (
        select t.id, t.status, t.type, t.queue, t.payload, t.schedule_at, t.ordering_key
        from vw_task t
        where t.principal = s.principal and t.request_id = s.request_id
        limit 1
    ) as first on true
    order by place;
end
$function$;
-- 无论调用者的 search_path 是什么，表都在它自己的模式里找
do $pin$
begin
    execute 'alter function outbox_accept(jsonb) set search_path = ' || quote_ident(current_schema()) || ', pg_temp';
end
$pin$;
