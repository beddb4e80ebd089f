"""文档里的例子：请求体与成功应答的 ``data``。契约测试拿它们对照各自的模式。"""

from __future__ import annotations

from typing import Any

AT = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:00:02Z"
TASK_ID = "01989f2e-0000-7000-8000-000000000001"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
ICCID = "8986001234567890123"
ROW = {"version": 1, "created_at": AT, "updated_at": AT}
PAGE = {"total": 1, "total_estimated": False, "page": 1, "page_size": 20, "next_cursor": None}

SWEEP_IN: dict[str, Any] = {"caller": "importer", "type": "email:send", "since": AT}
SWEEP: dict[str, Any] = {
    "dry_run": True,
    "total": 1,
    "limited": False,
    "complete": True,
    "counts": {"pending": 1},
    "matched": [{"task_id": TASK_ID, "type": "email:send", "status": "pending", "created_at": AT}],
    "preview": "eJyr…",
    "done": None,
    "asked": None,
    "skipped": None,
}
PAUSE_IN = {"scope": "type", "name": "sim:status_sync", "reason": "运营商割接", "seconds": 1800}
PAUSE: dict[str, Any] = {
    "id": TASK_ID,
    "scope": "type",
    "name": "sim:status_sync",
    "reason": "运营商割接",
    "actor": "ops",
    "created_at": AT,
    "until": "2026-01-01T00:30:00Z",
    "waiting": 0,
}
TYPE_LIMIT_IN = {"at_once": 2, "reason": "运营商割接", "seconds": 1800}
CARRIER_LIMIT_IN = {"per_second": 5, "reason": "运营商割接", "seconds": 1800}
TYPE_LIMIT: dict[str, Any] = {
    "scope": "type",
    "name": "sim:status_sync",
    "at_once": 2,
    "per_second": None,
    "configured": {"at_once": None, "per_second": None},
    "reason": "运营商割接",
    "actor": "ops",
    "created_at": AT,
    "until": "2026-01-01T00:30:00Z",
}
CARRIER_LIMIT: dict[str, Any] = {
    **TYPE_LIMIT,
    "scope": "carrier",
    "name": "onelink",
    "at_once": None,
    "per_second": 5,
    "configured": {"at_once": 4, "per_second": 50},
}
LIMITS: dict[str, Any] = {"items": [TYPE_LIMIT], "page_size": 100, "next_cursor": None}
PAUSES: dict[str, Any] = {"items": [PAUSE], "page_size": 100, "next_cursor": None}
AUDIT: dict[str, Any] = {
    "items": [
        {
            "id": 1,
            "at": AT,
            "actor": "ops",
            "action": "task.cancel",
            "target": TASK_ID,
            "outcome": "ok",
            "request_id": "r-1",
            "detail": {"status": "cancelled", "via": "api"},
        }
    ],
    "page_size": 20,
    "next_cursor": None,
}
AUDIT_CSV = (
    "id,at,actor,action,target,outcome,request_id,detail\r\n"
    f'1,{AT},ops,task.cancel,{TASK_ID},ok,r-1,"{{""status"":""cancelled"",""via"":""api""}}"\r\n'
)

USER_IN = {"username": "zhang.san", "email": "zhang.san@example.com", "password": "correct horse"}
USER_PATCH = {"status": "banned"}
USER: dict[str, Any] = {"id": 1, "username": "zhang.san", "email": "zhang.san@example.com", "status": "active", **ROW}
CREATED_USER = {**USER, "welcome_task_id": TASK_ID}
CHANGED_USER = {**USER, "status": "banned", "version": 2, "updated_at": LATER}
USERS = {"items": [USER], **PAGE}

