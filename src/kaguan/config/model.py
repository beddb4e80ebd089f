"""配置的全部键：分组、类型、单位、默认值、取值范围。键名是契约。"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from kaguan.config.values import (
    Bytes,
    CaFile,
    ListenUrl,
    Networks,
    Places,
    Port,
    PostgresUrl,
    RedisUrl,
    Seconds,
    VerifyUrl,
    Weight,
)
from kaguan.flow.probes import LOOPBACK
from kaguan.words.spoken import said
from kaguan.words.units import DAY, KIB, MIB

NAMESPACE = "kaguan"  # 产品自己的；别人的各是 ``kaguan.名字``
SCHEMA_NAME = r"^([a-z][a-z0-9_]{0,31})?$"
RESERVE = 2  # 没写的，给每个更急的队列留几个槽位


class Environment(StrEnum):
    DEV = "dev"
    STAGING = "staging"
    PROD = "prod"

    @property
    def is_hardened(self) -> bool:
        """要守 ``config.production`` 的规矩。"""
        return self is not Environment.DEV


class Group(BaseModel):
    """配置分组：不可变，未知键是错误。用到才备好校验：用库的应用用不着的那些，不必付。"""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, defer_build=True)


class Api(Group):
    """HTTP 服务。"""

    host: str = LOOPBACK
    port: Port = 8080
    processes: int = Field(default=1, ge=1, le=64)
    body_limit: Bytes = 16 * MIB
    header_limit: Bytes = 16 * KIB
    request_timeout: Seconds = 3.0  # 处理一个请求的时限（读请求体不算在内）
    read_timeout: Seconds = 10.0  # 读完请求体的时限（慢速攻击）
    keepalive_timeout: Seconds = 14.0  # 也管说不完的头：说好的是十五秒之内断开
    idempotency_ttl: Seconds = float(DAY)
    backlog_limit: int = Field(default=1_000_000, ge=1)  # 待投递行数超过它就回 503/2003
    rate_per_token: int = Field(default=2_000, ge=1)  # 每秒请求数
    rate_per_address: int = Field(default=2_000, ge=1)  # 每秒请求数
    streams_per_token: int = Field(default=20, ge=1)  # 一个令牌在一个进程里至多同时开着几条事件流；一个进程共 200 条
    trusted_proxies: Networks = ()  # 只有来自这些网段的 X-Forwarded-For 才算数
    cors_origins: tuple[str, ...] = ()  # 空 = 关闭
    metrics_host: str = LOOPBACK
    metrics_port: Port | None = None  # 多进程时第 n 个子进程在 metrics_port + n 上另开 /metrics
    metrics_public: bool = False  # 默认 /metrics 只对 ops 令牌开放，dev 里本机也行
    session_idle: Seconds = 1_800.0  # 控制台闲置这么久就要重新登录
    session_lifetime: Seconds = 43_200.0  # 控制台的一次登录至多这么久
    login_per_minute: int = Field(default=10, ge=1, le=1_000)  # 每个地址每分钟至多试登录几次
    bcrypt_rounds: int = Field(default=12, ge=4, le=16)
    bcrypt_concurrency: int = Field(default=2, ge=1, le=32)
    bcrypt_queue: int = Field(default=16, ge=1)  # 排队更长就回 503


class Database(Group):
    """How a process is connected to PostgreSQL; times are seconds.

    Attributes:
        url: ``postgresql://user:password@host/database``.
        schema_name: whose tables the command line looks at; an :class:`Outbox` is its own.
        listen_url: a direct address beside a pooler, for the product's API alone; ``off``: it does not listen.
        pool_min: connections that are always there.
        pool_max: connections of one process at most.
        acquire_timeout: to wait for a free one.
        statement_timeout: a statement may take.
        lock_timeout: a statement may wait for a lock.
        idle_in_transaction_timeout: a transaction may stand still.
        slow_query: after which a statement is logged as slow.
        connect_timeout: to connect.
        connect_attempts: on opening.
        connect_backoff: before the second of them, doubled for each further one.
        connection_max_age: after which a connection is replaced.
        check_idle: after which an idle connection is asked before it is lent.
        keepalive_idle: of silence before TCP asks.
        keepalive_interval: between its questions.
        unacknowledged_timeout: until what was sent without an answer counts as lost.
    """

    url: PostgresUrl = SecretStr("")
    schema_name: Annotated[str, Field(pattern=SCHEMA_NAME)] = ""  # 看哪个发件箱的：别的应用的名字；空 = 产品自己的
    listen_url: ListenUrl = SecretStr("")  # 监听通知用的直连地址；空 = 同 url，off = 不听，吊销晚半秒生效
    pool_min: int = Field(default=10, ge=1, le=500)
    pool_max: int = Field(default=25, ge=1, le=500)
    acquire_timeout: Seconds = 3.0
    statement_timeout: Seconds = 3.0
    lock_timeout: Seconds = 1.0
    idle_in_transaction_timeout: Seconds = 10.0
    slow_query: Seconds = 0.1
    connect_timeout: Seconds = 3.0
    connect_attempts: int = Field(default=5, ge=1, le=100)
    connect_backoff: Seconds = 0.5  # 首次等待，之后翻倍
    connection_max_age: Seconds = 1_800.0  # 池里的连接至多这么久就换新，各提前至多 5 %
    check_idle: Seconds = 5.0  # 歇了这么久的连接，借出之前问一句
    keepalive_idle: int = Field(default=10, ge=1, le=7_200)  # 秒；TCP 安静这么久就探一次：NAT 与防火墙不当它死了
    keepalive_interval: int = Field(default=5, ge=1, le=7_200)  # 秒；没有回音就隔这么久再探，三次没有就算断
    unacknowledged_timeout: Seconds = 10.0  # 发出去而没有 TCP 确认，这么久就算断（Linux 的 TCP_USER_TIMEOUT）

    @property
    def namespace(self) -> str:
        """Below which name the keys of that outbox are in Redis."""
        return f"{NAMESPACE}.{self.schema_name}" if self.schema_name else NAMESPACE

    @property
    def listening(self) -> Self | None:
        """The same at the direct address; ``None`` if it does not listen."""
        url = self.listen_url or self.url
        return None if url.get_secret_value() == "off" else self.model_copy(update={"url": url})


class Redis(Group):
    """How a process is connected to Redis or Valkey; times are seconds.

    Attributes:
        url: ``redis://user:password@host:6379/0``; ``rediss://`` is TLS.
        pool_max: connections at most; a worker has as many as it needs.
        pool_idle: connections that relay and worker open at the start.
        socket_timeout: to wait for an answer.
        connect_timeout: to connect.
        connect_attempts: of relay and worker, at the start.
        connect_backoff: before the second of them, doubled for each further one.
    """

    url: RedisUrl = SecretStr("")
    pool_max: int = Field(default=10, ge=1, le=1_000)
    pool_idle: int = Field(default=5, ge=0, le=1_000)  # 启动时就备好这么多，之后不收
    socket_timeout: Seconds = 5.0
    connect_timeout: Seconds = 3.0
    connect_attempts: int = Field(default=5, ge=1, le=100)
    connect_backoff: Seconds = 0.5


class Relay(Group):
    """How the relay hands tasks over, and looks for what was lost.

    Attributes:
        batch_size: rows handed over in one go.
        ids_per_delivery: tasks that travel together at most; only quick ones do; 1: never.
        poll_interval: seconds between two looks when nobody rings.
        doorbell_interval: seconds between two rings of one process that rings often, at least.
        window: deliveries in Redis at most, until it proves too small.
        high_water: the same, however quick the workers are; per queue.
        backoff_max: seconds between two tries at most while Redis is away.
        presence_interval: seconds between two looks for what Redis forgot.
        presence_age: seconds a delivery must be old to be looked for.
        backstop_age: seconds after which what was left behind between two statements is picked up.
        lease_scan_interval: seconds between two looks for leases that ran out.
        max_deliveries_without_result: leases lost in a row after which a task is thought to kill its worker.
        metrics_host: of Prometheus' ``/metrics``, which ``kaguan relay`` alone serves.
        metrics_port: the same; ``None``: not served.
    """

    batch_size: int = Field(default=300, ge=1, le=5_000)
    ids_per_delivery: int = Field(default=100, ge=1, le=100)  # 一次投递至多带几个任务，手快的才多带；1 = 从不同乘
    poll_interval: Seconds = 1.0
    doorbell_interval: Seconds = 0.003  # 来得密的时候，每个 API 进程至多这么久按一次门铃
    window: int = Field(default=100, ge=1)  # Redis 里平时至多放这么多在等的任务，做得快就自己放大；再小，小批要一趟趟交
    # 每个队列在 Redis 里至多这么多在等的投递，平时只放眼下做得过来的；几个 relay 同时交，各可多交一批
    high_water: int = Field(default=2_000, ge=1)
    backoff_max: Seconds = 5.0  # Redis 不在时的退避上限
    presence_interval: Seconds = 2.0
    presence_age: Seconds = 3.0  # 交出多久之后才核对
    backstop_age: Seconds = 5.0
    lease_scan_interval: Seconds = 1.0
    max_deliveries_without_result: int = Field(
        default=5, ge=3
    )  # 连续这么多次丢租约即判为毒丸；头两次还分不出是谁弄死了 worker
    metrics_host: str = LOOPBACK
    metrics_port: Port | None = None


class Worker(Group):
    """How a worker does tasks.

    Attributes:
        concurrency: slots: tasks that run at once.
        weights: how critical, default and low share the slots while they compete.
        reserve: slots kept free for each of the two more urgent queues; ``None``: 2, fewer of few slots.
        limits: type → how many at once, where that is not what the type says.
        lease: seconds without a sign of life after which a task goes to another worker.
        shutdown_grace: seconds that what runs is given on stopping; the rest is handed back, uncounted.
        task_timeout: seconds an attempt may take, where the type does not say.
        metrics_host: of Prometheus' ``/metrics``, which ``kaguan worker`` alone serves.
        metrics_port: the same; ``None``: not served.
    """

    concurrency: int = Field(default=20, ge=3, le=1_000)
    weights: tuple[Weight, Weight, Weight] = (6, 3, 1)  # critical、default、low 都有活时怎么分
    reserve: int | None = Field(None, ge=0, le=1_000)  # 每个更急的队列总留着几个空槽位；空 = 2，槽位少的少些
    limits: dict[str, Places] = Field(default_factory=dict)  # 类型 → 一个进程里同时至多几个在手里；没写的照它自己的
    lease: Seconds = 15.0
    shutdown_grace: Seconds = 20.0
    task_timeout: Seconds = 600.0
    metrics_host: str = LOOPBACK
    metrics_port: Port | None = None

    @field_validator("reserve")
    @classmethod
    def _leaves_some(cls, reserve: int | None, info: ValidationInfo) -> int | None:
        """留给两个更急的队列之后，最不急的还有。

        Raises:
            ValueError: 一个也没有了。
        """
        slots = info.data.get("concurrency")
        if reserve is not None and slots is not None and 2 * reserve >= slots:
            most = (slots - 1) // 2
            raise ValueError(said("config.reserve", reserve=reserve, slots=slots, most=most))
        return reserve

    @property
    def kept_free(self) -> int:
        """How many slots each of the two more urgent queues always finds free."""
        return min(RESERVE, (self.concurrency - 1) // 2) if self.reserve is None else self.reserve


class Tasks(Group):
    """How often a task is tried, and how long it is kept.

    Attributes:
        max_retries: attempts after the first, where the type does not say.
        backoff_base: seconds, see :class:`kaguan.outbox.Backoff`; where the type does not say.
        backoff_cap: seconds, the same.
        retention_days: days a task is kept after its end, with its events and the ``rows`` of its type.
        calls_kept_for: seconds Redis remembers an outside call that cannot be repeated, beside PostgreSQL.
        calls_kept: how many of them at most.
        audit_retention_days: days the product keeps who did what.
    """

    max_retries: int = Field(default=5, ge=0, le=100)
    backoff_base: Seconds = 2.0
    backoff_cap: Seconds = 1_800.0
    retention_days: int = Field(default=30, ge=1)
    calls_kept_for: Seconds = 900.0  # Redis 里记着这么久之内就要去做、收不回的外部调用
    calls_kept: int = Field(default=100_000, ge=1_000)  # 至多记着这么多个
    audit_retention_days: int = Field(default=365, ge=1)  # 没认出是谁的拒绝另有短得多的期限

    @property
    def max_attempts(self) -> int:
        """How many attempts there are, the first included."""
        return self.max_retries + 1


class UncertainPolicy(StrEnum):
    RESEND = "resend"
    HOLD = "hold"


class Smtp(Group):
    """外发邮件。``url`` 形如 ``smtp://用户:密码@主机:端口``；``smtps://`` 为隐式 TLS。"""

    url: SecretStr = SecretStr("")
    sender: str = "卡管 <no-reply@kaguan.example>"
    starttls: Literal["required", "optional", "off"] = "required"
    ca_file: CaFile | None = None  # PEM；给了就只信其中的 CA，不给则信系统的
    timeout: Seconds = 10.0
    data_timeout: Seconds = 60.0  # 等对方确认正文的时限（RFC 5321 §4.5.3.2.6 建议更长，受任务时限约束）
    connections: int = Field(default=4, ge=1, le=100)
    per_second: int = Field(default=50, ge=1)
    breaker_failures: int = Field(default=3, ge=1, le=1_000)  # 中继主机连续这么多次失败就熔断，不再去连
    breaker_cooldown: Seconds = 15.0  # 熔断这么久（另加至多两成）之后，每个进程放行一个试探
    uncertain: UncertainPolicy = UncertainPolicy.HOLD
    verify_url: VerifyUrl = ""  # 结局不明时按它查证，含 {message_id}；约定见 workers/email/verifying.py，空 = 不查


