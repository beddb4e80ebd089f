"""卡管：物联网卡管理后端。三个进程（api、relay、workers）共用的部分，自上而下分层；一间只导入下面的。

cli dev                                  操作；在一台机器上带起全部（只随 extra ``local``）
product                                  整个产品：全部表、全部任务类型、进程的外壳
verdict                                  判断：看、判、记、说；流水线此刻的查询
users orders sims carriers mail notices  领域，按主题
tokens sessions audit idempotency        谁能做、登录、留痕、幂等键
outbox                                   协议：受理、relay、worker、重投、有序、定时，不知道任何领域
presence breakers queues                 心跳、断路器、Redis
database logging telemetry config        平台
flow                                     步调
words                                    词汇，日志的行
"""
