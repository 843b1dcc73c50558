/*
 * One conversation in a cluster: client A sends the messages 1 … MESSAGES to client B. Either of two nodes may
 * carry either session, each is the other's peer. Clients leave and resume anywhere, nodes are killed, frozen and
 * woken, leases end, a command outlives its sender, Redis comes back without the last of its writes.
 *
 * One atomic{} of a node is one script of node/cluster/scripts, one transaction of the store or one write to a
 * socket: between any two of them the node can be killed or frozen. Bounds and mutants: README.md.
 */
#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef FREEZES
#define FREEZES 0
#endif
#ifndef LOSSES
#define LOSSES 0       /* restarts of Redis that forget a tail of its writes */
#endif
#ifndef BREAKS
#define BREAKS 0       /* connections to Redis that end between a command and its reply */
#endif
#ifndef LEAVES_A
#define LEAVES_A 0     /* times a client gives up a connection that works */
#endif
#ifndef LEAVES_B
#define LEAVES_B 0
#endif
#ifndef NOTICES
#define NOTICES 1      /* stanzas to B that are not logged, but counted */
#endif

#define SLOTS  (MESSAGES + 2)   /* log positions 1 … MESSAGES + 1: one more than needed shows a double append */
#define A      0
#define B      1
#define NOBODY 2

/* ---- Redis ---- */

typedef Keys {
  byte gen; bool open;
  byte carrier[2], claimed[2], epoch[2];   /* of each session; an epoch is (generation of the claim, counter) */
  byte in;                                 /* counter of A's session */
  byte last, log[SLOTS], number[SLOTS];    /* B's log; the stanza number of each entry, 0: none */
  byte origin;                             /* highest n of A that is in B's log */
}
Keys redis, disk;
bool  saved;
byte  run_id;            /* of this incarnation */
byte  survived;          /* where the streams of the last one had come to */
bool  refilled[2];
byte  staged[2];         /* bit n: output n was handed in by this node */
byte  told[2];           /* how far each node said with its lease that it has read */

/* ---- PostgreSQL ---- */

byte store_gen, store_run;
bool archived[SLOTS];    /* a unique key: the second writing of a row is none */

/* ---- nodes ---- */

mtype = { idle, to_archive, to_commit, asked, committed }   /* a stanza of A on its way */

typedef Node {
  bool up, frozen; byte gen, trusts;   /* the incarnation of Redis it speaks with */
  /* session of A, epoch 0: not carried here */
  byte a_epoch, a_claimed, in, read; mtype step; bool a_wire;
  byte outputs;          /* bit n: what n appended may not yet be in the memory of everybody */
  /* session of B */
  byte b_epoch, b_claimed, last, log[SLOTS], number[SLOTS], origin;
  byte sent, counted; bool proved, settled, b_wire;
}
Node node[2];
bool lease[2];

#define OK   1
#define DONE 2             /* it had been executed before; 0: refused */

/* A commit on its way to Redis. */
typedef Command { bool on, done; byte verdict, gen, epoch, stanza }
Command command[2];

/* ---- clients ---- */

byte a_at = NOBODY, a_asks = NOBODY, a_acked, a_sent, a_left;
byte b_at = NOBODY, b_asks = NOBODY, b_count, b_left, b_newest;
bool a_resume[2], b_resume[2];   /* a <resume/> in the node's buffer; one that was given up stays there */
bool got[SLOTS];

byte kills, freezes, losses, breaks, notices;

/* ---- the fences ---- */

#define RUNS(x) (node[x].up && !node[x].frozen)
#ifdef NO_LEASE
#define LEASED(x) true
#else
#define LEASED(x) lease[x]
#endif
/* What guard() of prelude.lua lets through. */
#define ADMITTED(x) (RUNS(x) && node[x].trusts == run_id && node[x].gen == redis.gen && redis.open && LEASED(x))
#ifdef NO_EPOCH
#define OWNED(s, x, e) true
#else
#define OWNED(s, x, e) (redis.carrier[s] == x && redis.epoch[s] == e)
#endif
#ifdef NO_ORIGIN
#define NEW_ORIGIN(n) true
#else
#define NEW_ORIGIN(n) (redis.origin < n)
#endif
#ifdef NO_BARRIER
#define ALL_CAME true
#else
#define ALL_CAME ((refilled[0] || !lease[0]) && (refilled[1] || !lease[1]))
#endif

