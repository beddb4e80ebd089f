/*
 * 投递协议（docs/evidence/MODEL.md）的模型：受理、relay、Redis/SAQ、worker、重投、人，以及有限次故障。
 *
 * 抽象：时间只剩「可以到期」；一条自动提交的语句、一个事务是一步，步与步之间任何角色都可能插进来或死去；
 * 进程重启即换了身份（库里记着的旧持有者从此算死）；Redis 任务锁不在模型里（它只会让人少做，不决定任何事）。
 * 故障共 FAULTS 次，任意组合；世界也可以提早平静（calm），所以更少次的都包括在内。
 *
 * 性质：
 *   安全  生效至多一次；结局不再变；每多寄一封信之前都先记下过「不明」；寄过而结局不是成功的，每一封都记过「不明」；
 *         健康的持有者不被抢；等待中的任务总还认领得了。
 *   活性  走到再也没有一步可走时（Watch），每个任务都有结局或看得见的 uncertain，且与世界相符；
 *         另证状态图无环（-DNP），所以任何运行都走得到那里，连公平性都不必假设。小规模另有带弱公平的 LTL。
 *
 * 规模：TASKS WORKERS RELAYS FAULTS ATTEMPTS LOST；策略：RESEND。KILLER：任务 0 一开始做就弄死它的进程，从不做完。
 * 其余每个开关拆掉协议的一块。
 */
#ifndef TASKS
#define TASKS 2
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef RELAYS
#define RELAYS 1
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#ifndef LOST
#define LOST 2 /* 连丢这么多次租约即判为毒丸 */
#endif
#define TOP 9 /* 投递号的上限；够用由断言保证 */

/* tb_task.status */
#define PENDING 1
#define QUEUED 2
#define RUNNING 3
#define RETRYING 4
#define SUCCEEDED 5
#define FAILED 6
#define CANCELLED 7
#define UNCERTAIN 8
/* tb_task.lease_until */
#define VALID 1
#define EXPIRED 2
#define RELEASED 3
#define NOBODY 7

typedef Task { /* tb_task 与 tb_outbox 的一行，以及世界里看得见的后果 */
  byte status; byte delivery; byte attempt; byte lost;
  byte owner; byte lease; bit intent; bit cancel;
  byte job[2];       /* tb_task.job：交给了哪个 SAQ 任务。任务即其内容：两个任务各自的投递号，0 = 不含 */
  byte outbox;       /* 发件箱行的投递号，0 = 没有 */
  bit locked;        /* relay 正拿着发件箱行 */
  bit claiming;      /* 认领已锁住任务行，还没提交 */
  byte effects;      /* 世界：生效的次数 */
  byte sends;        /* 世界：寄出的信 */
  byte marks         /* 记下过的 uncertain 与 resend */
};
Task task[TASKS];

typedef Jobs { short bits[TOP + 1] }; /* bits[任务 0 的投递号] 的第（任务 1 的投递号）位 */
Jobs waiting, incomplete;
byte redis_epoch, recorded_epoch;

typedef Hands {
  byte step; byte job[2]; byte attempt[2]; byte stage[2]; bit doubt[2];
#ifdef FORGETS
  bit mine[2]; bit kept_mine[2] /* 任务行里的认领号是它的；备库里的那一行是它的 */
#endif
};
Hands worker[WORKERS];
typedef Tray { byte step; byte row[2] };
Tray relay[RELAYS];

byte faults = FAULTS;

#ifdef PAUSED /* 任务 0 停一次：何时停、停多久都可以；停着的不认领、不交出，交出了的放回去 */
byte pausing; /* 还没停、停着、恢复了 */
#define stopped(t) (pausing == 1 && t == 0)
#else
#define stopped(t) false
#endif

#ifdef FORGETS
/* PostgreSQL 忘了：备库停在 diverge 的那一刻，fail_over 之后只剩它那里的；手里拿着任务的谁也不知道。
 * 认领号是随机的，只问「与行里的相同吗」：每个 worker 一位，别人认领即归零，历史断了就回到那时的。
 * note 是意向在 Redis 里的记号（哪次投递），比意向先写，结算不抹；history_cut 到补办完为止，其间门关着。 */
#ifdef HISTORY
#define Marked byte /* 时间线上此刻几个；平常只问有没有 */
#else
#define Marked bit
#endif
typedef Kept {
  byte status; byte delivery; byte attempt; byte lost; byte owner; byte lease; bit intent; bit cancel;
  byte job[2]; byte outbox; byte effects; Marked marked; byte epoch
};
Kept kept[TASKS];
Marked marked[TASKS];
bit lagging, history_cut, notes_lost;
byte note[TASKS];
#ifdef HISTORY
#define mark_it(t) task[t].marks++; marked[t]++
#else
#define mark_it(t) task[t].marks++; marked[t] = 1
#endif
#else
#define mark_it(t) task[t].marks++
#endif
#if defined(FORGETS) && !defined(NO_PG_EPOCH)
#define settled_history (!history_cut)
#else
#define settled_history true
#endif

#ifdef KILLER
#define mails(t) false
#elif TASKS == 2
#define mails(t) (t == 1) /* 任务 1 还要寄信，任务 0 只写库 */
#else
bit mail_kind;
#define mails(t) mail_kind
#endif

