"""生产环境非给不可的秘密，各编一个。"""

from __future__ import annotations

# 生产也收的一套
SECRETS = {
    "KAGUAN_DATABASE__URL": "postgresql://kaguan:quiet-harbour-71@db/kaguan?sslmode=verify-full",
    "KAGUAN_REDIS__URL": "rediss://:quiet-harbour-72@redis:6379/0",
    "KAGUAN_SMTP__URL": "smtps://user:quiet-harbour-73@mail:465",
    "KAGUAN_CARRIERS__ONELINK__PASSWORD": "quiet-harbour-74",
    "KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY": "quiet-harbour-75",
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
