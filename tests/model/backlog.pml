/*
 * A recipient who comes and goes. A sends the messages 1 … MESSAGES, deciding on a copy of the route that may be
 * old; B's session ends with what was not acknowledged, B logs in again at any moment and takes its backlog. Crashes
 * of A's node and of B's carrier forget all that is neither in Redis nor in the store.
 *
 * Numbers and settle are in message.pml: here each entry of the log is received and acknowledged once.
 */
#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef ENDS
#define ENDS 2         /* sessions of B that end */
#endif
#define SLOTS (2 * MESSAGES + 2)

mtype = { off, filling, live, ending };
mtype = { none, queued, taken, done };

/* Redis */
byte  version = 1;
mtype phase = live;
byte  filled, in, last, log[SLOTS], held_last, held[SLOTS];

/* PostgreSQL; the place of a row is that of its message in the archive */
mtype row[SLOTS];
byte  batch[SLOTS];

/* The copy of the route at A's node. */
byte  known_version = 1;
mtype known_phase = live;

bool here, got[SLOTS];
byte acked, newest, crashes, ends, refusals;

inline append(n) {
  if
  :: phase == filling ->
#ifdef LIVE_FIRST
       last++; log[last] = n
#else
       held_last++; held[held_last] = n
#endif
  :: phase == live || phase == ending -> last++; log[last] = n
  :: else
  fi
}

proctype Sender() {
  byte n = 1; bool again, has_it;
decide:
  if
  :: n > MESSAGES -> goto over
  :: else
  fi;
  if
  :: atomic { known_version != version -> known_version = version; known_phase = phase }
  :: true
  fi;
#ifndef NO_WITHDRAW
  if     /* an earlier attempt may have put it offline, and a login may have taken it from there */
  :: atomic { again && (row[n] == taken || row[n] == done) -> has_it = true }
#ifdef KEEP_TAKEN
  :: atomic { again && row[n] == queued -> row[n] = none }
#else
  :: atomic { again && row[n] == queued -> row[n] = none; has_it = false }   /* the login that had it has ended */
#endif
  :: atomic { !again || row[n] == none }
  fi;
#endif
  if
  :: atomic { !has_it && known_phase == off ->
       if
       :: row[n] == none -> row[n] = queued
       :: else
       fi }
  :: else
  fi;
  if
  :: atomic { crashes < CRASHES -> crashes++; has_it = false; again = true }
     goto decide
  :: true
  fi;
  if
  :: atomic { has_it -> in = n }
  :: atomic { has_it && refusals < 1 ->   /* what goes with it, to the sender's other devices, was refused */
       refusals++;
#ifdef FORGET_TAKEN
       has_it = false;
#endif
       if
       :: again = false   /* no row was asked for */
       :: again = true
       fi }
     goto decide
#ifdef NO_ROUTE_CHECK
  :: atomic { !has_it ->
       if
       :: known_phase != off -> append(n)
       :: else
       fi;
       in = n }
#else
  :: atomic { !has_it && known_version == version ->
       if
       :: known_phase != off -> append(n)
       :: else
       fi;
       in = n }
  :: atomic { !has_it && known_version != version ->
       known_version = version; known_phase = phase; again = true }
     goto decide
#endif
  fi;
  if
  :: atomic { crashes < CRASHES -> crashes++; has_it = false; again = true; n = in + 1 }
     goto decide
  :: atomic { has_it = false; again = false; n++ }
     goto decide
  fi;
over:
  skip
}

proctype Carrier() {
  byte i, upto; bool some;
again:
  i = 0; upto = 0; some = false;
end:
  do
  :: atomic { (phase == live || phase == filling) && ends < ENDS ->
       ends++; here = false;
#ifdef GONE_FIRST
       phase = off; version++; upto = last
#else
       phase = ending
#endif
     }
#ifdef GONE_FIRST
     if
     :: crashes < CRASHES -> crashes++; goto again
     :: true
     fi;
     atomic {
       i = acked + 1;
       do
       :: i <= upto -> row[log[i]] = queued; i++
       :: else -> break
       od;
       last = 0; acked = 0; i = 0; upto = 0
     }
#else
  :: phase == ending ->
     atomic {     /* rows it took and did not fill, what is not acknowledged, what was held */
       upto = last;
       for (i : 1 .. MESSAGES) {
         if
         :: row[i] == taken && batch[i] <= filled -> row[i] = done
         :: row[i] == taken && batch[i] > filled -> row[i] = queued
         :: else
         fi
       }
       i = acked + 1;
       do
       :: i <= upto -> row[log[i]] = queued; i++
       :: else -> break
       od;
       i = 1;
       do
       :: i <= held_last -> row[held[i]] = queued; i++
       :: else -> break
       od;
       i = 0
     }
     if
     :: crashes < CRASHES -> crashes++; goto again
     :: true
     fi;
     atomic {
       if
       :: upto == last ->
            phase = off; version++; last = 0; acked = 0; filled = 0;
            for (i : 1 .. held_last) { held[i] = 0 }
            held_last = 0; i = 0
       :: else     /* the log has grown */
       fi;
       upto = 0
     }
#endif
  :: atomic { phase == off -> phase = filling; version++; here = true; filled = 0 }
  :: phase == filling ->
     atomic {     /* take */
       for (i : 1 .. MESSAGES) {
         if
         :: row[i] == taken && batch[i] <= filled -> row[i] = done
         :: row[i] == taken && batch[i] > filled -> some = true
         :: else
         fi
       }
       if
       :: !some ->
            for (i : 1 .. MESSAGES) {
              if
              :: row[i] == queued ->
#ifndef NO_BATCH
                   row[i] = taken;
#endif
                   batch[i] = filled + 1; some = true
              :: else
              fi
            }
       :: else
       fi;
       i = 0
     }
     if
     :: crashes < CRASHES -> crashes++; goto again
     :: true
     fi;
     if
     :: atomic { some ->     /* fill */
          for (i : 1 .. MESSAGES) {
            if
#ifdef NO_BATCH
            :: row[i] == queued && batch[i] == filled + 1 -> last++; log[last] = i
#else
            :: row[i] == taken && batch[i] == filled + 1 -> last++; log[last] = i
#endif
            :: else
            fi
          }
#ifndef NO_BATCH
          filled++;
#endif
          i = 0 }
        if
        :: crashes < CRASHES -> crashes++; goto again
        :: true
        fi;
        atomic {
          for (i : 1 .. MESSAGES) {
            if
#ifdef NO_BATCH
            :: row[i] == queued && batch[i] == filled + 1 -> row[i] = done
#else
            :: row[i] == taken && batch[i] <= filled -> row[i] = done
#endif
            :: else
            fi
          }
          i = 0; some = false }
     :: atomic { !some ->     /* what was held comes behind the backlog */
          for (i : 1 .. held_last) { last++; log[last] = held[i]; held[i] = 0 }
          held_last = 0; i = 0; phase = live }
     fi
  od
}

proctype Client() {
end:
  do
  :: atomic { here && acked < last ->
       acked++;
       assert(!got[log[acked]]);
       assert(log[acked] > newest);
       got[log[acked]] = true; newest = log[acked] }
  :: timeout -> assert(in == MESSAGES && newest == MESSAGES); break
  od
}

init {
  atomic {
    byte i;
    for (i : 0 .. SLOTS - 1) { row[i] = none }
    i = 0;
    run Sender(); run Carrier(); run Client()
  }
}