#define in(set, j) ((set.bits[j[0]] >> j[1]) & 1)
#define add(set, j) set.bits[j[0]] = set.bits[j[0]] | (1 << j[1])
#define drop(set, j) set.bits[j[0]] = set.bits[j[0]] & ~(1 << j[1])
#define beyond(set, a) (set.bits[9] || (a < 8 && set.bits[8]) || (a < 7 && set.bits[7]) || (a < 6 && set.bits[6]) || (a < 5 && set.bits[5]) || (a < 4 && set.bits[4]) \
                        || (a < 3 && set.bits[3]) || (a < 2 && set.bits[2]) || (a < 1 && set.bits[1]))
#define any(set) (set.bits[0] || beyond(set, 0))

#define waits(t) (task[t].status == PENDING || task[t].status == QUEUED || task[t].status == RETRYING)
#define final(t) (task[t].status >= SUCCEEDED && task[t].status <= CANCELLED)
#define rests(t) (task[t].status >= SUCCEEDED)
#define free(t) (!task[t].locked && !task[t].claiming)

/* ---- 隔离令牌，以及拆掉它的几种拆法 */

#ifdef NO_FENCE
#define current(t, w) true
#else
#define current(t, w) (task[t].delivery == worker[w].job[t])
#endif
#if defined(FORGETS) && !defined(TOKEN_WITHOUT_CLAIM)
#define claimed_by(t, w) (worker[w].mine[t])
#else
#define claimed_by(t, w) true /* 历史不断，投递号就不重复：少验认领号也守得住 */
#endif
#ifdef CLAIM_ANY_STATUS
#define claims(t, w) (worker[w].job[t] && current(t, w) && task[t].attempt < ATTEMPTS)
#else
#ifdef CLAIM_PAUSED
#define claimable(t) true
#else
#define claimable(t) (!stopped(t))
#endif
#define claims(t, w) (settled_history && worker[w].job[t] && current(t, w) && waits(t) && task[t].attempt < ATTEMPTS && claimable(t))
#endif
#define fence(t, w) (task[t].status == RUNNING && current(t, w) && claimed_by(t, w))
#ifdef SETTLE_UNGUARDED
#define settles(t, w) true
#else
#ifdef NO_FENCE
#define settles(t, w) (task[t].status == RUNNING)
#else
#define settles(t, w) fence(t, w)
#endif
#endif

/* ---- 共用的写法 */

inline choose(set) { /* 任意一个：比先进先出更坏 */
  do :: set.bits[a] -> break :: a < TOP && beyond(set, a) -> a++ od;
  do :: (set.bits[a] >> b) & 1 -> break :: set.bits[a] >> (b + 1) -> b++ od
}

inline become(t, s) {
  assert(!final(t)); /* 结局不再变 */
#ifndef VERIFY /* 查证答的是那一刻：答过「没收下」，僵尸手里的那封照样会到 */
  assert(!task[t].sends || (s != FAILED && s != CANCELLED)); /* 也许寄出过的，只有人说得了没寄 */
#endif
  assert(!(s == PENDING || s == RETRYING) || task[t].attempt < ATTEMPTS); /* 否则再也认领不了 */
  task[t].status = s
}

inline bump(t) { task[t].delivery++; assert(task[t].delivery <= TOP) }

/* 不再归谁；到头的任务把再也用不上的字段归零，好合并状态 */
inline let_go(t) {
  if :: task[t].status == SUCCEEDED || task[t].status == CANCELLED -> task[t].attempt = 0; task[t].lost = 0; task[t].cancel = 0 :: else fi;
  task[t].owner = NOBODY; task[t].lease = 0; task[t].job[0] = 0; task[t].job[1] = 0
}

inline stage_row(t) { task[t].job[0] = 0; task[t].job[1] = 0; task[t].outbox = task[t].delivery }

#ifdef REDRIVE_UNGUARDED
#define forgotten(t, seen) true
#else
#define forgotten(t, seen) (task[t].status == QUEUED && task[t].delivery == seen)
#endif

/* redrive.sql：仍是 queued 且投递号没变的才动 */
inline redrive(t, seen) {
  if
  :: forgotten(t, seen) -> bump(t); become(t, PENDING); stage_row(t)
  :: else
  fi
}

/* ---- relay：取一批（锁住行）→ 入队 → 标记并提交 */

#define due(t) (settled_history && task[t].outbox && !task[t].locked && !stopped(t))
#define ready(r) (relay[r].step == 0 && (r == 0 || relay[0].step)) /* 闲着的彼此一样：总让 0 号先取 */

inline take(r, t) { task[t].locked = 1; relay[r].row[t] = task[t].outbox }

inline unlock(r) {
  for (y : 0 .. TASKS - 1) {
    if :: relay[r].row[y] -> task[y].locked = 0 :: else fi
  }
  y = 0
}

inline clear(r) { relay[r].row[0] = 0; relay[r].row[1] = 0; relay[r].step = 0 }

inline enqueue(r) {
  if
  :: !in(incomplete, relay[r].row) -> add(incomplete, relay[r].row); add(waiting, relay[r].row)
  :: else /* 同键未完成：SAQ 不收；查得到，即算交出 */
  fi
}

