/*
 * A room: its inbox in Redis, the node that serves it, and the logs of two occupants. Messages lie in the inbox at
 * positions 1 … MESSAGES. The serving node decides one position after the other and does not wait for the former:
 * rows of the room's archive first, then the script. It can be killed or frozen between any two of these, its lease
 * can end and be taken again, and its peer goes on from the position in Redis.
 *
 * There are two partitions, one of each node. The room's home says which one it belongs to; it may change (MOVES): the
 * owner comes to rest, the store's row names the other home under a new epoch, then Redis hears of it. Of an owner without
 * a lease the other node takes the room away. Whoever finds the move half done tells Redis.
 */
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef FREEZES
#define FREEZES 0
#endif
#ifndef LAPSES
#define LAPSES 0        /* leases that end under a node that lives, and are renewed at once */
#endif
#ifndef MOVES
#define MOVES 0         /* of the room to the other home */
#endif
#define WINDOW 2        /* steps under way */
#define ROWS   8
#define NOBODY 2

/* Redis */
byte serving[2], position, last;      /* serving: by partition */
byte home_told, told_at;              /* the room's home, and the epoch of the row that said so */
bool lease[2];

/* PostgreSQL */
byte epoch, hist, home;
byte partition[2];                    /* who serves it */
byte row_at[MESSAGES + 1];            /* hist under which a message lies; the id of a row is unique */
byte row[ROWS];                       /* hist → message */

typedef Node {
  bool up, frozen, adopts, loaded, tells;
  bool serves[2];
  byte adopted;                       /* the partition that it adopts */
  byte home, epoch, hist;             /* the row as it was read */
  byte new_home, new_epoch;           /* what it is to tell Redis */
  byte decided, stored, sent, safe;   /* positions */
  byte row_at[MESSAGES + 1];          /* rows of its steps under way */
}
Node node[2];

/* Scripts on their way, and what they answered. A dead sender's are executed all the same. */
chan script[2] = [WINDOW] of { byte };
chan reply[2]  = [WINDOW] of { byte, bool };

byte heard_a, heard_b, kills, freezes, lapses, moves;

#define RUNS(x) (node[x].up && !node[x].frozen)
#ifdef LOAD_UNASKED
#define MAY_LOAD(x) true
#else
#define MAY_LOAD(x) (partition[home] == x)   /* else it would take the epoch that its peer has just been given */
#endif
#define MATTERS(p) (MOVES > 0 || p == 0)       /* a room that does not move is of one partition */
#define AT_REST(x) (node[x].safe == node[x].decided && empty(script[x]) && empty(reply[x]))

inline forget(x) {
  node[x].loaded = false; node[x].home = 0; node[x].epoch = 0; node[x].hist = 0;
  node[x].decided = 0; node[x].stored = 0; node[x].sent = 0; node[x].safe = 0;
  for (m : 1 .. MESSAGES) { node[x].row_at[m] = 0 }
  m = 0;
  do
  :: reply[x]?_,_
  :: empty(reply[x]) -> break
  od
}

