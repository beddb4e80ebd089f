"""判：从一眼所见得出要人留意的事。纯函数：同样的所见，同样的结论。

界限多是一段时间里的个数与年龄，跨过去要时间，退回来也要时间：这里没有状态，也不会一闪一闪；
擦着界限的另由 :mod:`kaguan.verdict.memory` 记着。
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from kaguan.breakers.board import OpenBreaker
from kaguan.breakers.breaker import OPENED
from kaguan.outbox.operate.limits import Limit
from kaguan.outbox.operate.pauses import Pause
from kaguan.outbox.vocabulary import PAUSED, Priority, TaskStatus
from kaguan.presence.beat import INTERVAL
from kaguan.presence.census import Census
from kaguan.presence.holders import slot_use
from kaguan.verdict.causes import explained
from kaguan.verdict.mishaps import failures, setbacks
from kaguan.verdict.model import Concern, ConcernCode, Level, Parameters, by_weight
from kaguan.verdict.observation import Ledger, Observation, pace
from kaguan.words.reasons import Reason
from kaguan.words.units import HOUR

QUIET = 10.0  # 秒：五拍没有心跳
LOOP_WINDOW = 300.0  # 秒
LOOP_DEATHS = 3  # 五分钟里死这么多次就是反复崩溃
STILL = {Priority.CRITICAL: 10.0, Priority.DEFAULT: 10.0, Priority.LOW: 30.0}  # 秒：有活在等而这么久没有动静
GRACE = 5.0  # 秒：到期的行等这么久，就不是还没轮到
CROWD = 10_000  # 个：等着的有这么多，还没等久也值得知道
CROWDED = 3  # 个：同一把锁挡着这么多条语句，就不是碰巧
PASSING_LOCK = 5.0  # 秒：挡着一两条语句的锁，短于它就当是过路的
MANY_LIMITED, LIMITED_AFTER = 100, 60.0  # 个、秒：在等限额的有这么多或等了这么久，就说出来
UNTRIED = 300.0  # 秒：半开了这么久没人来试，上次的失败已说明不了什么
TRYING = 30.0  # 秒：半开了不到这么久，多半正有人在试，一个字也不回的要等到时限
SHOWN = 3  # 同一件事至多逐个说这么多


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """一个队列最老的等多久（秒）算要留意、算坏事。"""

    warn: float
    bad: float


WAIT_LIMITS = {
    Priority.CRITICAL: WaitLimits(10.0, 30.0),
    Priority.DEFAULT: WaitLimits(30.0, 120.0),
    Priority.LOW: WaitLimits(300.0, HOUR),
}


def judge(seen: Observation, *, window: int) -> list[Concern]:
    """从重到轻，后果跟在根由之后说得出。``window``：队列里等着的到了这么多，relay 就可以不再交。"""
    found = [*_dependencies(seen)]
    census = None if seen.broker is None else seen.broker.census
    if seen.broker is not None:
        refused = _refused(seen.broker.census, seen.ledger)
        found += refused or [*_quiet(seen.broker.census)]
        found += [*_restarts(seen.broker.census), *_unknown_types(seen.broker.census), *_deaf(seen.broker.census)]
        found += [*_breakers(seen.broker.breakers)]
        found += [*_limited(seen.ledger, seen.broker.breakers)] if seen.ledger is not None else []
    if seen.ledger is not None:
        found += [] if census is None else [*_held(seen.ledger, census)]
        found += [*_absent(seen.ledger, census), *_movement(seen, seen.ledger, window)]
        found += [*setbacks(seen.ledger), *failures(seen.ledger), *_left_over(seen.ledger)]
        found += [*_paused(seen), *_bounded(seen)]
    return explained(sorted(found, key=by_weight))


def _dependencies(seen: Observation) -> Iterator[Concern]:
    yield from _locks(seen)
    if seen.ledger is None:
        if not seen.locks:
            yield Concern(ConcernCode.DATABASE, Level.BAD)
    elif not seen.ledger.gate_is_open:
        yield Concern(ConcernCode.HISTORY, Level.BAD)
    if seen.broker is None:
        yield Concern(ConcernCode.REDIS, Level.BAD)


def _locks(seen: Observation) -> Iterator[Concern]:
    """别人的锁挡着我们的语句：看都看不成、或挡着好几个的是坏事；挡着一两个的也许只是一行，久了才说。"""
    for lock in seen.locks[:SHOWN]:
        total = seen.ledger is None or lock.blocked >= CROWDED
        age = lock.blocking if lock.seconds is None else lock.seconds
        if not total and age < PASSING_LOCK:
            continue
        parameters: Parameters = {
            "pid": lock.pid,
            "application": lock.application or lock.role,
            "role": lock.role,
            "count": lock.blocked,
            "blocking" if lock.seconds is None else "seconds": round(age),
        }
        since = seen.at - timedelta(seconds=age)
        yield Concern(ConcernCode.LOCKED, Level.BAD if total else Level.WARN, str(lock.pid), parameters, since)


def _refused(census: Census, ledger: Ledger | None) -> list[Concern]:
    """全部进程的心跳同时停了，却都还连着数据库：不是它们一起冻住，是 Redis 不收写入（内存满、只读）。"""
    beats = [process.seen_at for process in census.processes]
    together = len(beats) > 1 and (max(beats) - min(beats)).total_seconds() <= 2 * INTERVAL
    silent = all(process.quiet > QUIET for process in census.processes)
    if not together or not silent or ledger is None:
        return []
    if not all(ledger.connections(process.role) for process in census.processes):
        return []
    return [Concern(ConcernCode.REDIS_REFUSES, Level.BAD, since=max(beats))]


def _quiet(census: Census) -> Iterator[Concern]:
    for process in census.processes:
        if process.quiet > QUIET:
            alone = all(other.quiet > QUIET for other in census.of(process.role))
            parameters: Parameters = {
                "role": process.role,
                "name": process.name,
                "host": process.host,
                "pid": process.pid,
                "seconds": round(process.quiet),
            }
            level = Level.BAD if alone else Level.WARN
            yield Concern(ConcernCode.QUIET, level, process.name, parameters, process.seen_at)


def _restarts(census: Census) -> Iterator[Concern]:
    """意外退出过的，按机器算：几次就是反复崩溃。"""
    recent = census.now - timedelta(seconds=LOOP_WINDOW)
    deaths: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)
    for process in census.processes:
        deaths[process.role, process.host] += [at for at in process.deaths if at > recent]
    for (role, host), moments in deaths.items():
        if moments:
            level = Level.BAD if len(moments) >= LOOP_DEATHS else Level.WARN
            parameters: Parameters = {
                "role": role,
                "host": host,
                "count": len(moments),
                "minutes": round(LOOP_WINDOW / 60),
            }
            yield Concern(ConcernCode.RESTARTS, level, f"{role}@{host}", parameters, min(moments))


def _breakers(breakers: Iterable[OpenBreaker]) -> Iterator[Concern]:
    """断开的、正在试的是坏事；没有人来试只是提醒，久没有人来试就不说了：一个闲着的进程会一直半开下去。"""
    for breaker in breakers:
        if breaker.state != OPENED and breaker.seconds > UNTRIED:
            continue
        level = Level.BAD if breaker.state == OPENED or breaker.seconds < TRYING else Level.WARN
        parameters: Parameters = {
            "kind": str(breaker.kind),
            "name": breaker.name,
            "reason": breaker.cause.packed(),
            "processes": breaker.processes,
        }
        yield Concern(ConcernCode.BREAKER, level, f"{breaker.kind}:{breaker.name}", parameters, breaker.since)


def _unknown_types(census: Census) -> Iterator[Concern]:
    """Relay 不认得的，worker 没有处理器的。几个进程轮着看见同一批，取最多的那个的数。"""
    most: Counter[str] = Counter()
    for process in census.processes:
        if process.quiet <= QUIET:
            most |= Counter(process.unknown)
    for name, count in most.most_common(SHOWN):
        yield Concern(ConcernCode.UNKNOWN_TYPE, Level.WARN, name, {"type": name, "count": count})


def _deaf(census: Census) -> Iterator[Concern]:
    """照走，只是慢些：relay 靠轮询，API 靠令牌缓存的期限。"""
    count = sum(process.deaf for process in census.processes if process.quiet <= QUIET)
    if count:
        yield Concern(ConcernCode.DEAF, Level.WARN, "", {"count": count})


def _absent(ledger: Ledger, census: Census | None) -> Iterator[Concern]:
    """一个也没有：既没有心跳，也没有连着数据库。有活在等是坏事，否则只是提醒。从它最后一次有动静算起。"""
    due = max((line.oldest_due_seconds or 0.0 for line in ledger.backlog.values()), default=0.0)
    stuck = {"relay": due > GRACE, "worker": ledger.totals.queued > 0}
    signs = {
        "relay": [] if ledger.totals.last_forward_at is None else [ledger.totals.last_forward_at],
        "worker": [flow.last_at for flow in ledger.flow],
    }
    for role, code in (("relay", ConcernCode.NO_RELAY), ("worker", ConcernCode.NO_WORKER)):
        known = [] if census is None else census.of(role)
        if not any(one.quiet <= QUIET for one in known) and not ledger.connections(role):
            since = max([*signs[role], *(one.seen_at for one in known)], default=None)
            yield Concern(code, Level.BAD if stuck[role] else Level.WARN, since=since)


def _movement(seen: Observation, ledger: Ledger, window: int) -> Iterator[Concern]:
    now = ledger.totals.now
    forwarded = ledger.totals.last_forward_at
    for queue in Priority:
        line = ledger.backlog[queue]
        due = line.oldest_due_seconds or 0.0
        if seen.broker is not None:
            idle = forwarded is None or (now - forwarded).total_seconds() > STILL[queue]
            if due > STILL[queue] and idle and seen.broker.depths[queue] < window:
                since = now - timedelta(seconds=due) if forwarded is None else forwarded
                parameters: Parameters = {"queue": str(queue), "seconds": round(due), "count": line.waiting}
                yield Concern(ConcernCode.NOT_FORWARDING, Level.BAD, queue, parameters, since)
            yield from _stalled(queue, seen, ledger, seen.broker.census)
        yield from _backlog(queue, ledger, line.waiting + _handed(queue, seen, ledger), _oldest(queue, ledger))


def _held(ledger: Ledger, census: Census) -> Iterator[Concern]:
    """槽位都占着，而有活等得太久：在谁手里，那一种有几个在等谁；从最老的开始等算起。"""
    use = slot_use(worker for worker in census.of("worker") if worker.quiet <= QUIET)
    waits = {queue: _oldest(queue, ledger) for queue in Priority}
    late = [queue for queue, seconds in waits.items() if seconds > STILL[queue]]
    if not use.is_full or not late:
        return
    most = use.holders[0]
    whom, waiting = next(iter(most.waiting.items()), (None, 0))
    parameters: Parameters = {
        "held": use.held,
        "total": use.total,
        "type": most.type,
        "count": most.held,
        "whom": whom,
        "waiting": waiting,
        "queue": str(late[0]),
    }
    bad = any(waits[queue] > WAIT_LIMITS[queue].bad for queue in late)
    since = ledger.totals.now - timedelta(seconds=max(waits[queue] for queue in late))
    yield Concern(ConcernCode.HELD, Level.BAD if bad else Level.WARN, "", parameters, since)


def _oldest(queue: Priority, ledger: Ledger) -> float:
    waiting = ledger.queued.get(queue)
    return max(ledger.backlog[queue].oldest_due_seconds or 0.0, waiting.oldest if waiting is not None else 0.0)


def _limited(ledger: Ledger, breakers: Iterable[OpenBreaker]) -> Iterator[Concern]:
    """在等我们自己的限额，不是谁坏了：几个、照刚才的速度多久轮完。对方断开着的由断路器说。"""
    away = {breaker.name for breaker in breakers}
    for line in ledger.outside:
        carrier, _, task_type = line.whom.rpartition("/")  # 名额叫「家/类型」或「类型」；别的是在等谁恢复
        is_place = ":" in task_type and not line.whom.startswith(PAUSED)
        if not is_place or carrier in away or (line.count < MANY_LIMITED and line.oldest <= LIMITED_AFTER):
            continue
        rate = pace(flow for flow in ledger.flow if flow.type == task_type)
        parameters: Parameters = {
            "whom": line.whom,
            "count": line.count,
            "seconds": round(line.oldest),
            "rate": round(rate, 1),
            "eta": round(line.count / rate) if rate else None,
        }
        since = ledger.totals.now - timedelta(seconds=line.oldest)
        yield Concern(ConcernCode.LIMITED, Level.WARN, line.whom, parameters, since)


def _handed(queue: Priority, seen: Observation, ledger: Ledger) -> int:
    """已交出的几个：记录里只数了最老的一些，Redis 里的投递也许更多。"""
    waiting = ledger.queued.get(queue)
    counted = 0 if waiting is None else waiting.queued
    return counted if seen.broker is None else max(counted, seen.broker.depths[queue])


def _stalled(queue: Priority, seen: Observation, ledger: Ledger, census: Census) -> Iterator[Concern]:
    """有活在等、有空的槽位（或没有活着的 worker），却没有一个开始或结束。"""
    waiting = ledger.queued.get(queue)
    if waiting is None or waiting.oldest <= STILL[queue]:
        return
    if not census.of("worker") and ledger.running_in(queue):  # 没有名片的在做：有几个槽位说不准
        return
    slots = sum(sum(worker.slots.values()) for worker in census.of("worker") if worker.quiet <= QUIET)
    if slots and sum(map(ledger.running_in, Priority)) >= slots:
        return
    now = ledger.totals.now
    moved = [flow.last_at for flow in ledger.flow if flow.queue == queue]
    moved += [held.newest_started_at for held in ledger.held if held.queue == queue]
    if moved and (now - max(moved)).total_seconds() <= STILL[queue]:
        return
    since = max([*moved, now - timedelta(seconds=waiting.oldest)])
    parameters: Parameters = {
        "queue": str(queue),
        "count": _handed(queue, seen, ledger),
        "seconds": round((now - since).total_seconds()),
    }
    yield Concern(ConcernCode.STALLED, Level.BAD, queue, parameters, since)


def _backlog(queue: Priority, ledger: Ledger, count: int, oldest: float) -> Iterator[Concern]:
    """等得太久，或等着的太多；照刚才这十秒的速度多久做完，多半是谁交的。"""
    limits = WAIT_LIMITS[queue]
    if oldest <= limits.warn and count < CROWD:
        return
    rate = pace(flow for flow in ledger.flow if flow.queue == queue)
    parameters: Parameters = {
        "queue": str(queue),
        "seconds": round(oldest),
        "count": count,
        "rate": round(rate, 1),
        "eta": round(count / rate) if rate else None,
    }
    most = next((crowd for crowd in ledger.crowds if crowd.priority == queue.rank and crowd.is_most), None)
    if most is not None:
        parameters = {**parameters, "caller": most.caller}
    level = Level.BAD if oldest > limits.bad else Level.WARN
    yield Concern(ConcernCode.BACKLOG, level, queue, parameters, ledger.totals.now - timedelta(seconds=oldest))


def _left_over(ledger: Ledger) -> Iterator[Concern]:
    """要人知道的：不见了的任务、Redis 丢过数据、卡住的键、过期的租约、不明的、搁置的。"""
    totals = ledger.totals
    if totals.vanished:
        yield Concern(ConcernCode.VANISHED, Level.WARN, "", {"count": totals.vanished}, totals.vanished_since)
    if totals.wiped_at is not None:
        yield Concern(ConcernCode.REDIS_LOST, Level.WARN, since=totals.wiped_at)
    if ledger.blocked:
        oldest = ledger.blocked[0]
        parameters: Parameters = {
            "count": len(ledger.blocked),
            "key": oldest.key,
            "task": str(oldest.head),
            "held": oldest.status != TaskStatus.RETRYING,
            "reason": Reason.of(oldest.error).packed(),
            "seconds": round(oldest.waited),
        }
        yield Concern(ConcernCode.ORDERING, Level.WARN, "", parameters, oldest.since)
    expired = [item for item in ledger.held if item.expired]
    ended = min((item.lease_until for item in expired), default=None)
    counts = {
        ConcernCode.EXPIRED: (sum(item.expired for item in expired), ended),
        ConcernCode.UNCERTAIN: (ledger.totals.uncertain, ledger.totals.uncertain_since),
        ConcernCode.PARKED: (ledger.totals.parked, ledger.totals.parked_since),
    }
    for code, (count, since) in counts.items():
        if count:
            yield Concern(code, Level.WARN, "", {"count": count}, since)


def _paused(seen: Observation) -> Iterator[Concern]:
    """人停下的，只是说一声：停着什么、为什么、还停多久、几个在等。"""
    for one in () if seen.ledger is None else seen.ledger.paused:
        parameters = {**_by_hand(one, seen.at), "count": one.waiting}
        yield Concern(ConcernCode.PAUSED, Level.OK, str(one.id), parameters, one.created_at)


def _bounded(seen: Observation) -> Iterator[Concern]:
    """人另定的限额，也只是说一声：几个、为什么、还有多久。"""
    for one in () if seen.ledger is None else seen.ledger.bounded:
        parameters = {**_by_hand(one, seen.at), "at_once": one.at_once, "per_second": one.per_second}
        yield Concern(ConcernCode.BOUNDED, Level.OK, f"{one.scope}/{one.name}", parameters, one.created_at)


def _by_hand(one: Pause | Limit, now: datetime) -> Parameters:
    left = round((one.until - now).total_seconds())
    return {"scope": one.scope, "name": one.name, "why": one.reason, "seconds": left}