#define staged(t) (task[t].status == PENDING || task[t].status == RETRYING)
#ifdef MARK_UNGUARDED
#define markable(t, r) (!task[t].claiming)
#else
#define markable(t, r) (!task[t].claiming && task[t].delivery == relay[r].row[t] && staged(t))
#endif

inline mark(r) {
  for (y : 0 .. TASKS - 1) {
    if
    :: relay[r].row[y] ->
       task[y].outbox = 0;
       if
       :: markable(y, r) ->
          become(y, QUEUED); task[y].job[0] = relay[r].row[0]; task[y].job[1] = relay[r].row[1]
       :: else /* worker 已抢先认领，或正锁着：跳过 */
       fi
    :: else
    fi
  }
  y = 0
}

proctype Relay(byte r) {
  byte y;
  do
  :: atomic { ready(r) && due(0) -> take(r, 0); relay[r].step = 1 }
#if TASKS == 2
  :: atomic { ready(r) && due(1) -> take(r, 1); relay[r].step = 1 }
  :: atomic { ready(r) && due(0) && due(1) -> take(r, 0); take(r, 1); relay[r].step = 1 }
#endif
#ifdef MARK_FIRST
  :: atomic { relay[r].step == 1 -> mark(r); unlock(r); relay[r].step = 2 }
  :: atomic { relay[r].step == 2 -> enqueue(r); clear(r) }
#else
  :: atomic { relay[r].step == 1 -> enqueue(r); relay[r].step = 2 }
  :: atomic { relay[r].step == 2 -> mark(r); unlock(r); clear(r) }
#endif
#ifdef HISTORY
  :: atomic { due(0) && staged(0) && !task[0].claiming && !task[0].intent -> become(0, FAILED); task[0].outbox = 0 } /* 毒丸，park.sql */
  :: atomic { due(0) && staged(0) && !task[0].claiming && task[0].intent -> mark_it(0); become(0, UNCERTAIN); task[0].outbox = 0 }
#endif
  od
}

/* ---- worker：取走 → 一条语句认领这次投递里的全部任务 → 执行 → 结算 → 完成 SAQ 任务 */

/* 展开带着自己的分号：没有它们的时候，步数也不变 */
#ifdef FORGETS
#define draw(w, t) ; worker[0].mine[t] = 0; worker[1].mine[t] = 0; worker[w].mine[t] = 1
#define drop_claim(t, w) ; worker[w].mine[t] = 0; worker[w].kept_mine[t] = 0
#define take_note(t, w) if :: note[t] < worker[w].job[t] -> note[t] = worker[w].job[t] :: else fi;
#else
#define draw(w, t)
#define drop_claim(t, w)
#define take_note(t, w)
#endif

inline leave(w) {
  for (z : 0 .. TASKS - 1) { worker[w].job[z] = 0; worker[w].attempt[z] = 0; worker[w].stage[z] = 0; worker[w].doubt[z] = 0 drop_claim(z, w) }
  z = 0; worker[w].step = 0
}

inline pop(w) {
  choose(waiting);
  waiting.bits[a] = waiting.bits[a] & ~(1 << b);
  worker[w].job[0] = a; worker[w].job[1] = b; worker[w].step = 1; a = 0; b = 0
}

#define row_busy(w, t) (worker[w].job[t] && task[t].claiming)

/* 连丢两次租约的是嫌疑：一个进程里只做一个，别的在认领的同一步里就交还，不算丢 */
#define SUSPECT 2
#if defined(HISTORY)
#define part_suspects(w) if :: worker[w].stage[0] && task[0].lost >= SUSPECT -> give_back(0, w) :: skip fi; /* 别的不在这里 */
#elif defined(KILLER) && !defined(COMPANY)
#define is_suspect(t, w) (worker[w].stage[t] && task[t].lost >= SUSPECT)
#define part_suspects(w) \
  if \
  :: is_suspect(0, w) && is_suspect(1, w) -> if :: give_back(0, w) :: give_back(1, w) fi \
  :: else \
  fi;
#else
#define part_suspects(w)
#endif

inline give_back(t, w) {
  task[t].lease = RELEASED; task[t].owner = NOBODY;
  forget(t, w)
}

inline claim(w) {
  for (z : 0 .. TASKS - 1) {
    if
    :: worker[w].stage[z] ->
       become(z, RUNNING);
       task[z].claiming = 0; task[z].attempt++; task[z].owner = w; task[z].lease = VALID;
       worker[w].attempt[z] = task[z].attempt; worker[w].doubt[z] = task[z].intent
       draw(w, z)
    :: else
    fi
  }
  part_suspects(w)
  z = 0; worker[w].step = 3
}

/* 「锁住而未提交」只在 relay 正要标记这一行时才看得出差别；别的时候与一步提交等价，不必多出状态 */
inline lock_rows(w) {
  for (z : 0 .. TASKS - 1) {
    if
    :: claims(z, w) ->
       assert(!stopped(z)); /* 停着的一个也不开始 */
       task[z].claiming = 1; worker[w].stage[z] = 1;
       if :: task[z].locked -> worker[w].step = 2 :: else fi
    :: else
    fi
  }
  z = 0;
  if :: worker[w].step == 1 -> claim(w) :: else fi
}

inline forget(t, w) { worker[w].stage[t] = 0; worker[w].attempt[t] = 0; worker[w].doubt[t] = 0 drop_claim(t, w) }

