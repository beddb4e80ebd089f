#!/bin/sh
# 给 compose 造秘密：sh deploy/make-secrets.sh [目录]（缺省 deploy/secrets）。已有的不动，再跑一遍只补缺的。
# 库与 Valkey 的口令现造；SMTP 与运营商的要自己写进去，缺哪个说哪个。
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
keep valkey "$(random)"
owner=$(cat "$directory/kaguan_owner")
app=$(cat "$directory/kaguan_app")
valkey=$(cat "$directory/valkey")
digest=$(printf '%s' "$valkey" | sha256sum | cut -d ' ' -f 1)
keep OWNER_DATABASE__URL "postgresql://kaguan_owner:$owner@postgres/kaguan"
keep KAGUAN_DATABASE__URL "postgresql://kaguan_app:$app@postgres/kaguan"
keep KAGUAN_REDIS__URL "redis://kaguan:$valkey@valkey:6379/0"
# 只碰自己的键，不能管理、不能清空
keep users.acl "user default off
user kaguan on #$digest ~saq:* ~kaguan:* &saq:* &kaguan:* +@all -@admin -@dangerous +info"

missing=0
for name in KAGUAN_SMTP__URL KAGUAN_CARRIERS__ONELINK__PASSWORD KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY; do
    if [ ! -e "$directory/$name" ]; then
        echo "还缺 $directory/$name：请写进去，chmod 0444（SMTP 形如 smtps://用户:密码@主机:465）" >&2
        missing=1
    fi
done
exit "$missing"
