"""初始结构：实体、任务、发件箱、令牌

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tb_api_token",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("length(name) between 1 and 100", name=op.f("ck_tb_api_token_name")),
        sa.CheckConstraint("octet_length(token_hash) = 32", name=op.f("ck_tb_api_token_token_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tb_api_token")),
    )
    op.create_index(
        "uq_tb_api_token_name", "tb_api_token", ["name"], unique=True, postgresql_where=sa.text("revoked_at is null")
    )
    op.create_index("uq_tb_api_token_token_hash", "tb_api_token", ["token_hash"], unique=True)
    op.create_table(
        "tb_broker",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_tb_broker_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tb_broker")),
    )
    op.create_table(
        "tb_email_delivery",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="intended", nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("smtp_code", sa.SmallInteger(), nullable=True),
        sa.Column("smtp_reply", sa.Text(), nullable=True),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column(
            "intended_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(settled_at is null) = (status = 'intended')", name=op.f("ck_tb_email_delivery_settled")),
        sa.CheckConstraint(
            "status in ('intended', 'accepted', 'refused', 'deferred')", name=op.f("ck_tb_email_delivery_status")
        ),
        sa.PrimaryKeyConstraint("task_id", "recipient", name=op.f("pk_tb_email_delivery")),
    )
    op.create_table(
        "tb_idempotency_key",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("length(key) between 1 and 255", name=op.f("ck_tb_idempotency_key_key")),
        sa.CheckConstraint("octet_length(fingerprint) = 32", name=op.f("ck_tb_idempotency_key_fingerprint")),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_tb_idempotency_key")),
    )
    op.create_index("ix_tb_idempotency_key_expires_at", "tb_idempotency_key", ["expires_at"], unique=False)
    op.create_table(
        "tb_order",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), server_default="CNY", nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("remark", sa.Text(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_tb_order_currency")),
        sa.CheckConstraint(
            "status in ('pending', 'paid', 'processing', 'completed', 'cancelled')", name=op.f("ck_tb_order_status")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_tb_order_amount")),
        sa.CheckConstraint("length(order_id) between 1 and 64", name=op.f("ck_tb_order_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tb_order")),
    )
    op.create_index(
        "ix_tb_order_live_id", "tb_order", ["id"], unique=False, postgresql_where=sa.text("deleted_at is null")
    )
    op.create_index(
        "ix_tb_order_status_id",
        "tb_order",
        ["status", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.create_index(
        "ix_tb_order_user_id_id",
        "tb_order",
        ["user_id", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.create_index(
        "uq_tb_order_order_id", "tb_order", ["order_id"], unique=True, postgresql_where=sa.text("deleted_at is null")
    )
    op.create_table(
        "tb_outbox",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("delivery", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("parked_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("(parked_at is null) = (parked_reason is null)", name=op.f("ck_tb_outbox_parked")),
        sa.CheckConstraint("delivery >= 1", name=op.f("ck_tb_outbox_delivery")),
        sa.CheckConstraint("priority between 0 and 2", name=op.f("ck_tb_outbox_priority")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_tb_outbox")),
        postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.01, "autovacuum_vacuum_cost_delay": 0},
    )
    op.create_index(
        "ix_tb_outbox_due",
        "tb_outbox",
        ["priority", "available_at", "task_id"],
        unique=False,
        postgresql_where=sa.text("parked_at is null"),
    )
    op.create_index(
        "ix_tb_outbox_parked_at",
        "tb_outbox",
        ["parked_at"],
        unique=False,
        postgresql_where=sa.text("parked_at is not null"),
    )
    op.create_table(
        "tb_sim",
        sa.Column("iccid", sa.Text(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("msisdn", sa.Text(), nullable=True),
        sa.Column("imsi", sa.Text(), nullable=True),
        sa.Column("remark", sa.Text(), nullable=True),
        sa.Column("luhn_valid", sa.Boolean(), nullable=False),
        sa.Column("lifecycle_state", sa.Text(), server_default="unknown", nullable=False),
        sa.Column("suspend_reason", sa.Text(), nullable=True),
        sa.Column("session_state", sa.Text(), nullable=True),
        sa.Column("carrier_status", sa.Text(), nullable=True),
        sa.Column("status_source", sa.Text(), nullable=True),
        sa.Column("status_changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status_synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("info_synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("activated_on", sa.Date(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("carrier in ('onelink', 'control_center')", name=op.f("ck_tb_sim_carrier")),
        sa.CheckConstraint("iccid ~ '^89[0-9]{17,18}$'", name=op.f("ck_tb_sim_iccid")),
        sa.CheckConstraint(
            "lifecycle_state in ('inventory', 'testing', 'pending_activation', 'active', 'suspended', 'pre_cancelled', 'cancelled', 'unknown')",
            name=op.f("ck_tb_sim_lifecycle_state"),
        ),
        sa.CheckConstraint(
            "session_state is null or session_state in ('online', 'offline', 'unknown')", name=op.f("ck_tb_sim_session")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tb_sim")),
    )
    op.create_index(
        "ix_tb_sim_carrier_id",
        "tb_sim",
        ["carrier", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.create_index(
        "ix_tb_sim_lifecycle_state_id",
        "tb_sim",
        ["lifecycle_state", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.create_index("ix_tb_sim_live_id", "tb_sim", ["id"], unique=False, postgresql_where=sa.text("deleted_at is null"))
    op.create_index("uq_tb_sim_iccid", "tb_sim", ["iccid"], unique=True, postgresql_where=sa.text("deleted_at is null"))
    op.create_table(
        "tb_sim_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("iccid", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("old_state", sa.Text(), nullable=False),
        sa.Column("new_state", sa.Text(), nullable=False),
        sa.Column("carrier_status", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tb_sim_event")),
    )
    op.create_index("ix_tb_sim_event_iccid_id", "tb_sim_event", ["iccid", "id"], unique=False)
    op.create_table(
        "tb_sim_usage",
        sa.Column("iccid", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("data_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sms_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("synced_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "data_bytes >= 0 and sms_count >= 0 and revision >= 1", name=op.f("ck_tb_sim_usage_amounts")
        ),
        sa.PrimaryKeyConstraint("iccid", "day", name=op.f("pk_tb_sim_usage")),
    )
    op.create_index("ix_tb_sim_usage_day_carrier", "tb_sim_usage", ["day", "carrier"], unique=False)
    op.create_table(
        "tb_sync_checkpoint",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("sync_type", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("batches", sa.Integer(), server_default="0", nullable=False),
        sa.Column("counters", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "sync_type in ('sim_info', 'sim_status', 'usage')", name=op.f("ck_tb_sync_checkpoint_sync_type")
        ),
        sa.CheckConstraint("batches >= 0", name=op.f("ck_tb_sync_checkpoint_batches")),
        sa.PrimaryKeyConstraint("task_id", "carrier", "sync_type", "day", name=op.f("pk_tb_sync_checkpoint")),
    )
    op.create_index(
        "ix_tb_sync_checkpoint_subject", "tb_sync_checkpoint", ["carrier", "sync_type", "day"], unique=False
    )
    op.create_table(
        "tb_task",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("delivery", sa.Integer(), server_default="1", nullable=False),
        sa.Column("lost_leases", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("intent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("last_error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(finished_at is not null) = (status in ('succeeded', 'failed', 'cancelled'))",
            name=op.f("ck_tb_task_finished"),
        ),
        sa.CheckConstraint(
            "(status = 'running') = (lease_until is not null) and (status = 'running') = (worker is not null)",
            name=op.f("ck_tb_task_lease"),
        ),
        sa.CheckConstraint(
            "intent_at is null or status not in ('succeeded', 'failed', 'cancelled')", name=op.f("ck_tb_task_intent")
        ),
        sa.CheckConstraint("queue in ('critical', 'default', 'low')", name=op.f("ck_tb_task_queue")),
        sa.CheckConstraint(
            "status in ('pending', 'queued', 'running', 'retrying', 'succeeded', 'failed', 'uncertain', 'cancelled')",
            name=op.f("ck_tb_task_status"),
        ),
        sa.CheckConstraint("type in ('email:send', 'data:sync', 'sim:status_sync')", name=op.f("ck_tb_task_type")),
        sa.CheckConstraint("attempt between 0 and max_attempts", name=op.f("ck_tb_task_attempt")),
        sa.CheckConstraint(
            "delivery >= 1 and max_attempts >= 1 and lost_leases >= 0", name=op.f("ck_tb_task_counters")
        ),
        sa.CheckConstraint(
            "request_id is null or length(request_id) between 1 and 128", name=op.f("ck_tb_task_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tb_task")),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "ix_tb_task_finished_at",
        "tb_task",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at is not null"),
    )
    op.create_index(
        "ix_tb_task_queued", "tb_task", ["queued_at", "id"], unique=False, postgresql_where=sa.text("status = 'queued'")
    )
    op.create_index(
        "ix_tb_task_request_id",
        "tb_task",
        ["request_id"],
        unique=False,
        postgresql_where=sa.text("request_id is not null"),
    )
    op.create_index(
        "ix_tb_task_running", "tb_task", ["lease_until"], unique=False, postgresql_where=sa.text("status = 'running'")
    )
    op.create_index(
        "ix_tb_task_status_id",
        "tb_task",
        ["status", "id"],
        unique=False,
        postgresql_where=sa.text("status in ('failed', 'uncertain', 'cancelled')"),
    )
    op.create_index("ix_tb_task_type_id", "tb_task", ["type", "id"], unique=False)
    op.create_index(
        "ix_tb_task_waiting",
        "tb_task",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status in ('pending', 'retrying')"),
    )
    op.create_index(
        "uq_tb_task_principal_request_id",
        "tb_task",
        ["principal", "request_id"],
        unique=True,
        postgresql_where=sa.text("request_id is not null"),
    )
    op.create_table(
        "tb_task_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("delivery", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind in ('attempt_failed', 'redriven', 'fenced', 'uncertain', 'cancel_requested', 'cancelled', 'retried', 'interrupted', 'parked', 'resend')",
            name=op.f("ck_tb_task_event_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tb_task_event")),
    )
    op.create_index("ix_tb_task_event_task_id_id", "tb_task_event", ["task_id", "id"], unique=False)
    op.create_table(
        "tb_user",
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("status in ('active', 'inactive', 'banned')", name=op.f("ck_tb_user_status")),
        sa.CheckConstraint("length(email) between 3 and 254", name=op.f("ck_tb_user_email")),
        sa.CheckConstraint("length(username) between 3 and 50", name=op.f("ck_tb_user_username")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tb_user")),
    )
    op.create_index(
        "ix_tb_user_live_id", "tb_user", ["id"], unique=False, postgresql_where=sa.text("deleted_at is null")
    )
    op.create_index(
        "ix_tb_user_status_id",
        "tb_user",
        ["status", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.create_index(
        "uq_tb_user_email",
        "tb_user",
        [sa.literal_column("lower(email)")],
        unique=True,
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.create_index(
        "uq_tb_user_username",
        "tb_user",
        [sa.literal_column("lower(username)")],
        unique=True,
        postgresql_where=sa.text("deleted_at is null"),
    )


def downgrade() -> None:
    op.drop_index("uq_tb_user_username", table_name="tb_user", postgresql_where=sa.text("deleted_at is null"))
    op.drop_index("uq_tb_user_email", table_name="tb_user", postgresql_where=sa.text("deleted_at is null"))
    op.drop_index("ix_tb_user_status_id", table_name="tb_user", postgresql_where=sa.text("deleted_at is null"))
    op.drop_index("ix_tb_user_live_id", table_name="tb_user", postgresql_where=sa.text("deleted_at is null"))
    op.drop_table("tb_user")
    op.drop_index("ix_tb_task_event_task_id_id", table_name="tb_task_event")
    op.drop_table("tb_task_event")
    op.drop_index(
        "uq_tb_task_principal_request_id", table_name="tb_task", postgresql_where=sa.text("request_id is not null")
    )
    op.drop_index(
        "ix_tb_task_waiting", table_name="tb_task", postgresql_where=sa.text("status in ('pending', 'retrying')")
    )
    op.drop_index("ix_tb_task_type_id", table_name="tb_task")
    op.drop_index(
        "ix_tb_task_status_id",
        table_name="tb_task",
        postgresql_where=sa.text("status in ('failed', 'uncertain', 'cancelled')"),
    )
    op.drop_index("ix_tb_task_running", table_name="tb_task", postgresql_where=sa.text("status = 'running'"))
    op.drop_index("ix_tb_task_request_id", table_name="tb_task", postgresql_where=sa.text("request_id is not null"))
    op.drop_index("ix_tb_task_queued", table_name="tb_task", postgresql_where=sa.text("status = 'queued'"))
    op.drop_index("ix_tb_task_finished_at", table_name="tb_task", postgresql_where=sa.text("finished_at is not null"))
    op.drop_table("tb_task")
    op.drop_index("ix_tb_sync_checkpoint_subject", table_name="tb_sync_checkpoint")
    op.drop_table("tb_sync_checkpoint")
    op.drop_index("ix_tb_sim_usage_day_carrier", table_name="tb_sim_usage")
    op.drop_table("tb_sim_usage")
    op.drop_index("ix_tb_sim_event_iccid_id", table_name="tb_sim_event")
    op.drop_table("tb_sim_event")
    op.drop_index("uq_tb_sim_iccid", table_name="tb_sim", postgresql_where=sa.text("deleted_at is null"))
    op.drop_index("ix_tb_sim_live_id", table_name="tb_sim", postgresql_where=sa.text("deleted_at is null"))
    op.drop_index("ix_tb_sim_lifecycle_state_id", table_name="tb_sim", postgresql_where=sa.text("deleted_at is null"))
    op.drop_index("ix_tb_sim_carrier_id", table_name="tb_sim", postgresql_where=sa.text("deleted_at is null"))
    op.drop_table("tb_sim")
    op.drop_index("ix_tb_outbox_parked_at", table_name="tb_outbox", postgresql_where=sa.text("parked_at is not null"))
    op.drop_index("ix_tb_outbox_due", table_name="tb_outbox", postgresql_where=sa.text("parked_at is null"))
    op.drop_table("tb_outbox")
    op.drop_index("uq_tb_order_order_id", table_name="tb_order", postgresql_where=sa.text("deleted_at is null"))
    op.drop_index("ix_tb_order_user_id_id", table_name="tb_order", postgresql_where=sa.text("deleted_at is null"))
    op.drop_index("ix_tb_order_status_id", table_name="tb_order", postgresql_where=sa.text("deleted_at is null"))
    op.drop_index("ix_tb_order_live_id", table_name="tb_order", postgresql_where=sa.text("deleted_at is null"))
    op.drop_table("tb_order")
    op.drop_index("ix_tb_idempotency_key_expires_at", table_name="tb_idempotency_key")
    op.drop_table("tb_idempotency_key")
    op.drop_table("tb_email_delivery")
    op.drop_table("tb_broker")
    op.drop_index("uq_tb_api_token_token_hash", table_name="tb_api_token")
    op.drop_index("uq_tb_api_token_name", table_name="tb_api_token", postgresql_where=sa.text("revoked_at is null"))
    op.drop_table("tb_api_token")