inline end_with(t, w, s) {
  if :: settles(t, w) -> become(t, s); task[t].intent = 0; let_go(t) :: else fi;
  forget(t, w)
}

#ifdef ENDING_FORGETS_INTENT
#define doubtful(t) false
#define doubted(t) false
#else
#define doubtful(t) worker[w].doubt[t] /* 先前的外部调用至今下落不明 */
#define doubted(t) task[t].intent
#endif

/* 失败或取消；也许寄出过的只能是不明 */
inline give_up(t, w, s) {
  if
  :: settles(t, w) && doubtful(t) -> mark_it(t); become(t, UNCERTAIN); let_go(t); forget(t, w)
  :: else -> end_with(t, w, s)
  fi
}

#ifdef EFFECT_OUTSIDE_TX
#define written(t) (!mails(t)) /* 坏变体：写入已在结算之前单独提交 */
#else
#define written(t) false
#endif

/* settle_done：处理器的写入与结算同一事务 */
inline settle_done(t, w) {
  if :: settles(t, w) && !written(t) -> task[t].effects++; assert(task[t].effects <= 1) :: else fi;
  end_with(t, w, SUCCEEDED)
}

/* settle_retry：新的投递号与发件箱行；要求过取消的就此取消，也许寄出过的记不明 */
inline settle_retry(t, w, keep) {
  if
  :: settles(t, w) ->
     bump(t); task[t].lost = 0; task[t].intent = task[t].intent && keep;
     if
     :: task[t].cancel && doubted(t) -> mark_it(t); become(t, UNCERTAIN)
     :: task[t].cancel && !doubted(t) -> become(t, CANCELLED); task[t].intent = 0
     :: else -> become(t, RETRYING)
     fi;
     let_go(t);
     if :: task[t].status == RETRYING -> stage_row(t) :: else fi
  :: else
  fi;
  forget(t, w)
}

#ifdef RESEND
#define resends(t, w) (worker[w].attempt[t] < ATTEMPTS)
#else
#define resends(t, w) false
#endif

/* 让位（等外面恢复）：同重试，只是不计尝试。不减就没有尽头，所以只在判历史时有（tests/model/history.py） */
inline settle_yield(t, w) {
  if :: settles(t, w) -> task[t].attempt--; worker[w].attempt[t]-- :: else fi;
  settle_retry(t, w, doubtful(t))
}

inline settle_unclear(t, w) { /* 外部调用的结局不明：按策略重发，或等人 */
  if :: settles(t, w) -> mark_it(t) :: else fi;
  if
  :: settles(t, w) && resends(t, w) -> settle_retry(t, w, 1)
  :: settles(t, w) && !resends(t, w) -> become(t, UNCERTAIN); let_go(t)
  :: else
  fi;
  forget(t, w)
}

#ifdef HOLDERS_UNGATED
#define writable true
#else
#define writable settled_history /* 认过的历史才写得进；否则等 */
#endif
#define at(t, w, s) (worker[w].step == 3 && worker[w].stage[t] == s)
#define may_retry(t, w) (worker[w].attempt[t] < ATTEMPTS && !task[t].locked)

inline intend(t, w, next) {
  if
  :: fence(t, w) -> take_note(t, w) task[t].intent = 1; worker[w].stage[t] = next
  :: else -> forget(t, w)
  fi
}

inline call(t, w, next) {
  task[t].sends++;
  assert(task[t].sends <= 1 + task[t].marks); /* 绝不悄悄再寄 */
  worker[w].stage[t] = next
}

#define INTENDED 2
#define ACCEPTED 3 /* 对方收下，回音到了 */
#define UNCLEAR 4  /* 回音没到 */
#define REFUSED 5  /* 对方拒收，或没连上 */
#define WRITTEN 6  /* 坏变体：写入已单独提交，还没结算 */

#ifdef HISTORY
#define YIELDING(t, w) \
  :: atomic { (at(t, w, 1) || at(t, w, REFUSED)) && !task[t].locked -> settle_yield(t, w) }
#else
#define YIELDING(t, w)
#endif
#if defined(HISTORY) && defined(FORGETS)
#define NOTING(t, w) :: atomic { at(t, w, 1) && mails(t) -> take_note(t, w) skip } /* 记了一笔，意向还没写成 */
#else
#define NOTING(t, w)
#endif
#ifdef VERIFY
#define VERIFYING(t, w) \
  :: atomic { at(t, w, 1) && worker[w].doubt[t] && !task[t].sends -> worker[w].doubt[t] = 0 } \
  :: atomic { at(t, w, 1) && worker[w].doubt[t] && task[t].sends -> settle_done(t, w) }
#else
#define VERIFYING(t, w)
#endif

#define HANDLER(t, w) \
  CALLING(t, w) \
  WRITING(t, w) \
  YIELDING(t, w) \
  NOTING(t, w) \
  VERIFYING(t, w) \
  :: atomic { (at(t, w, ACCEPTED) || at(t, w, WRITTEN)) && writable -> settle_done(t, w) } \
  :: atomic { (at(t, w, 1) || at(t, w, REFUSED)) && may_retry(t, w) && writable -> settle_retry(t, w, doubtful(t)) } \
  :: atomic { (at(t, w, REFUSED) || at(t, w, 1)) && writable -> give_up(t, w, FAILED) } \
  :: atomic { at(t, w, 1) && task[t].cancel && writable -> give_up(t, w, CANCELLED) } \
  :: atomic { at(t, w, UNCLEAR) && !task[t].locked && writable -> settle_unclear(t, w) }

