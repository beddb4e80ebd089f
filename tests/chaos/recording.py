"""记录：任务每次变成什么样，由触发器记下，不经被测的代码。触发器由战役装在自己的库里，产品没有它们。

一个任务的次序是对的：改它的人锁着它的行，序号取在锁里面，下一个改它的要等这个提交。只动别的表而不锁任务行的
（relay 拿走发件箱行、放行有序的）与任务行的改动之间没有锁，序号的先后就是语句的先后。
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, LiteralString, NamedTuple

from tests.chaos.verdict import MAIL

if TYPE_CHECKING:
    from tests.chaos.evidence import Mail

INSTALL: LiteralString = """
create table chaos_history (
    seq bigint generated always as identity,
    at timestamptz not null default clock_timestamp(),
    txid xid8 not null default pg_current_xact_id(),
    task_id uuid not null,
    by_hand boolean default current_setting('chaos.by_hand', true) = 'on',
    process text default current_setting('chaos.process', true),
    what text not null,
    was text not null,
    became text not null
);

create index chaos_history_task on chaos_history (task_id, what, seq);

create function chaos_word(
    status text, delivery int, attempt int, lost int, lease timestamptz, intent timestamptz, unwanted timestamptz
) returns text language sql immutable as $$
    select concat_ws(' ',
        status, delivery, attempt, lost, (lease is not distinct from '-infinity')::int, (intent is not null)::int,
        (unwanted is not null)::int)
$$;

create function chaos_seen(task uuid) returns text language plpgsql stable as $$
begin
    return (
        select chaos_word(
            case
                when w.lease_until is not null then 'running'
                when w.task_id is not null then 'queued'
                else t.status
            end,
            t.delivery, coalesce(w.attempt, t.attempt), t.lost_leases, w.lease_until, t.intent_at, t.cancel_requested_at
        )
        from tb_task t
        left join tb_work w on w.task_id = task and w.delivery = t.delivery and t.finished_at is null
        where t.id = task
    );
end $$;

create function chaos_staged(o tb_outbox) returns text language sql immutable as $$
    select case when o.task_id is null or o.parked_at is not null then '0' else o.delivery::text end
$$;

-- 记录与手里的活各有触发器，语句末了才触发：看到的都是改完的样子，先触发的记下。
-- 此刻的样子与上次记下的要在一个快照里比：交还只锁手里的活，别人正改着记录
create function chaos_record_task() returns trigger language plpgsql as $$
declare
    fresh uuid;
begin
    if tg_table_name = 'tb_task' then
        fresh := new.id;
        if tg_op = 'INSERT' then
            insert into chaos_history (task_id, what, was, became)
            values (fresh, 'task', concat_ws(' ', new.type, new.ordering_key is not null), chaos_seen(fresh));
            return null;
        end if;
    elsif tg_op = 'DELETE' then
        fresh := old.task_id;
    else
        fresh := new.task_id;
    end if;
    insert into chaos_history (task_id, what, was, became)
    select fresh, 'task', seen.before, seen.now
    from (
        select
            chaos_seen(fresh) as now,
            (
                select h.became from chaos_history h
                where h.task_id = fresh and h.what = 'task' order by h.seq desc limit 1
            ) as before
    ) as seen
    where seen.now is distinct from seen.before and seen.now is not null;
    return null;
end $$;
create trigger chaos_accepted after insert on tb_task for each row execute function chaos_record_task();
create trigger chaos_changed after update on tb_task for each row
    when (
        (old.status, old.delivery, old.attempt, old.lost_leases, old.intent_at, old.cancel_requested_at)
        is distinct from
        (new.status, new.delivery, new.attempt, new.lost_leases, new.intent_at, new.cancel_requested_at)
    )
    execute function chaos_record_task();

create function chaos_record_row() returns trigger language plpgsql as $$
begin
    insert into chaos_history (task_id, what, was, became)
    values (
        case tg_op when 'DELETE' then old.task_id else new.task_id end, 'outbox',
        case tg_op when 'INSERT' then '0' else chaos_staged(old) end,
        case tg_op when 'DELETE' then '0' else chaos_staged(new) end
    );
    return null;
end $$;
create trigger chaos_staged after insert or update of delivery, parked_at or delete on tb_outbox
    for each row execute function chaos_record_row();

create table chaos_shared (job text primary key);
create function chaos_record_shared() returns trigger language plpgsql as $$
begin
    insert into chaos_shared values (new.job) on conflict do nothing;
    return null;
end $$;

create function chaos_record_mark() returns trigger language plpgsql as $$
begin
    insert into chaos_history (task_id, what, was, became) values (new.task_id, tg_argv[0], '', '');
    return null;
end $$;
create trigger chaos_marked after insert on tb_task_event for each row
    when (new.kind in ('uncertain', 'resend', 'to_verify')) execute function chaos_record_mark('mark');

create trigger chaos_worked after insert or delete on tb_work for each row execute function chaos_record_task();
-- 续租看不见，不看
create trigger chaos_rework after update on tb_work for each row
    when (
        (old.delivery, old.attempt, old.lease_until is null, old.lease_until = '-infinity')
        is distinct from (new.delivery, new.attempt, new.lease_until is null, new.lease_until = '-infinity')
    )
    execute function chaos_record_task();