inline append(n) {
  assert(redis.last < MESSAGES + 1);
  redis.last++; redis.log[redis.last] = n; redis.number[redis.last] = 0; redis.origin = n
}

inline copy_state(to, from) {
  to.gen = from.gen; to.open = from.open; to.in = from.in; to.last = from.last; to.origin = from.origin;
  for (x : 0 .. 1) { to.carrier[x] = from.carrier[x]; to.claimed[x] = from.claimed[x]; to.epoch[x] = from.epoch[x] }
  for (x : 1 .. MESSAGES + 1) { to.log[x] = from.log[x]; to.number[x] = from.number[x] }
  x = 0
}

inline clear_command(x) {
  command[x].on = false; command[x].done = false; command[x].verdict = 0;
  command[x].gen = 0; command[x].epoch = 0; command[x].stanza = 0
}

/* ---- what a node forgets, and loads ---- */

inline drop_a(x) {
  node[x].a_epoch = 0; node[x].a_claimed = 0; node[x].in = 0; node[x].read = 0; node[x].step = idle;
  if
  :: node[x].a_wire -> node[x].a_wire = false; a_at = NOBODY
  :: else
  fi
}

inline drop_b(x) {
  node[x].b_epoch = 0; node[x].b_claimed = 0; node[x].last = 0; node[x].origin = 0;
  node[x].sent = 0; node[x].counted = 0; node[x].proved = false; node[x].settled = false;
  for (i : 1 .. MESSAGES + 1) { node[x].log[i] = 0; node[x].number[i] = 0 }
  i = 0;
  if
  :: node[x].b_wire -> node[x].b_wire = false; b_at = NOBODY
  :: else
  fi
}

inline claim_a(x) {
  redis.epoch[A]++; redis.carrier[A] = x; redis.claimed[A] = redis.gen;
  drop_a(x);
  node[x].a_epoch = redis.epoch[A]; node[x].a_claimed = redis.gen; node[x].in = redis.in
}

inline claim_b(x) {
  redis.epoch[B]++; redis.carrier[B] = x; redis.claimed[B] = redis.gen;
  drop_b(x);
  node[x].b_epoch = redis.epoch[B]; node[x].b_claimed = redis.gen;
  node[x].last = redis.last; node[x].origin = redis.origin;
  for (i : 1 .. MESSAGES + 1) { node[x].log[i] = redis.log[i]; node[x].number[i] = redis.number[i] }
  i = 0
}

inline leave_a() {
  if
  :: a_at != NOBODY -> node[a_at].a_wire = false; a_at = NOBODY
  :: else
  fi;
  a_asks = NOBODY
}

inline leave_b() {
  if
  :: b_at != NOBODY -> node[b_at].b_wire = false; b_at = NOBODY
  :: else
  fi;
  b_asks = NOBODY
}

/* A stanza at B: its application sees each message once, in order, and none that the archive does not have. */
inline receive(n) {
  assert(!got[n]);
  assert(n > b_newest);
  assert(archived[n]);
  got[n] = true; b_newest = n; b_count++
}

/* Entries that the streams brought. */
inline take_in(x) {
  do
  :: node[x].last < redis.last -> node[x].last++; node[x].log[node[x].last] = redis.log[node[x].last]
  :: else -> break
  od;
  node[x].origin = redis.origin
}