#ifdef INTENT_AFTER
#define CALLING(t, w) \
  :: atomic { at(t, w, 1) && mails(t) -> call(t, w, INTENDED) } \
  :: atomic { at(t, w, INTENDED) -> intend(t, w, ACCEPTED) }
#else
#define CALLING(t, w) \
  :: atomic { at(t, w, 1) && mails(t) && writable -> intend(t, w, INTENDED) } \
  :: atomic { at(t, w, INTENDED) -> call(t, w, ACCEPTED) } \
  :: atomic { at(t, w, INTENDED) -> call(t, w, UNCLEAR) } \
  :: atomic { at(t, w, INTENDED) -> worker[w].stage[t] = UNCLEAR } \
  :: atomic { at(t, w, INTENDED) -> worker[w].stage[t] = REFUSED }
#endif
#ifdef EFFECT_OUTSIDE_TX
#define WRITING(t, w) \
  :: atomic { at(t, w, 1) && !mails(t) && fence(t, w) -> \
       task[t].effects++; assert(task[t].effects <= 1); worker[w].stage[t] = WRITTEN }
#else
#define WRITING(t, w) \
  :: atomic { at(t, w, 1) && !mails(t) && writable -> settle_done(t, w) }
#endif

/* SIGKILL：手里的一切没了，SAQ 任务留在「已取走」里；未提交的认领回滚 */
inline kill_worker(w) {
  for (x : 0 .. TASKS - 1) {
    if :: worker[w].step == 2 && worker[w].stage[x] -> task[x].claiming = 0 :: else fi;
    if :: task[x].status == RUNNING && task[x].owner == w -> task[x].owner = NOBODY; task[x].lease = EXPIRED :: else fi
  }
  x = 0; leave(w)
}

#ifdef PAUSED /* set_back.sql：没认领到的里面停着的，回发件箱，不计尝试；没放成的由核对收回 */
#define SETTING_BACK(t, w) \
  :: atomic { worker[w].step == 3 && worker[w].job[t] && current(t, w) && stopped(t) && task[t].status == QUEUED && free(t) -> \
       bump(t); become(t, PENDING); stage_row(t) }
#else
#define SETTING_BACK(t, w)
#endif

#define turn(w) (w == 0 || worker[0].step) /* 闲着的 worker 彼此一样：总让 0 号先取 */

proctype Worker(byte w) {
  byte z, a, b;
#ifdef KILLER
  byte x;
#endif
  do
  :: atomic { worker[w].step == 0 && any(waiting) && turn(w) -> pop(w) }
#if TASKS == 2
  :: atomic { worker[w].step == 1 && !row_busy(w, 0) && !row_busy(w, 1) -> lock_rows(w) }
#else
  :: atomic { worker[w].step == 1 && !row_busy(w, 0) -> lock_rows(w) }
#endif
  :: atomic { worker[w].step == 2 -> claim(w) }
#ifdef KILLER
  :: atomic { at(0, w, 1) -> kill_worker(w) }
#else
  HANDLER(0, w)
  SETTING_BACK(0, w)
#endif
#if TASKS == 2
  HANDLER(1, w)
#endif
  :: atomic { worker[w].step == 3 && !worker[w].stage[0] && !worker[w].stage[1] ->
       drop(incomplete, worker[w].job); leave(w) }
  od
}

/* ---- 重投：租约、核对（先看后动，两步）、纪元（先全部重投、后记下）、孤儿 */

#define expired(t) (settled_history && task[t].status == RUNNING && task[t].lease != VALID && free(t))
#define poisoned(t) (task[t].lease != RELEASED && task[t].lost + 1 >= LOST)

#ifdef INTENT_IGNORED
#define unclear(t) false
#else
#define unclear(t) task[t].intent
#endif
#ifdef RESEND
#ifdef POISON_FORGETS_INTENT
#define resent(t) true
#undef unclear
#define unclear(t) (task[t].intent && !poisoned(t) && !task[t].cancel)
#else
#define resent(t) (!poisoned(t) && !task[t].cancel)
#endif
#else
#define resent(t) false
#endif

#ifdef KILLER
#define convict(t) assert(t == 0) /* 陪着死的从不定罪 */
#else
#define convict(t) skip
#endif

/* redrive_expired.sql。信的下落不明时，只有「再寄一次」与「不明」两条路 */
inline reclaim(t) {
  bump(t);
  if
  :: unclear(t) && resent(t) -> task[t].attempt--; mark_it(t); become(t, PENDING)
  :: unclear(t) && !resent(t) -> mark_it(t); become(t, UNCERTAIN)
  :: !unclear(t) && poisoned(t) -> convict(t); become(t, FAILED); task[t].intent = 0
  :: !unclear(t) && !poisoned(t) && task[t].cancel -> become(t, CANCELLED); task[t].intent = 0
  :: !unclear(t) && !poisoned(t) && !task[t].cancel -> task[t].attempt--; become(t, PENDING)
  fi;
  if :: task[t].lease != RELEASED -> task[t].lost++ :: else fi;
  let_go(t);
  if :: task[t].status == PENDING -> stage_row(t) :: else fi
}