ORDER_IN = {"user_id": 1, "amount": 9900, "currency": "CNY", "remark": "一年流量包"}
ORDER_PATCH = {"status": "paid"}
ORDER: dict[str, Any] = {
    "id": 1,
    "order_id": "ORD20260101000000A1B2C3",
    "user_id": 1,
    "amount": 9900,
    "currency": "CNY",
    "status": "pending",
    "remark": "一年流量包",
    **ROW,
}
CREATED_ORDER = {**ORDER, "order_task_id": TASK_ID, "user": None}
CHANGED_ORDER = {**ORDER, "status": "paid", "version": 2, "updated_at": LATER}
ORDERS = {"items": [ORDER], **PAGE}

SIMS_IN: dict[str, Any] = {
    "sims": [
        {
            "iccid": ICCID,
            "carrier": "onelink",
            "imei": "490154203237518",
            "plan": "30M",
            "group": "一号仓",
            "tags": ["展会"],
            "customer": "示例公司",
            "remark": "测试卡",
        },
    ]
}
REGISTERED_SIMS: dict[str, Any] = {
    "created": 1,
    "conflict": 0,
    "invalid": 0,
    "items": [
        {"iccid": ICCID, "outcome": "created", "id": 1, "luhn_valid": True, "field": None, "reason": None},
    ],
}
SIM_IMPORT_IN: dict[str, Any] = {"content_base64": "aWNjaWQKODk4NjAwMTIzNDU2Nzg5MDEyMwo=", "carrier": "onelink"}
SIM_IMPORT: dict[str, Any] = {
    "dry_run": True,
    "new": 1,
    "existing": 0,
    "invalid": 0,
    "items": [{"line": 2, "iccid": ICCID, "outcome": "new", "luhn_valid": True, "errors": []}],
    "preview": "eJyLjgUAARUAuQ==",
}
SIM_IMPORT_CSV = "iccid,plan,行号,原因\r\n123,30M,2,iccid: 应为 89 开头的 19 或 20 位数字\r\n"
SIM: dict[str, Any] = {
    "id": 1,
    "iccid": ICCID,
    "carrier": "onelink",
    "eid": None,
    "msisdn": None,
    "imsi": None,
    "imei": "490154203237518",
    "plan": "30M",
    "group": "一号仓",
    "tags": ["展会"],
    "customer": "示例公司",
    "remark": "测试卡",
    "luhn_valid": True,
    "lifecycle_state": "active",
    "suspend_reason": None,
    "session_state": "online",
    "carrier_status": "2",
    "status_source": "onelink",
    "status_changed_at": LATER,
    "status_synced_at": LATER,
    "info_synced_at": None,
    "activated_on": "2026-01-01",
    "profile_since": AT,
    **ROW,
}
SIM_PATCH: dict[str, Any] = {"plan": "100M", "tags": ["展会", "样卡"], "remark": "展会样卡"}
CHANGED_SIM = {**SIM, **SIM_PATCH, "version": 2, "updated_at": LATER}
SIMS = {"items": [SIM], **PAGE, "not_found": []}
CARD: dict[str, Any] = {
    **SIM,
    "month": {
        "start_date": "2026-01-01",
        "end_date": "2026-01-07",
        "data_bytes": 1048576,
        "sms_count": 0,
        "items": [{"day": "2026-01-01", "data_bytes": 1048576, "sms_count": 0}],
    },
    "profiles": [
        {"iccid": "8986001234567890115", "carrier": "onelink", "msisdn": None, "imsi": None, "since": AT, "until": AT}
    ],
}
SIM_EVENTS: dict[str, Any] = {
    "items": [
        {
            "id": 1,
            "iccid": ICCID,
            "at": LATER,
            "old_state": "inventory",
            "new_state": "active",
            "carrier_status": "2",
            "source": "onelink",
            "task_id": TASK_ID,
        },
    ],
    "page_size": 20,
    "next_cursor": None,
}
SIMS_CSV = f"iccid,carrier,lifecycle_state,plan,tags\r\n{ICCID},onelink,active,30M,展会;样卡\r\n"
SIM_EVENTS_CSV = f"id,at,iccid,old_state,new_state\r\n1,{LATER},{ICCID},inventory,active\r\n"
CHANGE_IN: dict[str, Any] = {"change": "suspend", "iccids": [ICCID], "reason": "客户停用", "request_id": "stop-42"}
ACCEPTED_CHANGE: dict[str, Any] = {
    "dry_run": False,
    "change": "suspend",
    "plan": None,
    "accepted": 1,
    "refused": 0,
    "limited": False,
    "id": 1,
    "replayed": False,
    "cards": None,
    "refusals": None,
    "preview": None,
}
REQUESTED: dict[str, Any] = {
    "id": 1,
    "change": "suspend",
    "plan": None,
    "reason": "客户停用",
    "requested_by": "desk",
    "requested_at": AT,
    "request_id": "stop-42",
    "schedule_at": None,
}
RECEIPT: dict[str, Any] = {
    "iccid": ICCID,
    "task_id": TASK_ID,
    "status": "succeeded",
    "reason": None,
    "order_number": "5f1c2a",
    "evidence": {"order_status": "2", "status": "4", "seen_at": LATER},
    "requested_by": "desk",
    "requested_at": AT,
    "called_at": AT,
    "settled_at": LATER,
}
CHANGE: dict[str, Any] = {
    **REQUESTED,
    "counts": {"pending": 0, "succeeded": 1, "refused": 0, "failed": 0, "uncertain": 0},
    "receipts": [RECEIPT],
}
CHANGE_CSV = (
    "ICCID,结果,原因,运营商单号,凭据,变更,套餐,谁要求的,何时要求的,何时去做的,何时定论的,任务\r\n"
    f'\t{ICCID},succeeded,,5f1c2a,"{{""status"":""4""}}",suspend,,desk,{AT},{AT},{LATER},{TASK_ID}\r\n'
)
CARD_CHANGES: dict[str, Any] = {
    "items": [{**REQUESTED, "receipt": RECEIPT}],
    "page_size": 20,
    "next_cursor": None,
}
SIM_USAGE: dict[str, Any] = {
    "iccid": ICCID,
    "start_date": "2026-01-01",
    "end_date": "2026-01-07",
    "data_bytes": 1048576,
    "sms_count": 0,
    "items": [{"day": "2026-01-01", "data_bytes": 1048576, "sms_count": 0, "revision": 1, "synced_at": LATER}],
}

