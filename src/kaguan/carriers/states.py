"""各方言的状态码 → 规范状态。认不出的一律 ``unknown``，由调用方计数，从不抛异常。"""

from __future__ import annotations

from collections.abc import Container

from kaguan.sims.vocabulary import LifecycleState, SessionState, SuspendReason

LONGEST_CODE = 32  # 字符；认不出的原文进日志时至多这么长

# OneLink EC v5 cardStatus（开源平台 IoTOS 的 CardStateTransition.getEcV5Status 所列）
ONELINK: dict[str, LifecycleState] = {
    "1": LifecycleState.PENDING_ACTIVATION,
    "2": LifecycleState.ACTIVE,
    "4": LifecycleState.SUSPENDED,
    "6": LifecycleState.TESTING,
    "7": LifecycleState.INVENTORY,
    "8": LifecycleState.PRE_CANCELLED,
}

# Cisco Control Center「SIM Status Values」（developer.cisco.com/docs/control-center）
CONTROL_CENTER: dict[str, LifecycleState] = {
    "TEST_READY": LifecycleState.TESTING,
    "INVENTORY": LifecycleState.INVENTORY,
    "ACTIVATION_READY": LifecycleState.PENDING_ACTIVATION,
    "ACTIVATED": LifecycleState.ACTIVE,
    "DEACTIVATED": LifecycleState.SUSPENDED,
    "RETIRED": LifecycleState.CANCELLED,
    "PURGED": LifecycleState.CANCELLED,
    "REPLACED": LifecycleState.CANCELLED,
}

# OneLink CMIOT_API25M01「单卡在线信息实时查询」的 status
ONELINK_SESSION: dict[str, SessionState] = {"00": SessionState.OFFLINE, "01": SessionState.ONLINE}

# OneLink CMIOT_API25S02「单卡停机原因查询」只公开了字段名；取值与模拟器约定
ONELINK_STOP_REASON: dict[str, SuspendReason] = {
    "01": SuspendReason.REQUESTED,
    "02": SuspendReason.ARREARS,
    "03": SuspendReason.OVER_LIMIT,
    "04": SuspendReason.DEVICE_MISMATCH,
    "05": SuspendReason.BY_CARRIER,
}

# Control Center 的公开接口没有停机原因；DEACTIVATED 是账户（或它的自动化规则）停用的
CONTROL_CENTER_STOP_REASON: dict[str, SuspendReason] = {"DEACTIVATED": SuspendReason.REQUESTED}


def unknown(*codes: tuple[str, str | None, Container[str]]) -> tuple[str, ...]:
    """``(对方的字段名, 原文, 认得的码)`` 里认不出的，各写作 ``字段名=原文``；没说的不算。"""
    return tuple(f"{name}={code[:LONGEST_CODE]}" for name, code, known in codes if code and code not in known)