/* 不在未完成集里；或被取走很久却没人认领（取件者死了；活着只是慢，就算一次故障） */
#define gone(t) (task[t].status == QUEUED && !in(incomplete, task[t].job))
#define stuck(t) (task[t].status == QUEUED && in(incomplete, task[t].job) && !in(waiting, task[t].job))
#define held_by(t, w) (worker[w].step && worker[w].job[0] == task[t].job[0] && worker[w].job[1] == task[t].job[1])
#if WORKERS == 2
#define held(t) (held_by(t, 0) || held_by(t, 1))
#else
#define held(t) held_by(t, 0)
#endif
#define orphan(t) (settled_history && staged(t) && !task[t].outbox && free(t))

#define PRESENCE(t) \
  :: atomic { !looked && gone(t) -> looked = task[t].delivery; which = t } \
  :: atomic { !looked && stuck(t) && !held(t) -> looked = task[t].delivery; which = t } \
  :: atomic { !looked && stuck(t) && held(t) && faults -> faults--; looked = task[t].delivery; which = t }

proctype Presence() {
  byte looked, which;
  do
  PRESENCE(0)
#if TASKS == 2
  PRESENCE(1)
#endif
  :: atomic { looked && free(which) && settled_history -> redrive(which, looked); looked = 0; which = 0 }
  od
}

/* 历史断了，补办完才开门：也许做过的外部调用记下来，排队的一律另投。
 * 正在跑的：记号就是这次投递的，是持有者自己的，补上意向；更新的是忘了的那段里的继任者，或记号也没了：不明。
 * 失败了、不明的：记号比它新，就是忘了的那段里有人让它重来过 */
#ifdef FORGETS
#ifdef INTENT_SUFFICES
#define unmarked(t) (!task[t].intent)
#else
#define unmarked(t) true /* 行里已有的意向说的是更早的那次，人或策略已决定过再来 */
#endif
#define noted_since(t) (mails(t) && unmarked(t) && (note[t] >= task[t].delivery || notes_lost))
#define own_note(t) (task[t].status == RUNNING && note[t] == task[t].delivery && !notes_lost)
#ifdef RUNNING_TRUSTED
#define keeps(t) (task[t].status == RUNNING)
#else
#define keeps(t) own_note(t)
#endif
#ifdef REVIVED_IGNORED
#define revived_since(t) false
#else
#define revived_since(t) ((task[t].status == FAILED || task[t].status == UNCERTAIN) && note[t] > task[t].delivery)
#endif
#ifdef RESEND
#define redelivers(t) waits(t)
#define resent_at_all true
#else
#define redelivers(t) false
#define resent_at_all false
#endif

#ifdef HISTORY /* 代码多做的，看得见：新的投递号越过记下的；策略 resend，正在跑的也再来；要求过取消的等人 */
#define was_noted(t) (notes_lost -> task[t].delivery + (task[t].status == RUNNING -> 1 : 0) : note[t])
#define goes_past(t) task[t].delivery = was_noted(t) + 1; assert(task[t].delivery <= TOP)
#define again(t) (redelivers(t) || (task[t].status == RUNNING && resent_at_all)) && !task[t].cancel
#else
#define goes_past(t) bump(t)
#define again(t) redelivers(t)
#endif

inline catch_up(t) {
  if
  :: !rests(t) && noted_since(t) && keeps(t) -> task[t].intent = 1
  :: !rests(t) && noted_since(t) && !keeps(t) && (again(t)) ->
#ifdef HISTORY
     goes_past(t);
     if
     :: task[t].status == RUNNING -> task[t].attempt--; become(t, PENDING); let_go(t); stage_row(t)
     :: task[t].status == QUEUED -> become(t, PENDING); stage_row(t)
     :: else -> stage_row(t)
     fi;
#endif
     task[t].intent = 1; mark_it(t)
  :: !rests(t) && noted_since(t) && !keeps(t) && !(again(t)) ->
     goes_past(t); mark_it(t); task[t].intent = 1; task[t].outbox = 0; become(t, UNCERTAIN); let_go(t)
  :: revived_since(t) ->
#ifdef HISTORY
     goes_past(t);
#endif
     mark_it(t); task[t].intent = 1; task[t].status = UNCERTAIN
  :: else
  fi;
  redrive(t, task[t].delivery)
}
#endif

proctype Redrive() {
  byte fresh;
  do
#if defined(FORGETS) && !defined(NO_PG_EPOCH)
  :: atomic { history_cut ->
       catch_up(0);
#if TASKS == 2
       catch_up(1);
#endif
       history_cut = 0; notes_lost = 0 }
#ifdef HISTORY
  :: atomic { history_cut && !notes_lost -> notes_lost = 1 } /* 记着的也许不可信：到期的都疑 */
#endif
#endif
#ifndef NO_LEASE
  :: atomic { expired(0) -> reclaim(0) }
#if TASKS == 2
  :: atomic { expired(1) -> reclaim(1) }
#endif
#endif
#ifndef NO_EPOCH
  :: atomic { !fresh && recorded_epoch != redis_epoch && settled_history ->
       fresh = redis_epoch;
       if :: free(0) -> redrive(0, task[0].delivery) :: else fi;
#if TASKS == 2
       if :: free(1) -> redrive(1, task[1].delivery) :: else fi;
#endif
     }
  :: atomic { fresh -> recorded_epoch = fresh; fresh = 0 }
#endif
#ifndef NO_ORPHAN
  :: atomic { orphan(0) -> bump(0); stage_row(0) }
#if TASKS == 2
  :: atomic { orphan(1) -> bump(1); stage_row(1) }
#endif
#endif
  od
}