proctype NodeProcess(byte x) {
  byte i, n;
end:
  do
  /* ---- A: archive, commit, acknowledge ---- */
  :: atomic { RUNS(x) && node[x].a_epoch && node[x].step == idle && node[x].read > node[x].in ->
       node[x].step = to_archive
#ifdef ACK_EARLY
       ; if
       :: node[x].a_wire -> a_acked = node[x].in + 1
       :: else
       fi
#endif
     }
  :: atomic { RUNS(x) && node[x].step == to_archive -> archived[node[x].in + 1] = true; node[x].step = to_commit }
  :: atomic { ADMITTED(x) && node[x].step == to_commit && (!command[x].on || command[x].done) ->
       clear_command(x);
       command[x].on = true; command[x].gen = node[x].gen; command[x].epoch = node[x].a_epoch;
       command[x].stanza = node[x].in + 1;
       node[x].step = asked }
  :: atomic { RUNS(x) && node[x].step == asked && command[x].on && command[x].done ->
       if
       :: command[x].verdict ->
            node[x].in = command[x].stanza; node[x].step = committed;
#ifndef FORGET
            if
#ifdef FORGET_DONE
            :: command[x].verdict == DONE
#endif
            :: else -> node[x].outputs = node[x].outputs | (1 << command[x].stanza)
            fi
#endif
       :: else -> drop_a(x)
       fi;
       clear_command(x) }
  /* The outcome is unknown: the batch goes again, in its place. */
  :: atomic { RUNS(x) && node[x].step == asked && !command[x].on && node[x].gen == redis.gen && redis.open ->
       node[x].step = to_commit }
#ifdef COUNT_APART
  :: atomic { ADMITTED(x) && node[x].step == committed && OWNED(A, x, node[x].a_epoch) && redis.in < node[x].in ->
       redis.in = node[x].in }
  :: atomic { RUNS(x) && node[x].step == committed && !OWNED(A, x, node[x].a_epoch) -> drop_a(x) }
#endif
  :: atomic { RUNS(x) && node[x].step == committed && redis.in >= node[x].in ->
       node[x].step = idle;
       if
       :: node[x].a_wire -> a_acked = node[x].in
       :: else
       fi }

  /* ---- B: read, number, send ---- */
  :: atomic { ADMITTED(x) && node[x].b_epoch && OWNED(B, x, node[x].b_epoch) && node[x].last < redis.last -> take_in(x) }
#ifdef SEND_EARLY
  :: atomic { RUNS(x) && node[x].b_epoch && node[x].settled && node[x].sent < node[x].last ->
       node[x].sent++; node[x].counted++;
       if
       :: node[x].b_wire -> receive(node[x].log[node[x].sent])
       :: else
       fi }
  :: atomic { ADMITTED(x) && node[x].b_epoch && OWNED(B, x, node[x].b_epoch) && node[x].sent > 0 &&
              node[x].number[node[x].sent] == 0 ->
       node[x].number[node[x].sent] = node[x].counted; redis.number[node[x].sent] = node[x].counted }
#else
  :: atomic { ADMITTED(x) && node[x].b_epoch && node[x].settled && node[x].sent < node[x].last &&
              node[x].number[node[x].sent + 1] == 0 ->
       if
       :: OWNED(B, x, node[x].b_epoch) ->
            node[x].number[node[x].sent + 1] = node[x].counted + 1;
            redis.number[node[x].sent + 1] = node[x].counted + 1
       :: else -> drop_b(x)
       fi }
  :: atomic { RUNS(x) && node[x].b_epoch && node[x].settled && node[x].sent < node[x].last &&
              node[x].number[node[x].sent + 1] != 0 ->
       node[x].sent++; node[x].counted++;
       assert(node[x].number[node[x].sent] == node[x].counted);
       if
       :: node[x].b_wire -> receive(node[x].log[node[x].sent])
       :: else
       fi }
#endif
  /* What is not logged is counted too; it waits behind an entry that has its number. */
  :: atomic { RUNS(x) && node[x].b_epoch && node[x].settled && notices < NOTICES &&
              (node[x].sent == node[x].last || node[x].number[node[x].sent + 1] == 0) ->
       notices++; node[x].counted++;
       if
       :: node[x].b_wire -> b_count++
       :: else
       fi }

  /* ---- resume ---- */
  :: atomic { ADMITTED(x) && a_resume[x] && node[x].step != asked ->
       a_resume[x] = false;
       claim_a(x);
       if
       :: a_asks == x ->
            a_asks = NOBODY; a_at = x; node[x].a_wire = true;
            assert(node[x].in >= a_acked);     /* <resumed h/> takes no acknowledgement back */
            a_acked = node[x].in; a_sent = node[x].in
       :: else     /* nobody is there any more */
       fi }
  :: atomic { ADMITTED(x) && b_resume[x] ->
       b_resume[x] = false;
       claim_b(x);
#ifdef VOID_AT_CLAIM
       for (i : 1 .. MESSAGES + 1) { redis.number[i] = 0; node[x].number[i] = 0 }
       i = 0;
#endif
#ifdef NO_PROOF
       node[x].counted = b_count; node[x].proved = true;
#endif
       if
       :: b_asks == x -> b_asks = NOBODY; b_at = x; node[x].b_wire = true
       :: else
       fi }
  /* B answers the <r/> that follows <resumed/>: it is here, and this is its count. */
  :: atomic { RUNS(x) && node[x].b_wire && !node[x].proved -> node[x].proved = true; node[x].counted = b_count }
  :: atomic { ADMITTED(x) && node[x].b_epoch && node[x].proved && !node[x].settled ->
       if
       :: OWNED(B, x, node[x].b_epoch) ->
            i = 0;
            do
            :: i < node[x].last && node[x].number[i + 1] != 0 && node[x].number[i + 1] <= node[x].counted -> i++
            :: else -> break
            od;
            node[x].sent = i; node[x].settled = true;
            i++;
            do
            :: i <= node[x].last ->
                 node[x].number[i] = 0;
#ifndef KEEP_NUMBERS
                 redis.number[i] = 0;
#endif
                 i++
            :: else -> break
            od;
            i = 0
       :: else -> drop_b(x)
       fi }

  /* ---- superseded: the next script or the stream says so ---- */
  :: atomic { ADMITTED(x) && node[x].a_epoch && node[x].step == idle && !OWNED(A, x, node[x].a_epoch) -> drop_a(x) }
  :: atomic { ADMITTED(x) && node[x].b_epoch && !OWNED(B, x, node[x].b_epoch) -> drop_b(x) }

  /* ---- lease: tells how far this node has read, and learns how far the slowest has ---- */
  :: atomic { ADMITTED(x) && lease[x] && (told[x] < redis.origin || node[x].outputs) ->
       if
       :: node[x].b_epoch && OWNED(B, x, node[x].b_epoch) -> take_in(x)
       :: else
       fi;
       told[x] = redis.origin;
       n = told[x];
#ifndef CONFIRM_ALONE
       if
       :: lease[1 - x] && told[1 - x] < n -> n = told[1 - x]
       :: else
       fi;
#endif
       i = 1;
       do
       :: i <= n -> node[x].outputs = node[x].outputs & (255 - (1 << i)); i++
       :: else -> break
       od;
       i = 0; n = 0 }
  :: atomic { RUNS(x) && !lease[x] && node[x].trusts == run_id -> lease[x] = true }

  /* ---- the peer takes over ---- */
  :: atomic { ADMITTED(x) && lease[x] && !lease[1 - x] && (redis.carrier[A] == 1 - x || redis.carrier[B] == 1 - x) ->
       if
       :: redis.carrier[A] == 1 - x -> claim_a(x)
       :: else
       fi;
       if
       :: redis.carrier[B] == 1 - x -> claim_b(x)
       :: else
       fi }

  /* ---- recover, refill, stage, open ---- */
  :: atomic { RUNS(x) && node[x].trusts != run_id && store_run != run_id ->
       store_run = run_id; store_gen++;
       redis.gen = store_gen; redis.open = false; survived = redis.origin;
       refilled[0] = false; refilled[1] = false; staged[0] = 0; staged[1] = 0; told[0] = 0; told[1] = 0 }
  :: atomic { RUNS(x) && store_run == run_id && node[x].gen != store_gen && !redis.open ->
       node[x].trusts = run_id; node[x].gen = store_gen; lease[x] = true;
       if
       :: node[x].a_epoch && (node[x].a_claimed > redis.claimed[A] ||
            (node[x].a_claimed == redis.claimed[A] && node[x].a_epoch >= redis.epoch[A])) ->
            redis.carrier[A] = x; redis.claimed[A] = node[x].a_claimed; redis.epoch[A] = node[x].a_epoch;
            if
            :: redis.in < node[x].in -> redis.in = node[x].in
            :: else     /* a commit survived whose reply did not come */
            fi
       :: else
       fi;
       if
       :: node[x].b_epoch && (node[x].b_claimed > redis.claimed[B] ||
            (node[x].b_claimed == redis.claimed[B] && node[x].b_epoch >= redis.epoch[B])) ->
            redis.carrier[B] = x; redis.claimed[B] = node[x].b_claimed; redis.epoch[B] = node[x].b_epoch;
            for (i : 1 .. MESSAGES + 1) {
              if
              :: i <= node[x].last ->
                   redis.log[i] = node[x].log[i];
#ifdef OLD_NUMBERS
                   if
                   :: node[x].number[i] -> redis.number[i] = node[x].number[i]
                   :: else
                   fi
#else
                   redis.number[i] = node[x].number[i]   /* its absence too: a settle may be among what was lost */
#endif
              :: else -> redis.number[i] = 0
              fi
            }
            i = 0;
            if
            :: redis.last < node[x].last -> redis.last = node[x].last
            :: else
            fi;
            if
            :: redis.origin < node[x].origin -> redis.origin = node[x].origin
            :: else
            fi
       :: else
       fi;
       i = survived + 1;
       do
       :: i <= MESSAGES ->
            if
            :: node[x].outputs & (1 << i) -> staged[x] = staged[x] | (1 << i)
            :: else
            fi;
            i++
       :: else -> break
       od;
       i = 0;
#ifndef NO_UNKNOWN
       if
       :: node[x].step == asked -> staged[x] = staged[x] | (1 << (node[x].in + 1))
       :: else
       fi;
#endif
       refilled[x] = true }
  :: atomic { RUNS(x) && node[x].gen == redis.gen && node[x].trusts == run_id && !redis.open && ALL_CAME ->
       for (i : 1 .. MESSAGES) {
#ifdef NO_SORT
         n = MESSAGES + 1 - i;
#else
         n = i;
#endif
         if     /* due is what the sender's counter covers; the rest comes again from there */
         :: ((staged[0] | staged[1]) & (1 << n)) && n <= redis.in && NEW_ORIGIN(n) -> append(n)
         :: else
         fi
       }
       i = 0; n = 0;
       redis.open = true; staged[0] = 0; staged[1] = 0 }
  /* Who comes too late is fenced: it starts with nothing. */
  :: atomic { RUNS(x) && redis.open && store_run == run_id && (node[x].trusts != run_id || node[x].gen != redis.gen) ->
       drop_a(x); drop_b(x); node[x].outputs = 0;
       node[x].trusts = run_id; node[x].gen = redis.gen; lease[x] = true }
  od
}