proctype NodeProcess(byte x) {
  byte m, at; bool done;
end:
  do
  /* Load: the room's row first, then Redis is told whose it is, then the position. */
  :: atomic { RUNS(x) && !node[x].loaded && node[x].epoch == 0 && node[x].serves[home] && empty(script[x]) && MAY_LOAD(x) ->
       node[x].home = home; node[x].epoch = epoch; node[x].hist = hist }
  :: atomic { RUNS(x) && lease[x] && !node[x].loaded && node[x].epoch != 0 && node[x].serves[node[x].home] ->
#if MOVES > 0
       if
       :: serving[node[x].home] != x || node[x].epoch < told_at -> forget(x)   /* it has moved on since the row was read */
       :: else ->
            home_told = node[x].home; told_at = node[x].epoch;
#endif
            node[x].decided = position; node[x].stored = position; node[x].sent = position; node[x].safe = position;
            node[x].loaded = true
#if MOVES > 0
       fi
#endif
     }
  :: atomic { RUNS(x) && node[x].loaded && node[x].decided < last && node[x].decided < node[x].safe + WINDOW ->
       m = node[x].decided + 1;
       if
#ifndef ID_BY_HIST
       :: row_at[m] -> node[x].row_at[m] = row_at[m]       /* a former owner came this far */
#endif
       :: else -> node[x].hist++; node[x].row_at[m] = node[x].hist
       fi;
       node[x].decided = m; m = 0 }
  :: atomic { RUNS(x) && node[x].loaded && node[x].stored < node[x].decided ->
       m = node[x].stored + 1;
       if
#ifndef NO_ROOM_EPOCH
       :: node[x].epoch != epoch -> forget(x);
#if MOVES == 0
            node[x].serves[0] = false         /* its partition has moved: it will hear */
#endif
#endif
       :: else ->
            at = node[x].row_at[m];
            if
            :: row[at] == 0 ->
                 assert(row_at[m] == 0);      /* the archive has each message once */
                 row[at] = m; row_at[m] = at
            :: else ->
                 assert(row[at] == m)         /* a place in the history belongs to one message */
            fi;
            if
            :: hist < at -> hist = at
            :: else
            fi;
            node[x].stored = m
       fi;
       m = 0; at = 0 }
#ifdef SCRIPT_FIRST
  :: atomic { RUNS(x) && node[x].loaded && node[x].sent < node[x].decided && nfull(script[x]) ->
#else
  :: atomic { RUNS(x) && node[x].loaded && node[x].sent < node[x].stored && nfull(script[x]) ->
#endif
       node[x].sent++; script[x]!node[x].sent }
  :: atomic { RUNS(x) && nempty(reply[x]) ->
       reply[x]?m,done;
       if
       :: !node[x].loaded
       :: node[x].loaded && done ->
            if
            :: m > node[x].safe -> node[x].safe = m
            :: else
            fi
       /* Refused for the lease: it goes again. */
       :: node[x].loaded && !done ->
            if
            :: node[x].sent >= m -> node[x].sent = m - 1
            :: else
            fi
       fi;
       m = 0; done = false }
  /* The stream says that the partition has moved, or the room. */
  :: atomic { RUNS(x) && lease[x] && node[x].serves[0] && !node[x].adopts && serving[0] != x ->
       node[x].serves[0] = false;
       if
       :: node[x].home == 0 -> forget(x)
       :: else
       fi }
  :: atomic { RUNS(x) && lease[x] && MATTERS(1) && node[x].serves[1] && !node[x].adopts && serving[1] != x ->
       node[x].serves[1] = false;
       if
       :: node[x].home == 1 -> forget(x)
       :: else
       fi }
#if MOVES > 0
  :: atomic { RUNS(x) && lease[x] && node[x].loaded && node[x].home != home_told -> forget(x) }
  /* A step was refused by the store, or by Redis, because another owner is there: it is read again. */
  :: atomic { RUNS(x) && lease[x] && node[x].loaded && node[x].epoch < told_at -> forget(x) }
#endif
  /* A node that starts reads who serves the partitions. */
  :: atomic { RUNS(x) && lease[x] && !node[x].serves[0] && !node[x].adopts && serving[0] == x && partition[0] == x ->
       node[x].serves[0] = true }
  :: atomic { RUNS(x) && lease[x] && MATTERS(1) && !node[x].serves[1] && !node[x].adopts && serving[1] == x && partition[1] == x ->
       node[x].serves[1] = true }
#if MOVES > 0
  /* The room moves: its owner has come to rest, or has no lease and the other node takes the room away. */
  :: atomic { moves < MOVES && RUNS(x) && lease[x] && !node[x].tells &&
              ((node[x].loaded && node[x].epoch == epoch && AT_REST(x)) ||
               (serving[home] != x && !lease[1 - x])) ->
       moves++; home = 1 - home;
#ifndef SAME_EPOCH
       epoch++;
#endif
       node[x].tells = true; node[x].new_home = home; node[x].new_epoch = epoch;
       if
       :: node[x].loaded -> forget(x)
       :: else
       fi }
  /* Somebody finds it half done. */
  :: atomic { RUNS(x) && lease[x] && !node[x].tells && home != home_told ->
       node[x].tells = true; node[x].new_home = home; node[x].new_epoch = epoch }
  :: atomic { RUNS(x) && lease[x] && node[x].tells ->
       if
       :: node[x].new_epoch < told_at
       :: else -> home_told = node[x].new_home; told_at = node[x].new_epoch
       fi;
       node[x].tells = false; node[x].new_home = 0; node[x].new_epoch = 0 }
#endif
  :: atomic { RUNS(x) && !lease[x] -> lease[x] = true }
  /* Adopt: the store gives the epoch, then Redis hears of it. The rooms whose home it is get a new one with it. */
  :: atomic { RUNS(x) && lease[x] && !lease[1 - x] && !node[x].adopts && MATTERS(1 - x) && serving[1 - x] != x ->
       node[x].adopts = true; node[x].adopted = 1 - x; partition[1 - x] = x;
       if
       :: home == 1 - x -> epoch++
       :: else
       fi }
  :: atomic { RUNS(x) && lease[x] && !lease[1 - x] && !node[x].adopts && MATTERS(x) && serving[x] != x ->
       node[x].adopts = true; node[x].adopted = x; partition[x] = x;
       if
       :: home == x -> epoch++
       :: else
       fi }
  :: atomic { RUNS(x) && lease[x] && !node[x].adopts && partition[0] == x && serving[0] != x ->
       node[x].adopts = true; node[x].adopted = 0 }
  :: atomic { RUNS(x) && lease[x] && !node[x].adopts && partition[1] == x && serving[1] != x ->
       node[x].adopts = true; node[x].adopted = 1 }
  :: atomic { RUNS(x) && node[x].adopts ->
       node[x].adopts = false;
       if
       :: lease[x] && partition[node[x].adopted] == x ->
            serving[node[x].adopted] = x; forget(x); node[x].serves[node[x].adopted] = true
       :: else
       fi;
       node[x].adopted = 0 }
  od
}

proctype RedisProcess() {
  byte x, m;
end:
  do
  :: atomic { nempty(script[0]) -> x = 0; goto execute }
  :: atomic { nempty(script[1]) -> x = 1; goto execute }
  :: atomic { last < MESSAGES -> last++ }
  od;
execute:
  atomic {
    script[x]?m;
    if
    :: !lease[x] ->
         if
         :: node[x].up -> reply[x]!m,false
         :: else
         fi
#ifndef NO_OWNER
    :: lease[x] && serving[home_told] != x ->
         if
         :: node[x].up -> reply[x]!m,true     /* the node will hear that the room is not its own */
         :: else
         fi
#endif
    :: else ->
         if
#ifndef NO_POSITION
         :: position >= m
#endif
#ifndef NO_ORDER
         :: position < m && position + 1 != m     /* one before it was refused */
              -> goto refused
#endif
         :: else ->
              assert(row_at[m] != 0);         /* archived before delivered */
              position = m;
              assert(m == heard_a + 1); heard_a = m;
              assert(m == heard_b + 1); heard_b = m
         fi;
         if
         :: node[x].up -> reply[x]!m,true
         :: else
         fi
    fi;
    goto over;
refused:
    if
    :: node[x].up -> reply[x]!m,false
    :: else
    fi;
over:
    x = 0; m = 0;
    goto end
  }
}

proctype Faults() {
  byte x, m;
end:
  do
  :: atomic { kills < KILLS && (node[0].up || node[1].up) ->
       if
       :: node[0].up -> x = 0
       :: node[1].up -> x = 1
       fi;
       kills++;
       node[x].up = false; node[x].frozen = false; node[x].serves[0] = false;
       if
       :: MATTERS(1) -> node[x].serves[1] = false
       :: else
       fi;
       node[x].adopts = false; node[x].adopted = 0; node[x].tells = false; node[x].new_home = 0; node[x].new_epoch = 0;
       forget(x); x = 0 }
  :: atomic { !node[0].up && empty(script[0]) && !lease[0] -> node[0].up = true }
  :: atomic { !node[1].up && empty(script[1]) && !lease[1] -> node[1].up = true }
  :: atomic { freezes < FREEZES && (RUNS(0) || RUNS(1)) ->
       if
       :: RUNS(0) -> x = 0
       :: RUNS(1) -> x = 1
       fi;
       freezes++; node[x].frozen = true; x = 0 }
  :: atomic { node[0].frozen -> node[0].frozen = false }
  :: atomic { node[1].frozen -> node[1].frozen = false }
  :: atomic { lease[0] && (!node[0].up || node[0].frozen) -> lease[0] = false }
  :: atomic { lease[1] && (!node[1].up || node[1].frozen) -> lease[1] = false }
  :: atomic { lapses < LAPSES && lease[0] && node[0].up -> lapses++; lease[0] = false }
  :: kills < KILLS -> kills++
  :: freezes < FREEZES -> freezes++
  :: lapses < LAPSES -> lapses++
#if MOVES > 0
  :: moves < MOVES -> moves++
#endif
  /* At rest both have heard everything, and the history has it without a hole. */
  :: timeout ->
       assert(heard_a == MESSAGES && heard_b == MESSAGES && hist == MESSAGES);
       break
  od
}

init {
  atomic {
    node[0].up = true; node[1].up = true; lease[0] = true; lease[1] = true;
    node[0].serves[0] = true; node[1].serves[1] = true; serving[1] = 1; partition[1] = 1; epoch = 1; told_at = 1;
    run NodeProcess(0); run NodeProcess(1); run RedisProcess(); run Faults()
  }
}
