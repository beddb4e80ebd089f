"""生产环境非给不可的秘密，各编一个，与哪种进程要哪些。"""

from __future__ import annotations

from kaguan.config import Process

# 生产也收的一套
SECRETS = {
    "KAGUAN_DATABASE__URL": "postgresql://kaguan:quiet-harbour-71@db/kaguan?sslmode=verify-full",
    "KAGUAN_REDIS__URL": "rediss://:quiet-harbour-72@redis:6379/0",
    "KAGUAN_SMTP__URL": "smtps://user:quiet-harbour-73@mail:465",
    "KAGUAN_CARRIERS__ONELINK__PASSWORD": "quiet-harbour-74",
    "KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY": "quiet-harbour-75",
}
DATABASE, REDIS, SMTP, ONELINK, CONTROL_CENTER = SECRETS
# 每种进程没有就不启动的；运营商的，用哪一家才要哪一家的
NEEDED = {
    Process.COMMAND: {DATABASE},
    Process.API: {DATABASE, REDIS},
    Process.CONSOLE: {DATABASE, REDIS},
    Process.RELAY: {DATABASE, REDIS},
    Process.WORKER: {DATABASE, REDIS, SMTP},
}
BOTH_CARRIERS = {
    "KAGUAN_CARRIERS__ONELINK__BASE_URL": "https://onelink.example",
    "KAGUAN_CARRIERS__CONTROL_CENTER__BASE_URL": "https://center.example",
}
# 对着本机的服务器：加上它们的地址就是生产
LOCAL = {
    "KAGUAN_ENV": "prod",
    "KAGUAN_API__BCRYPT_ROUNDS": "10",
    "KAGUAN_SMTP__URL": "smtps://user:quiet-harbour-73@127.0.0.1:465",
    "KAGUAN_CARRIERS__ONELINK__PASSWORD": "quiet-harbour-74",
    "KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY": "quiet-harbour-75",
    "KAGUAN_SCHEDULES": "[]",
}