/* Executes what it was sent, whether or not the sender lives. */
proctype RedisProcess() {
  byte x;
end:
  do
  :: atomic { command[0].on && !command[0].done -> x = 0; goto execute }
  :: atomic { command[1].on && !command[1].done -> x = 1; goto execute }
  :: atomic { breaks < BREAKS && command[0].done -> breaks++; clear_command(0) }
  :: atomic { breaks < BREAKS && command[1].done -> breaks++; clear_command(1) }
  :: breaks < BREAKS -> breaks++
  :: losses < LOSSES -> losses++
  :: atomic { !saved && losses < LOSSES -> saved = true; copy_state(disk, redis) }
  :: atomic { saved && losses < LOSSES ->
       losses++; saved = false; copy_state(redis, disk);
       run_id++; redis.open = false;
       clear_command(0); clear_command(1) }
  od;
execute:
  atomic {
    if
    :: command[x].gen == redis.gen && redis.open && OWNED(A, x, command[x].epoch) && redis.in + 1 == command[x].stanza ->
         if
         :: NEW_ORIGIN(command[x].stanza) -> append(command[x].stanza)
         :: else
         fi;
#ifndef COUNT_APART
         redis.in = command[x].stanza;
#endif
         command[x].verdict = OK
    :: command[x].gen == redis.gen && redis.open && OWNED(A, x, command[x].epoch) && redis.in >= command[x].stanza ->
         command[x].verdict = DONE
    :: else
    fi;
    command[x].done = true;
    if
    :: !node[x].up || node[x].step != asked -> clear_command(x)     /* nobody waits for the reply */
    :: else
    fi;
    x = 0;
    goto end
  }
}