EMAIL_IN = {"request_id": "welcome-42", "to": ["a@example.com"], "subject": "您好", "body": "正文"}
SYNC_IN = {"sync_type": "usage", "start_date": "2026-01-01", "end_date": "2026-01-07"}
SIM_IN: dict[str, Any] = {"iccids": [ICCID], "force_sync": True}
BATCH_IN = {"tasks": [{"type": "sim:status_sync", "iccids": [ICCID]}]}


def accepted(task_type: str) -> dict[str, Any]:
    """受理 ``task_type`` 任务的应答。"""
    return {"task_id": TASK_ID, "type": task_type, "queue": "default", "status": "pending", "replayed": False}


BATCH: dict[str, Any] = {
    "accepted": 1,
    "rejected": 0,
    "items": [{"index": 0, "code": 0, "msg": "成功", "task": accepted("sim:status_sync")}],
}
LISTED_TASK: dict[str, Any] = {
    "task_id": TASK_ID,
    "type": "email:send",
    "queue": "default",
    "status": "succeeded",
    "caller": "orders",
    "summary": "a@example.com · 您的订单",
    "request_id": "welcome-42",
    "attempts": 1,
    "max_attempts": 6,
    "progress": None,
    "result": None,
    "error": None,
    "trace_id": TRACE_ID,
    "created_at": AT,
    "available_at": AT,
    "queued_at": AT,
    "started_at": AT,
    "finished_at": LATER,
    "cancel_requested_at": None,
    "ordering_key": "order:42",
}
TASK: dict[str, Any] = {
    **LISTED_TASK,
    "position": None,
    "blocked_by": None,
    "result": {
        "message_id": f"<{TASK_ID}@mail.kaguan.local>",
        "recipients": [{"recipient": "a@example.com", "status": "accepted", "code": 250}],
    },
    "timeline": [
        {"stage": "accepted", "at": AT},
        {"stage": "queued", "at": AT},
        {"stage": "started", "at": AT},
        {"stage": "succeeded", "at": LATER},
    ],
}
TASKS = {"items": [LISTED_TASK], "page_size": 20, "next_cursor": None}
VANISHED: dict[str, Any] = {
    "items": [
        {"task_id": TASK_ID, "type": "email:send", "request_id": "welcome-42", "delivery": 1, "first_seen": LATER}
    ],
    "page_size": 20,
    "next_cursor": None,
}
CANCELLED = {"task_id": TASK_ID, "status": "cancelled"}
RETRIED = {"task_id": TASK_ID, "status": "pending"}
RESOLVE_IN = {"outcome": "happened", "note": "中继日志 10:42 queued as 4XkQ2"}
RESOLVED = {"task_id": TASK_ID, "status": "succeeded"}
CHANGE_TASK_IN = {"priority": "critical", "schedule_at": AT, "reason": "客户在等"}
CHANGED_TASK = {"task_id": TASK_ID, "status": "pending"}
PAYLOAD_IN = {"reason": "工单 4711：客户说没有收到"}
PAYLOAD: dict[str, Any] = {
    "task_id": TASK_ID,
    "type": "email:send",
    "payload": {"v": 1, "to": ["a@example.com"], "cc": [], "subject": "您的订单", "body": "已发货。"},
}
REPLAY_IN = {"status": "failed", "type": "email:send", "limit": 10, "dry_run": True}
ERROR: dict[str, Any] = {
    "reason": "全部收件人被拒收（550 × 1：无此邮箱）",
    "code": "mail.refused",
    "parameters": {
        "replies": [
            {"code": "mail.reply_quoted", "parameters": {"reply": {"reason": "550"}, "count": 1, "words": "无此邮箱"}}
        ]
    },
}
REPLAY: dict[str, Any] = {
    "dry_run": True,
    "total": 1,
    "limited": False,
    "matching": 1,
    "preview": "eJyrViouSSwpLVayUkpLzMxJTVHSUcrJzM0sUbIy0FEqSixJVbIyNdAzqOUCAAZTC1c=",
    "matched": [{"task_id": TASK_ID, "type": "email:send", "last_error": ERROR, "finished_at": LATER}],
}
TASK_EVENT = f'id: {TASK_ID}\r\nevent: task\r\ndata: {{"task_id":"{TASK_ID}","status":"running"}}\r\n\r\n'