create trigger chaos_shared after insert on tb_work for each row when (new.job is not null)
    execute function chaos_record_shared();
"""
# 生效的表各家不同
EFFECT: LiteralString = """
    create trigger chaos_took_effect after insert on {} for each row execute function chaos_record_mark('effect')
"""
# 用例自己动手改过的（它的会话里 chaos.by_hand 是 on）不算历史
READ: LiteralString = """
    select task_id::text, array_agg(array[extract(epoch from at)::text, txid::text, what, was, became] order by seq)
    from chaos_history
    group by task_id
    having bool_or(by_hand) is not true
"""


CUT = "cut"  # PostgreSQL 忘了尾巴：触发器看不见，由战役插进去
SENT = "sent"  # 收件端收下的一封：不在库里，由战役插进去


class Change(NamedTuple):
    """一行的一次改动：``what`` 是哪张表上的，``was``、``became`` 是改前改后看得见的部分；``at`` 是 Unix 秒。

    :data:`CUT` 的 ``became`` 是还在的事务，``was`` 非空是丢了几笔。
    """

    at: float
    transaction: str
    what: str
    was: str
    became: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """一个任务的全部改动，按次序。头一笔是受理，它改之前的样子写的是类型与有没有有序键。"""

    task_id: str
    changes: tuple[Change, ...]

    @property
    def task_type(self) -> str:
        return self.changes[0].was.partition(" ")[0]

    @property
    def mail(self) -> bool:
        return self.task_type == MAIL

    @property
    def ordered(self) -> bool:
        return self.changes[0].was.endswith(" t")

    @property
    def broken(self) -> bool:
        """记录自己接不上：哪次改之前的样子不是上次改之后的样子。序号若不是提交的次序，就会这样。"""
        before: str | None = None
        for place, change in enumerate(self.serial().changes):
            if change.what == CUT:
                before = next((one.became for one in reversed(self.standing(place)) if one.what == "task"), None)
            if change.what == "task":
                if before not in {None, change.was}:
                    return True
                before = change.became
        return False

    def serial(self) -> Recorded:
        """同时的两笔排成先后：取消锁记录、交还锁手里的活，谁也看不见谁，后记下的便没有先记下的那一样。

        只当两笔看见的是同一个从前、改的不是同一样：不是一行上的，谁也盖不掉谁。跨过切换的不排：看见同一个从前，也可能是先的那笔丢了。
        """
        if any(change.what == CUT for change in self.changes):
            return self
        changes, place = list(self.changes), -1  # ``place`` 是上一笔改任务的
        seen: Change | None = None  # 它原来的样子
        for now, change in enumerate(self.changes):
            if change.what != "task":
                continue
            last, place = place, now
            if seen is not None and change.was == seen.became:
                changes[now] = change._replace(was=changes[last].became)
            elif seen is not None and seen.transaction != change.transaction and change.was == seen.was:
                became = _both(change.was, changes[last].became, change.became)
                if became is not None:
                    changes[now] = change._replace(was=changes[last].became, became=became)
            seen = change
        return replace(self, changes=tuple(changes))

    def standing(self, place: int) -> list[Change]:
        """第 ``place`` 笔是一次退回：之前的改动里还在的。"""
        kept = set(self.changes[place].became.split(" "))
        return [change for change in self.changes[:place] if change.transaction in kept]


def _both(before: str, one: str, other: str) -> str | None:
    """从 ``before`` 各改了几样的两笔，合起来；改到同一样的没有。"""
    words = list(zip(*(text.split(" ") for text in (before, one, other)), strict=True))
    if any(old not in {first, second} for old, first, second in words):
        return None
    return " ".join(second if second != old else first for old, first, second in words)


def installing(effects: LiteralString) -> LiteralString:
    """装上触发器的语句；``effects`` 是记生效的表。"""
    return f"{INSTALL}{EFFECT.format(effects)}"


def recorded(rows: Iterable[tuple[object, ...]]) -> list[Recorded]:
    """:data:`READ` 的结果。"""
    return list(map(_recorded, rows))


def _recorded(row: tuple[object, ...]) -> Recorded:
    task_id, changes = row
    assert isinstance(changes, list)
    return Recorded(str(task_id), tuple(_changes(changes)))


def _changes(rows: list[list[str]]) -> Iterator[Change]:
    for row in rows:
        at, *others = row
        yield Change(float(at), *others)


def delivered(histories: list[Recorded], mails: list[Mail]) -> list[Recorded]:
    """插进收件端收下的信。同一台机器的钟，写意向的触发器、收信、写结局的触发器依次看它；与别人的事务孰先孰后，都说得通。"""
    arrivals: dict[str, list[Change]] = {}
    for number, mail in enumerate(mails):
        arrivals.setdefault(mail.task_id, []).append(Change(mail.at, f"mail {number}", SENT, "", ""))
    return [
        replace(history, changes=tuple(_merged(history.changes, sorted(arrivals.get(history.task_id, ())))))
        for history in histories
    ]


def _merged(changes: Iterable[Change], arrivals: list[Change]) -> Iterator[Change]:
    for change in changes:
        while arrivals and arrivals[0].at < change.at:
            yield arrivals.pop(0)
        yield change
    yield from arrivals