class CarrierGroup(Group):
    """一家运营商的：没有 ``base_url`` 就是不用它。``ACCOUNT``、``SECRET`` 是它的账号与密钥在哪两个键。"""

    ACCOUNT: ClassVar[str]
    SECRET: ClassVar[str]

    base_url: str = ""
    timeout: Seconds = 10.0

    @property
    def account(self) -> str:
        return str(getattr(self, self.ACCOUNT))

    @property
    def secret(self) -> str:
        value: SecretStr = getattr(self, self.SECRET)
        return value.get_secret_value()


class OneLink(CarrierGroup):
    """OneLink 方言：先取令牌，HTTP 200 带业务码，每批至多 100 张。"""

    ACCOUNT, SECRET = "app_id", "password"

    app_id: str = "kaguan-dev"
    password: SecretStr = SecretStr("")
    per_second: int = Field(default=50, ge=1)
    concurrency: int = Field(default=4, ge=1)
    tasks: Places = 8  # 一个 worker 里，一种任务至多几个同时在问它；够把名额用满就行，再多只是在手里等


class ControlCenter(CarrierGroup):
    """Control Center 方言：Basic 认证、分页、一次只许一个调用。"""

    ACCOUNT, SECRET = "username", "api_key"

    username: str = "kaguan-dev"
    api_key: SecretStr = SecretStr("")
    per_second: int = Field(default=5, ge=1)
    concurrency: int = Field(default=1, ge=1)
    tasks: Places = 2  # 同上
    sessions: bool = True  # 问状态时每张卡多一次调用，问在线与否；卡多就关掉


