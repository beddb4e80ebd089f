"""卡管：物联网卡管理后端。三个进程（api、relay、workers）共用的部分，按主题切分。

tasks    任务：记录、受理、查询、取消        outbox   待投递清单：取出、标记、重投
inbox    认领与结算：隔离令牌、租约          queues   Redis 与 SAQ：名称、权重、批量入队
users orders sims tokens  领域实体           carriers 运营商网关与模拟器
presence 进程的心跳与清点               verdict  判断：看、判、记、说
config errors database telemetry logging cli dev  支撑
"""
