"""每件事在运维手册里的哪一节。"""

from __future__ import annotations

from kaguan.verdict.model import Concern, ConcernCode

# 代号 → 运维手册里的一节；与告警同名的就是告警那一节（由测试核对）
RUNBOOKS = {
    ConcernCode.DATABASE: "DatabaseAway",
    ConcernCode.REDIS: "RedisAway",
    ConcernCode.REDIS_REFUSES: "RedisAway",
    ConcernCode.LOCKED: "DatabaseLocked",
    ConcernCode.HISTORY: "ClaimsStopped",
    ConcernCode.VANISHED: "TasksVanished",
    ConcernCode.NO_RELAY: "NoRelay",
    ConcernCode.NO_WORKER: "ProcessDown",
    ConcernCode.QUIET: "ProcessDown",
    ConcernCode.RESTARTS: "ProcessDown",
    ConcernCode.BREAKER: "CarrierBreakerOpen",
    ConcernCode.NOT_FORWARDING: "OutboxOldestPending",
    ConcernCode.HELD: "QueueNotDraining",
    ConcernCode.STALLED: "QueueNotDraining",
    ConcernCode.SETBACKS: "TaskFailureRatio",
    ConcernCode.FAILURES: "TaskFailureRatio",
    ConcernCode.BACKLOG: "QueueNotDraining",
    ConcernCode.LIMITED: "QueueNotDraining",
    ConcernCode.REDIS_LOST: "RedisAway",
    ConcernCode.DEAF: "ListenerDeaf",
    ConcernCode.UNKNOWN_TYPE: "OutboxParked",
    ConcernCode.ORDERING: "KeyBlocked",
    ConcernCode.EXPIRED: "LeasesLost",
    ConcernCode.UNCERTAIN: "TasksUncertain",
    ConcernCode.PARKED: "OutboxParked",
    ConcernCode.PAUSED: "Paused",
    ConcernCode.BOUNDED: "Paused",
}
SMTP_RUNBOOK = "SmtpOutage"  # 断路器断开的是中继主机
CARRIER = "carrier:"  # 断路器断开的是运营商


def runbook_of(concern: Concern) -> str:
    """运维手册里的哪一节。"""
    if concern.code is ConcernCode.BREAKER and not concern.subject.startswith(CARRIER):
        return SMTP_RUNBOOK
    return RUNBOOKS[concern.code]