class Carriers(Group):
    onelink: OneLink = OneLink()
    control_center: ControlCenter = ControlCenter()
    freshness: Seconds = 300.0  # 这么久之内看过的卡，不强制就不再问
    time_budget: Seconds = 30.0
    changes_per_day: int = Field(default=5, ge=1, le=1_000)  # 一张卡一个业务日至多改几次
    change_grace: Seconds = 60.0  # 要运营商改而没有回音的，这么久之后它还说没有这回事，才算没做
    change_patience: Seconds = float(DAY)  # 它收下了而没做完的，至多等这么久，再等人定夺
    receipt_days: int = Field(default=400, ge=1, le=36_500)  # 卡的变更与回执留几天
    breaker_failures: int = Field(default=3, ge=1, le=1_000)  # 连续这么多次失败就熔断
    breaker_cooldown: Seconds = 10.0  # 熔断这么久之后放行试探

    def each(self) -> dict[str, CarrierGroup]:
        """有哪几家：名字到它那一组。"""
        return {name: getattr(self, name) for name in CARRIER_GROUPS}


CARRIER_GROUPS = {
    name: field.annotation
    for name, field in Carriers.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, CarrierGroup)
}


def carrier_key(name: str, field: str) -> str:
    """一家的一个键，写成环境变量。"""
    return f"KAGUAN_CARRIERS__{name}__{field}".upper()


