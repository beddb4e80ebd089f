-- 三个角色（psql -v ON_ERROR_STOP=1 -f roles.sql，以管理员连在 kaguan 这个库上）：再跑一遍也无妨。
-- 口令不在这里：之后 \password kaguan_owner 等，或由 init.sh 从秘密文件里设。
--   kaguan_owner 库的主人，只做迁移；kaguan_app 三种进程用，只能读写行；kaguan_read 给人查，只读
-- 看的人自己改得掉「只读」与「语句至多 30 秒」这两个默认；挡住他的是权限、连接数与临时文件的上限。他看得见 tb_task.payload（整封邮件）
select format('create role %I login', name)
from unnest(array['kaguan_owner', 'kaguan_app', 'kaguan_read']) as name
where not exists (select from pg_roles where rolname = name)
\gexec

select format('alter database %I owner to kaguan_owner', current_database())
\gexec
-- 只有这三个连得进来；临时表只有库的主人建得了
select format('revoke connect, temporary on database %I from public', current_database())
union all
select format('grant connect on database %I to kaguan_owner, kaguan_app, kaguan_read', current_database())
\gexec
-- 大对象谁都建得了、没有上限：收回（只有超级用户收得回，托管的库里不做）
select format('revoke execute on function %s from public', oid::regprocedure)
from pg_proc
where pronamespace = 'pg_catalog'::regnamespace and proname ~ '^lo(_|read$|write$)'
  and current_setting('is_superuser') = 'on'
\gexec
alter schema public owner to kaguan_owner;
revoke all on schema public from public;
grant usage on schema public to kaguan_app, kaguan_read;

-- 已有的表（接手旧库）与以后迁移建的表
grant select, insert, update, delete on all tables in schema public to kaguan_app;
grant usage on all sequences in schema public to kaguan_app;
alter default privileges for role kaguan_owner in schema public
    grant select, insert, update, delete on tables to kaguan_app;
alter default privileges for role kaguan_owner in schema public grant usage on sequences to kaguan_app;

-- 给人查的看不见口令散列、令牌与会话的摘要、存着的应答、盖印的钥匙；迁移加了表之后再跑一遍，它才看得见新的
alter role kaguan_read connection limit 5;
select 'alter role kaguan_read set temp_file_limit = ''1GB''' where current_setting('is_superuser') = 'on'
\gexec
alter role kaguan_read set default_transaction_read_only = on;
alter role kaguan_read set statement_timeout = '30s';
select format('grant select on %I to kaguan_read', table_name)
from information_schema.tables
where table_schema = 'public' and table_type in ('BASE TABLE', 'VIEW')
  and table_name not in ('tb_user', 'tb_api_token', 'tb_session', 'tb_idempotency_key', 'tb_seal')
union all
select format('grant select (%s) on tb_user to kaguan_read', string_agg(quote_ident(column_name), ', '))
from information_schema.columns
where table_schema = 'public' and table_name = 'tb_user' and column_name <> 'password_hash'
having count(*) > 0
\gexec
