#!/bin/sh
# postgres 镜像第一次建库时跑：建角色，口令取自秘密文件。文件里只有字母、数字与 -_（make-secrets.sh 生成的就是）。
set -eu

psql -v ON_ERROR_STOP=1 -d "$POSTGRES_DB" -U "$POSTGRES_USER" -f /etc/kaguan/roles.sql
for role in kaguan_owner kaguan_app; do
    password=$(cat "/run/secrets/$role")
    psql -v ON_ERROR_STOP=1 -d "$POSTGRES_DB" -U "$POSTGRES_USER" -v role="$role" -v password="$password" <<'SQL'
alter role :"role" password :'password';
SQL
done