proctype ClientA() {
  byte x;
end:
  do
  :: atomic { a_at != NOBODY && a_sent < MESSAGES -> a_sent++; node[a_at].read = a_sent }
  :: atomic { a_at == NOBODY && a_asks == NOBODY && (node[0].up || node[1].up) ->
       if
       :: node[0].up -> x = 0
       :: node[1].up -> x = 1
       fi;
       a_asks = x; a_resume[x] = true; x = 0 }
  :: atomic { (a_at != NOBODY || a_asks != NOBODY) && a_left < LEAVES_A -> a_left++; leave_a() }
  :: a_left < LEAVES_A -> a_left++
  :: atomic { (a_at != NOBODY && node[a_at].frozen) || (a_asks != NOBODY && node[a_asks].frozen) -> leave_a() }
  od
}

proctype ClientB() {
  byte x;
end:
  do
  :: atomic { b_at == NOBODY && b_asks == NOBODY && (node[0].up || node[1].up) ->
       if
       :: node[0].up -> x = 0
       :: node[1].up -> x = 1
       fi;
       b_asks = x; b_resume[x] = true; x = 0 }
  :: atomic { (b_at != NOBODY || b_asks != NOBODY) && b_left < LEAVES_B -> b_left++; leave_b() }
  :: b_left < LEAVES_B -> b_left++
  :: atomic { (b_at != NOBODY && node[b_at].frozen) || (b_asks != NOBODY && node[b_asks].frozen) -> leave_b() }
  od
}