/* ---- 世界：故障与人，共 FAULTS 次 */

/* SIGSTOP 过了租约：库里看它已死，它自己不知道 */
inline pause_worker(w) {
  for (x : 0 .. TASKS - 1) {
    if :: task[x].status == RUNNING && task[x].owner == w && task[x].lease == VALID -> task[x].lease = EXPIRED :: else fi
  }
  x = 0
}

#ifdef RELEASE_WITHOUT_TOKEN
#define own(t, w) (worker[w].stage[t] && task[t].status == RUNNING)
#else
#define own(t, w) (worker[w].stage[t] && fence(t, w) && task[t].owner == w)
#endif

/* SIGTERM：交还手里没做完的（release.sql），退出 */
inline stop_worker(w) {
  for (x : 0 .. TASKS - 1) {
    if
    :: own(x, w) ->
       assert(task[x].owner == w || task[x].lease != VALID); /* 健康的持有者不被抢 */
       task[x].lease = RELEASED
    :: else
    fi;
    /* 已不归自己的：什么也不写 */
  }
  x = 0; leave(w)
}

inline flush() {
  for (x : 0 .. TOP) { waiting.bits[x] = 0; incomplete.bits[x] = 0 }
#ifdef FORGETS
  note[0] = 0; notes_lost = 1;
#if TASKS == 2
  note[1] = 0;
#endif
#endif
  x = 0; redis_epoch++
}

inline lose_one() { /* 驱逐、切换丢了尾巴、打扫者死在半途：纪元没变 */
  choose(incomplete);
  incomplete.bits[a] = incomplete.bits[a] & ~(1 << b);
  waiting.bits[a] = waiting.bits[a] & ~(1 << b);
  a = 0; b = 0
}

#ifdef FORGETS
inline diverge() {
  for (x : 0 .. TASKS - 1) {
    kept[x].status = task[x].status; kept[x].delivery = task[x].delivery; kept[x].attempt = task[x].attempt;
    kept[x].lost = task[x].lost; kept[x].owner = task[x].owner; kept[x].lease = task[x].lease;
    kept[x].intent = task[x].intent; kept[x].cancel = task[x].cancel; kept[x].outbox = task[x].outbox;
    kept[x].job[0] = task[x].job[0]; kept[x].job[1] = task[x].job[1]; kept[x].effects = task[x].effects;
    kept[x].marked = marked[x]; kept[x].epoch = recorded_epoch;
    worker[0].kept_mine[x] = worker[0].mine[x]; worker[1].kept_mine[x] = worker[1].mine[x]
  }
  x = 0; lagging = 1
}

#define holds(t, w) (worker[w].step == 3 && worker[w].stage[t] && worker[w].mine[t])

inline fail_over() {
  for (x : 0 .. TASKS - 1) {
    task[x].status = kept[x].status; task[x].delivery = kept[x].delivery; task[x].attempt = kept[x].attempt;
    task[x].lost = kept[x].lost; task[x].owner = kept[x].owner; task[x].lease = kept[x].lease;
    task[x].intent = kept[x].intent; task[x].cancel = kept[x].cancel; task[x].outbox = kept[x].outbox;
    task[x].job[0] = kept[x].job[0]; task[x].job[1] = kept[x].job[1]; task[x].effects = kept[x].effects;
    marked[x] = kept[x].marked; recorded_epoch = kept[x].epoch; task[x].locked = 0; task[x].claiming = 0;
    kept[x].status = 0; kept[x].delivery = 0; kept[x].attempt = 0; kept[x].lost = 0; kept[x].owner = 0;
    kept[x].lease = 0; kept[x].intent = 0; kept[x].cancel = 0; kept[x].outbox = 0; kept[x].job[0] = 0;
    kept[x].job[1] = 0; kept[x].effects = 0; kept[x].marked = 0; kept[x].epoch = 0;
    worker[0].mine[x] = worker[0].kept_mine[x]; worker[1].mine[x] = worker[1].kept_mine[x];
    worker[0].kept_mine[x] = 0; worker[1].kept_mine[x] = 0;
    if /* 记着的持有者已不在做它：没有人续租 */
    :: task[x].status == RUNNING && task[x].lease == VALID && !(task[x].owner == 0 && holds(x, 0)) && !(task[x].owner == 1 && holds(x, 1)) ->
       task[x].owner = NOBODY; task[x].lease = EXPIRED
    :: else
    fi
  }
  for (x : 0 .. WORKERS - 1) { /* 没提交的认领没有了：再试 */
    if :: worker[x].step == 2 -> worker[x].stage[0] = 0; worker[x].stage[1] = 0; worker[x].step = 1 :: else fi
  }
  clear(0);
#if RELAYS == 2
  clear(1);
#endif
  x = 0; lagging = 0; history_cut = 1
}
#endif

