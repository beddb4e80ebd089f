#!/bin/sh
# 给 compose 造秘密：sh deploy/make-secrets.sh [目录]（缺省 deploy/secrets）。已有的不动，再跑一遍只补缺的。
# 库与 Valkey 的口令现造，三种进程在 Valkey 里各是一个用户；SMTP 的要自己写进去，没有就说；
# 运营商的先造空的：不用的那一家留着空的就行，用的写进运营商发的那个。
# 目录 0700、文件 0444：目录挡住这台机器上的别人，容器里的各个用户都读得到挂给它的那一个。
set -eu

directory=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$directory"
chmod 0700 "$directory"

keep() { # 文件名、内容
    [ -e "$directory/$1" ] && return
    printf '%s\n' "$2" >"$directory/.$1"
    chmod 0444 "$directory/.$1"
    mv "$directory/.$1" "$directory/$1"
}

random() { # 43 个字母与数字，256 位
    head -c 32 /dev/urandom | base64 | tr '+/' 'xy' | tr -d '='
}

keep postgres "$(random)"
keep kaguan_owner "$(random)"
keep kaguan_app "$(random)"
owner=$(cat "$directory/kaguan_owner")
app=$(cat "$directory/kaguan_app")
keep OWNER_DATABASE__URL "postgresql://kaguan_owner:$owner@postgres/kaguan"
keep KAGUAN_DATABASE__URL "postgresql://kaguan_app:$app@postgres/kaguan"

# 各只写自己写的键（哪些是谁的：src/kaguan/queues/keys.py），谁也不能管理、不能清空；读得到全部，kaguan doctor 在哪里都能跑
everybody='%R~kaguan:* ~kaguan:presence:* ~kaguan:timeline ~saq:*'
commands='+@all -@admin -@dangerous +info'
users='user default off'

user() { # 进程、键、频道
    upper=$(printf '%s' "$1" | tr '[:lower:]' '[:upper:]')
    keep "valkey_$1" "$(random)"
    password=$(cat "$directory/valkey_$1")
    keep "${upper}_REDIS__URL" "redis://kaguan-$1:$password@valkey:6379/0"
    digest=$(printf '%s' "$password" | sha256sum | cut -d ' ' -f 1)
    users="$users
user kaguan-$1 on #$digest $everybody $2 $3 $commands"
}

user api '~kaguan:rate:*' '&kaguan:doorbell &saq:job:*'
user relay '~kaguan:epoch ~kaguan:epoch:history ~kaguan:watermark ~kaguan:calls ~kaguan:calls:trimmed ~kaguan:breakers' \
    '&kaguan:doorbell'
user worker '~kaguan:calls ~kaguan:calls:trimmed ~kaguan:breakers ~kaguan:breaker:* ~kaguan:task:*:lock ~kaguan:pace:* ~kaguan:carrier:*:leases ~kaguan:limits:*' \
    '&kaguan:doorbell'
keep users.acl "$users"

for name in KAGUAN_CARRIERS__ONELINK__PASSWORD KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY; do
    if [ ! -e "$directory/$name" ]; then
        : >"$directory/$name"
        chmod 0644 "$directory/$name"
    fi
    [ -s "$directory/$name" ] || echo "$directory/$name 是空的：用这一家，就写进去" >&2
done
if [ ! -e "$directory/KAGUAN_SMTP__URL" ]; then
    echo "还缺 $directory/KAGUAN_SMTP__URL：请写进去，chmod 0444（形如 smtps://用户:密码@主机:465）" >&2
    exit 1
fi