class Telemetry(Group):
    sample_ratio: float = Field(default=0.1, ge=0, le=1)  # 新跟踪采样的比例；出了岔子的不论比例，一律留
    service_namespace: str = "kaguan"
    traces_url: str = ""  # Jaeger 查询接口的根地址；控制台据此嵌瀑布图，空 = 不嵌
    traces_public_url: str = ""  # 浏览器打开跟踪页用的根地址；空 = 同 traces_url


class Logging(Group):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "json", "console"] = "auto"
    directory: Path | None = None
    max_bytes: Bytes = 50 * MIB
    backups: int = Field(default=5, ge=0, le=100)
    bodies: Literal["full", "none"] = "full"  # 访问日志里的请求体与应答体；none 只记大小
    pool_interval: Seconds = 60.0  # 多久记一次连接池


class Traceview(Group):
    """`kaguan up` 带起的跟踪查看器；只在内存里，满了丢最先到的，平常的先于出了岔子的。"""

    port: Port | None = None
    traces: int = Field(default=5_000, ge=1)
    spans: int = Field(default=100_000, ge=1)
    bytes: Bytes = 96 * MIB


class Simulator(Group):
    """`kaguan up` 带起的运营商模拟器。"""

    port: Port | None = None
    cards: int = Field(default=100_000, ge=1)
    seed: int = 20_261
