#!/bin/sh
# 装上测试用到的 Debian 程序：浏览器、Prometheus、Alertmanager、PgBouncer、中文字体（截图用）、部署文件的检查、断电的盘（root 挂它用不着）。make test 先调它。
# 能装才装（root，或 CI 里免密的 sudo）；装不了不算错：用到它们的测试自己会说，CI 里算失败。
set -u

# 每行：命令或文件，由哪个包提供；末了还有字的，这一版的 Debian 有才装
NEEDED='
chromium chromium
chromium-headless-shell chromium-headless-shell 省一半处理器
prometheus prometheus
promtool prometheus
prometheus-alertmanager prometheus-alertmanager
amtool prometheus-alertmanager
docker-compose docker-compose
kubectl kubernetes-client
shellcheck shellcheck
systemd-analyze systemd
pgbouncer pgbouncer
spin spin
fusermount3 fuse3
gcc gcc
/usr/include/stdio.h libc6-dev
/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc fonts-noto-cjk
'

present() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

missing=$(printf '%s' "$NEEDED" | while read -r what package optional; do
    if [ -z "$what" ] || present "$what"; then continue; fi
    if [ -z "$optional" ] || apt-cache show "$package" >/dev/null 2>&1; then echo "$package"; fi
done | sort -u)

if [ -z "$missing" ]; then exit 0; fi
# shellcheck disable=SC2086 # 包名之间要分开
set -- $missing

if ! command -v apt-get >/dev/null; then
    echo "tests need $*: install them your way; tests without them are skipped (a failure in CI)"
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=''
elif [ -n "${CI:-}" ] && sudo -n true 2>/dev/null; then
    as_root='sudo -n'
else
    echo "tests need $*: sudo apt-get install --no-install-recommends $*; tests without them are skipped"
    exit 0
fi

echo "installing $* from Debian"
apt() { $as_root env DEBIAN_FRONTEND=noninteractive timeout 600 apt-get -qq -o Acquire::Retries=3 "$@" >/dev/null; }
if ! { apt update && apt install -y --no-install-recommends "$@"; }; then
    echo "could not install $*; tests without them are skipped (a failure in CI)"
fi
# 测试只要程序：包自己带起来的服务不留
for service in prometheus prometheus-alertmanager pgbouncer; do
    if [ -d /run/systemd/system ] && [ "${missing#*"$service"}" != "$missing" ]; then
        $as_root systemctl disable --now --quiet "$service"
    fi
done