/* cancel.sql：先前那封下落不明的记不明，再取消一次才是人的定论 */
inline call_off(t) {
#ifdef HISTORY
  if :: task[t].status != RUNNING -> task[t].outbox = 0 :: else fi;
#else
  task[t].outbox = 0; /* 正在跑的，库里那一行还在：多交一次而已，略去它少些状态 */
#endif
  if
  :: task[t].status == RUNNING -> task[t].cancel = 1
  :: waits(t) && task[t].intent -> mark_it(t); become(t, UNCERTAIN); let_go(t)
  :: else -> task[t].status = CANCELLED; task[t].intent = 0; let_go(t)
  fi
}

/* replay.sql：人工重来 */
inline revive(t) {
  bump(t); task[t].status = PENDING; task[t].attempt = 0; task[t].lost = 0; task[t].cancel = 0; stage_row(t)
}

#ifdef HISTORY
#define holding(t) (task[t].status == FAILED) /* 失败了还拦着同键的：取消就是放行，自己再没有下文 */
#else
#define holding(t) false
#endif
#define cancellable(t) (free(t) && (waits(t) || task[t].status == UNCERTAIN || holding(t) || (task[t].status == RUNNING && !task[t].cancel)))
#define revivable(t) (free(t) && (task[t].status == FAILED || task[t].status == UNCERTAIN))
#define between(w) (worker[w].step == 1 || worker[w].step == 3)

#define FAULTY_WORKER(w) \
  :: atomic { faults && worker[w].step -> faults--; kill_worker(w) } \
  :: atomic { faults && worker[w].step == 3 -> faults--; pause_worker(w) } \
  :: atomic { faults && between(w) -> faults--; stop_worker(w) }
#ifdef PERSON_UNGATED
#define answered true
#else
#define answered settled_history
#endif
#ifdef HISTORY /* 人说不明的那个究竟怎样；平常的模型里与取消一样，都是再没有下文 */
#define RESOLVING(t) \
  :: atomic { faults && free(t) && task[t].status == UNCERTAIN && answered -> faults--; task[t].status = SUCCEEDED; task[t].intent = 0; let_go(t) } \
  :: atomic { faults && free(t) && task[t].status == UNCERTAIN && answered -> faults--; task[t].status = FAILED; task[t].intent = 0; let_go(t) }
#else
#define RESOLVING(t)
#endif
#define PERSON(t) \
  RESOLVING(t) \
  :: atomic { faults && cancellable(t) && answered -> faults--; call_off(t) } \
  :: atomic { faults && revivable(t) && answered -> faults--; revive(t) }

proctype World() {
  byte x, y, z, a, b;
  do
  :: atomic { faults -> faults = 0 }
#ifdef PAUSED
  :: atomic { pausing < 2 -> pausing++ }
#endif
  FAULTY_WORKER(0)
#if WORKERS == 2
  FAULTY_WORKER(1)
#endif
  :: atomic { faults && relay[0].step -> faults--; unlock(0); clear(0) }
#if RELAYS == 2
  :: atomic { faults && relay[1].step -> faults--; unlock(1); clear(1) }
#endif
#ifdef FORGETS
  :: atomic { faults && !lagging && !history_cut -> faults--; diverge() }
  :: atomic { lagging -> fail_over() }
#endif
  :: atomic { faults && any(incomplete) -> faults--; flush() }
  :: atomic { faults && any(incomplete) -> faults--; lose_one() }
  PERSON(0)
#if TASKS == 2
  PERSON(1)
#endif
  od
}

/* ---- 再也没有一步可走：每个任务都有着落，且与世界相符 */

inline judge(t) {
  assert(rests(t));
  assert((task[t].status == SUCCEEDED) == (task[t].effects == 1));
  assert(task[t].status != SUCCEEDED || !mails(t) || task[t].sends >= 1);
  assert(task[t].status == SUCCEEDED || task[t].sends <= task[t].marks); /* 说没寄成，就得每一封都记过「不明」 */
  assert(!task[t].locked && !task[t].claiming && !task[t].outbox);
#ifdef FORGETS
  assert(task[t].sends <= 1 || marked[t]); /* 寄过两封的，时间线上看得见 */
#endif
  assert(!final(t) || !task[t].intent)
}

proctype Watch() {
  timeout;
  judge(0);
#if TASKS == 2
  judge(1)
#endif
}

#ifdef LIVENESS
ltl settles { <>[] (rests(0)) }
#endif

init {
  byte t;
  atomic {
#if TASKS == 1
    if :: mail_kind = 0 :: mail_kind = 1 fi;
#endif
    for (t : 0 .. TASKS - 1) { /* 受理：任务与发件箱行一次提交 */
      task[t].status = PENDING; task[t].delivery = 1; task[t].owner = NOBODY;
#ifndef ACCEPT_SPLIT
      task[t].outbox = 1
#endif
    }
    t = 0;
    for (t : 0 .. RELAYS - 1) { run Relay(t) }
    for (t : 0 .. WORKERS - 1) { run Worker(t) }
    t = 0;
#ifndef NO_PRESENCE
    run Presence();
#endif
    run Redrive();
    run World();
    run Watch()
  }
}
