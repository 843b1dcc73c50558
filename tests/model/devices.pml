/*
 * Two devices of the recipient. One commit writes to the logs of all that are in the route, each entry naming the
 * others; if there are none the message goes offline. Devices end with entries they have not acknowledged, together
 * or one after the other; then somebody logs in and takes the backlog.
 *
 * The sender's side is short here: it decides on a copy of the route and is sent back if the route has moved
 * (backlog.pml). An end is three steps: ending, the rows, end. What a device acknowledges and another one has in its log
 * too is remembered (Redis, fifteen minutes), also when that device is gone.
 */
#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifndef CRASHES
#define CRASHES 1      /* of the node that ends a session: another begins the end again */
#endif
#define SLOTS (MESSAGES + 1)

mtype = { live, ending, gone };
mtype = { none, queued, taken };

/* Redis */
mtype phase[2];
byte version = 1;
byte last[2], log[2 * SLOTS];          /* a log for each device */
bool both[SLOTS];                      /* the entry of one device names the other */
#define LOG(d, i) log[(d) * SLOTS + (i)]

/* PostgreSQL */
mtype row[SLOTS];

/* Clients; acked is what the log was trimmed by. */
byte acked[2];
bool got[2 * SLOTS], got_later[SLOTS];
#define GOT(d, m) got[(d) * SLOTS + (m)]
byte sent, crashes;

#define IN_ROUTE(d) (phase[d] != gone)
#ifdef ENDING_IS_LIVE
#define HAS_IT(d) (phase[d] != gone)
#else
#define HAS_IT(d) (phase[d] == live)
#endif

#ifdef NO_MEMORY
#define REMEMBERED(d, m) false
#else
#define REMEMBERED(d, m) GOT(d, m)
#endif

#ifdef END_AT_ONCE
#define MAY_END(d) true
#else
#define MAY_END(d) (last[d] == upto)
#endif
#ifdef LOGIN_AT_ONCE
#define MAY_TAKE true
#else
#define MAY_TAKE (phase[0] != ending && phase[1] != ending)   /* an end that is repeated queues its rows again */
#endif

#define ANY_ROW (row[1] == queued || row[(MESSAGES + 1) / 2] == queued || row[MESSAGES] == queued)   /* up to three */

inline append(d, m) { last[d]++; LOG(d, last[d]) = m }

proctype Sender() {
  byte m = 1, seen; bool d0, d1;
  do
  :: m > MESSAGES -> break
  :: else ->
       atomic { seen = version; d0 = IN_ROUTE(0); d1 = IN_ROUTE(1) }
       if
       :: atomic { !d0 && !d1 -> if :: row[m] == none -> row[m] = queued :: else fi }
       :: d0 || d1
       fi;
       if
       :: atomic { seen == version ->
            if
            :: d0 -> append(0, m)
            :: else
            fi;
            if
            :: d1 -> append(1, m)
            :: else
            fi;
            both[m] = d0 && d1; m++; sent++ }
       :: atomic { seen != version ->
            if     /* the row of this attempt is withdrawn, unless a login has it */
            :: row[m] == queued -> row[m] = none
            :: row[m] == taken -> m++; sent++
            :: else
            fi }
       fi;
       atomic { seen = 0; d0 = false; d1 = false }
  od
}

/* Receives, acknowledges, and ends at any moment. */
proctype Device(byte d) {
  byte i, upto; bool other;
  do
  :: atomic { phase[d] == live && acked[d] < last[d] ->
       acked[d]++;
       assert(!GOT(d, LOG(d, acked[d])));                                /* once */
       assert(acked[d] == 1 || LOG(d, acked[d]) > LOG(d, acked[d] - 1)); /* in order */
       GOT(d, LOG(d, acked[d])) = true }
  :: atomic { phase[d] == live -> phase[d] = ending; upto = last[d]; other = HAS_IT(1 - d) } -> goto rows
  od;
again:
  atomic { upto = last[d]; other = HAS_IT(1 - d) }
rows:
  if
  :: atomic { crashes < CRASHES -> crashes++; goto again }
  :: true
  fi;
  atomic {
    i = acked[d] + 1;
    do
    :: i <= upto ->
         if
         :: both[LOG(d, i)] && (other || REMEMBERED(1 - d, LOG(d, i)))   /* the other device sees to it, or has */
         :: else -> row[LOG(d, i)] = queued
         fi;
         i++
    :: else -> break
    od;
    i = 0
  }
  if
  :: atomic { crashes < CRASHES -> crashes++; goto again }
  :: true
  fi;
  if
  :: atomic { MAY_END(d) -> phase[d] = gone; version++ }
  :: atomic { !MAY_END(d) -> goto again }
  fi
}

/* A third device takes the backlog. */
proctype Login() {
  byte m;
end:
  do
  :: atomic { MAY_TAKE && ANY_ROW ->
       m = 1;
       do
       :: m <= MESSAGES ->
            if
            :: row[m] == queued ->
                 assert(!got_later[m]);
                 assert(!both[m] || !(GOT(0, m) || GOT(1, m)));   /* a device has it that was there with the other one */
                 got_later[m] = true; row[m] = taken
            :: else
            fi;
            m++
       :: else -> break
       od;
       m = 0 }
  :: timeout ->
       for (m : 1 .. MESSAGES) { assert(GOT(0, m) || GOT(1, m) || got_later[m]) }
       assert(sent == MESSAGES);
       break
  od
}

init {
  atomic {
    byte m;
    phase[0] = live; phase[1] = live;
    for (m : 0 .. MESSAGES) { row[m] = none }
    m = 0;
    run Sender(); run Device(0); run Device(1); run Login()
  }
}