SCHEDULES: dict[str, Any] = {
    "items": [
        {
            "name": "daily-usage",
            "cron": "30 2 * * *",
            "timezone": "Asia/Shanghai",
            "type": "data:sync",
            "queue": "low",
            "misfire": "once",
            "enabled": True,
            "last_fired_at": AT,
            "next_due_at": "2026-01-01T18:30:00Z",
        }
    ],
    "page_size": 100,
    "next_cursor": None,
}
HEALTH: dict[str, Any] = {
    "status": "ok",
    "parts": {"database": {"status": "ok", "latency_ms": 0.8}, "redis": {"status": "ok", "latency_ms": 0.3}},
    "verdict": {
        "level": "bad",
        "at": "2026-03-01T08:00:00Z",
        "concerns": [{"code": "setbacks", "level": "bad"}, {"code": "uncertain", "level": "warn"}],
    },
}
ALIVE = {"status": "ok"}
METRICS = '# TYPE kaguan_tasks_accepted counter\nkaguan_tasks_accepted_total{type="email:send",queue="default"} 1.0\n'


SCHEDULE_HISTORY: dict[str, Any] = {
    "name": "daily-usage",
    "upcoming": ["2026-01-01T18:30:00Z"],
    "runs": [{"at": AT, "by_hand": False, "task_id": TASK_ID, "status": "succeeded", "finished_at": AT}],
}


def switched(*, enabled: bool) -> dict[str, Any]:
    """启用或停用计划的应答。"""
    return {"name": "daily-usage", "enabled": enabled}