proctype Faults() {
  byte x, i;
end:
  do
  :: atomic { kills < KILLS && (node[0].up || node[1].up) ->
       if
       :: node[0].up -> x = 0
       :: node[1].up -> x = 1
       fi;
       kills++;
       node[x].up = false; node[x].frozen = false;
       drop_a(x); drop_b(x); node[x].outputs = 0;
       a_resume[x] = false; b_resume[x] = false;
       if
       :: a_asks == x -> a_asks = NOBODY
       :: else
       fi;
       if
       :: b_asks == x -> b_asks = NOBODY
       :: else
       fi;
       x = 0 }
  :: atomic { !node[0].up -> node[0].up = true; node[0].trusts = run_id; node[0].gen = 0 }
  :: atomic { !node[1].up -> node[1].up = true; node[1].trusts = run_id; node[1].gen = 0 }
  :: atomic { freezes < FREEZES && (RUNS(0) || RUNS(1)) ->
       if
       :: RUNS(0) -> x = 0
       :: RUNS(1) -> x = 1
       fi;
       freezes++; node[x].frozen = true; x = 0 }
  :: atomic { node[0].frozen -> node[0].frozen = false }
  :: atomic { node[1].frozen -> node[1].frozen = false }
#ifndef SHORT_FREEZE
  :: atomic { lease[0] && (!node[0].up || node[0].frozen) -> lease[0] = false }
  :: atomic { lease[1] && (!node[1].up || node[1].frozen) -> lease[1] = false }
#endif
  :: kills < KILLS -> kills++
  :: freezes < FREEZES -> freezes++
  /* Nobody can move any more: everything is sent, acknowledged, logged once and delivered. */
  :: timeout ->
       assert(a_acked == MESSAGES && b_newest == MESSAGES && redis.in == MESSAGES && redis.last == MESSAGES);
       break
  od
}

init {
  atomic {
    redis.gen = 1; store_gen = 1; redis.open = true;
    node[0].up = true; node[1].up = true; node[0].gen = 1; node[1].gen = 1; lease[0] = true; lease[1] = true;
    node[0].step = idle; node[1].step = idle;
    redis.epoch[A] = 1; redis.epoch[B] = 1; redis.claimed[A] = 1; redis.claimed[B] = 1;
    redis.carrier[A] = 0; redis.carrier[B] = 1;
    node[0].a_epoch = 1; node[0].a_claimed = 1; node[0].a_wire = true; a_at = 0;
    node[1].b_epoch = 1; node[1].b_claimed = 1; node[1].b_wire = true; b_at = 1;
    node[1].proved = true; node[1].settled = true;
    run NodeProcess(0); run NodeProcess(1); run RedisProcess(); run ClientA(); run ClientB(); run Faults()
  }
}
