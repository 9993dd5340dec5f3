/*
 * The fencing protocol, for spin. `make model` checks it; fencing-model.test.ts also checks that each broken variant is caught.
 *
 * One node A runs the only copy of a guest. B stands for the majority: it stays quorate and can run the guest. The CRM may
 * give the guest to B only under the rules of docs/fencing.md. A step of the main loop is one tick of real time. In each
 * tick the environment may do one thing (cut, heal, freeze, kill, restart ...), then every part moves once, in an order in
 * which the later ones see the earlier ones of the same tick or of the last, as chosen at random.
 *
 * Times in ticks. The inequality that is to be proven enough:   M > T + F + W   (the "guard" is one tick here,
 * since a tick is the resolution of this world).
 *
 *   T  a cut-off corosync knows that it lost quorum at the latest T ticks after the cut; the others may drop it at once
 *   F  a proof of quorum is good for petting while it is at most F ticks old
 *   W  the watchdog resets the host W ticks after the last pet
 *   M  so long the majority must have reported a membership without A, without interruption
 *   L  so long A's Lease must not have changed
 */
#ifndef T
#define T 2
#endif
#ifndef F
#define F 1
#endif
#ifndef W
#define W 2
#endif
#ifndef M
#define M (T + F + W + 1)
#endif
#ifndef L
#define L 3
#endif
/* A reporter that is silent for longer begins anew (WITH_REPORTS). */
#ifndef FRESH
#define FRESH 2
#endif
/* How often the environment may do something in all: more finds more, and costs states. */
#ifndef FAULTS
#define FAULTS 5
#endif

#define up_to(x, n) select(x : 0 .. n)

/* The environment. */
bool linkUp = true;         /* corosync traffic between A and the majority */
bool apiA = true;           /* A reaches the API server */
bool apiCrm = true;         /* the CRM reaches the API server */
bool corosyncRuns = true;   /* A's corosync process runs (dead or stopped: false) */
bool keeperRuns = true;
bool agentRuns = true;
bool hostFrozen = false;    /* everything on A but its watchdog and the guest's last write */
bool watchdogWorks = true;
bool override = false;      /* break glass: expected votes lowered, A may be quorate alone */
byte faults = 0;

/* Node A. */
bool quorateA = true;       /* what A's corosync believes */
byte sinceCut = 0;          /* ticks since the majority last could hear A, to T */
byte stale = 0;             /* ticks for which A's running corosync has been wrong, to T */
bool memberSeen = true;     /* the majority's membership holds A */
byte proofAge = 0;          /* age of the keeper's proof, to F + 1 */
byte petAge = 0;            /* ticks since the last pet, to W */
bool armed = true;
bool expiring = false;
bool guestA = true;         /* the guest runs on A */
byte epochA = 1;            /* the epoch in the agent's hands; 0: it holds no lease */
bool bootedA = true;        /* false: A was reset and stays down until the environment powers it on */
bool holdsBoot = true;      /* this boot of A holds or held a lease */

/* The store. */
byte epoch = 1;
bool takenByCrm = false;
bool ownerIsB = false;      /* the guest's binding */
bool renewed = false;       /* A's Lease changed in this tick */

/* The CRM, with clocks of its own only. */
bool crmRuns = true;
byte unchanged = 0;         /* ticks since it last saw A's Lease change, to L */
byte lacking = 0;           /* ticks of uninterrupted reports without A, to M */

/* The rest of the cluster. */
bool guestB = false;

#ifdef WITH_REPORTS
/*
 * What the majority says is on its way for as long as it likes: after a report is written, its agents look, and what they found is
 * written at some later time. Without this the CRM sees the majority's membership itself.
 */
bool lookLacks = false;     /* the last look found a membership without A; it is not written yet */
bool lookGap = true;        /* A was a member at some time between that look and the one before */
bool wasMember = true;      /* ... and since the last look */
bool heard = false;         /* a report was written in this tick, with: */
bool saidLacks = false;
bool saidGap = false;
byte silence = 0;           /* ticks since the CRM last heard one, to FRESH */
bool begun = false;         /* reports without A, without a gap: `lacking` counts the ticks since the first */
bool enough = false;        /* the newest of them came when M was over */
bool proven = false;        /* so did the one before it */
#endif

/* What must never be. */
#define twice (guestA && guestB)

inline resetA() {
  guestA = false; bootedA = false; armed = false; expiring = false; epochA = 0; holdsBoot = false;
  quorateA = false; hostFrozen = false; petAge = 0; proofAge = F + 1; agentRuns = false; keeperRuns = false
}

#ifdef WITH_REPORTS
#define forgetReports begun = false; enough = false; proven = false; silence = 0; lacking = 0
#ifdef BREAK_COUNT_SILENCE
#define gone (begun && lacking >= M)
#else
#define gone (begun && proven)
#endif

inline reports() {
  if :: memberSeen -> wasMember = true :: else -> skip fi;
  if
  :: heard = true; saidLacks = lookLacks; saidGap = lookGap;
     lookLacks = !memberSeen; lookGap = wasMember; wasMember = memberSeen
  :: heard = false
  fi
}

inline hear() {
  if :: begun && lacking < M -> lacking++ :: else -> skip fi;
  if
  :: override -> forgetReports
  :: !override && heard && !saidLacks -> forgetReports
  :: !override && heard && saidLacks && begun && !saidGap -> silence = 0; proven = enough; enough = (lacking >= M)
  :: !override && heard && saidLacks && (!begun || saidGap) -> forgetReports; begun = true
  :: !override && !heard -> if :: silence < FRESH -> silence++ :: else -> forgetReports fi
  fi;
#ifndef BREAK_WORDS_BEFORE_RENEWAL
  if :: renewed -> enough = false; proven = false :: else -> skip fi;    /* what was said before A renewed its Lease is no word against it */
#endif
  saidLacks = false; saidGap = false
}
#else
#define forgetReports lacking = 0
#define gone (lacking >= M)
#endif

/* One thing that goes wrong, or right again. */
inline environment() {
  if
  :: true
  :: faults < FAULTS -> faults++;
     if
     :: linkUp -> linkUp = false
     :: !linkUp -> linkUp = true
     :: apiA = !apiA
     :: apiCrm = !apiCrm
     :: bootedA -> corosyncRuns = !corosyncRuns
     :: bootedA -> keeperRuns = !keeperRuns; proofAge = F + 1          /* a restarted keeper has no proof */
     :: bootedA -> agentRuns = !agentRuns
     :: bootedA -> hostFrozen = !hostFrozen
     :: bootedA -> resetA()                                        /* power lost */
     :: !bootedA -> bootedA = true; agentRuns = true; keeperRuns = true; corosyncRuns = true; stale = T
     :: crmRuns = !crmRuns; unchanged = 0; forgetReports             /* a restart forgets both clocks */
#ifdef WITH_OVERRIDE
     :: override = !override
#endif
#ifdef WITH_BROKEN_WATCHDOG
     :: watchdogWorks -> watchdogWorks = false
#endif
     fi
  fi
}

#define reachable (linkUp && corosyncRuns && !hostFrozen && bootedA)

/*
 * Corosync on both sides. They lose each other within T ticks of the cut, independently; and once they disagree (A believes
 * it is quorate, the majority's membership lacks it) an A whose corosync runs learns it within T ticks, or has joined again.
 */
inline corosync() {
  if
  :: reachable -> if :: memberSeen = true :: !memberSeen -> skip fi       /* joining takes a while */
  :: else -> if :: memberSeen = false :: sinceCut < T -> skip fi
  fi;
  if :: reachable -> sinceCut = 0 :: else -> if :: sinceCut < T -> sinceCut++ :: else -> skip fi fi;
  if
  :: !(corosyncRuns && !hostFrozen && bootedA) -> skip                     /* it can learn nothing, and it answers nobody */
  :: else ->
     if
     :: reachable && memberSeen -> quorateA = true; stale = 0
     :: else ->
        if :: stale < T -> stale++ :: else -> skip fi;
        if
        :: override -> quorateA = true
        :: !override -> if :: quorateA = false :: stale < T -> skip fi
        fi
     fi
  fi
}

/*
 * An answer "quorate" is a proof when the last proof is still good. After a gap (a frozen host, a frozen corosync, a restarted
 * keeper) it counts only once A is in the majority's membership: a thawed corosync still tells what it believed before. The
 * keeper knows that by a new ring id, or by the time in which a corosync that is wrong would have noticed.
 */
#ifdef BREAK_BELIEVE_AFTER_GAP
#define believed true
#else
#define believed (reachable && memberSeen)
#endif

inline keeper() {
  if
  :: bootedA && keeperRuns && !hostFrozen ->
     if
     :: corosyncRuns && quorateA && (proofAge <= F || believed || override) -> proofAge = 0
     :: else -> if :: proofAge <= F -> proofAge++ :: else -> skip fi
     fi;
     if
#ifdef BREAK_PET_BY_TIMER
     :: armed && !expiring -> petAge = 0
#else
     :: armed && !expiring && proofAge <= F -> petAge = 0
     :: armed && !expiring && proofAge > F -> skip
#endif
     :: !armed || expiring -> skip
     fi
  :: else -> if :: proofAge <= F -> proofAge++ :: else -> skip fi
  fi
}

inline watchdog() {
  if
  :: bootedA && armed && petAge >= W ->
     if :: watchdogWorks -> resetA() :: else -> skip fi
  :: bootedA && armed && petAge < W -> petAge++
  :: else -> skip
  fi
}

inline agent() {
  renewed = false;
  if
  :: bootedA && agentRuns && !hostFrozen ->
     if
     :: apiA && takenByCrm && epochA != 0 ->                              /* it finds its lease taken */
        epochA = 0; if :: guestA -> expiring = true :: else -> skip fi
     :: apiA && !takenByCrm && epochA != 0 && quorateA && corosyncRuns -> renewed = true
     :: apiA && !takenByCrm && epochA == 0 && quorateA && corosyncRuns && !holdsBoot && !guestA ->
        epoch++; epochA = epoch; holdsBoot = true; renewed = true         /* a fresh boot takes its lock back */
     :: apiA && takenByCrm && epochA == 0 && !guestA && quorateA && corosyncRuns && memberSeen && !holdsBoot ->
        takenByCrm = false; epoch++; epochA = epoch; holdsBoot = true; renewed = true
     :: else -> skip
     fi;
     if
     :: epochA != 0 && !guestA && !ownerIsB && apiA && quorateA && corosyncRuns && !expiring && keeperRuns && proofAge <= F ->
#ifdef BREAK_START_BEFORE_ARM
        if :: guestA = true :: armed = true; petAge = 0; proofAge = 0 fi
#else
        armed = true; petAge = 0; guestA = true                           /* armed by the keeper, with a proof, first */
#endif
     :: else -> skip
     fi
  :: else -> skip
  fi
}

inline crm() {
  if
  :: crmRuns && apiCrm ->
     if :: renewed -> unchanged = 0 :: else -> if :: unchanged < L -> unchanged++ :: else -> skip fi fi;
#ifdef WITH_REPORTS
     hear();
#else
     if
#ifdef BREAK_IGNORE_OVERRIDE
     :: memberSeen -> lacking = 0
#else
     :: memberSeen || override -> lacking = 0                              /* under an override, time proves nothing */
#endif
     :: else -> if :: lacking < M -> lacking++ :: else -> skip fi
     fi;
#endif
     if
#ifdef BREAK_LEASE_ONLY
     :: unchanged >= L && !takenByCrm && !ownerIsB -> takenByCrm = true; epoch++
#endif
     :: unchanged >= L && gone && !takenByCrm && !ownerIsB ->
#ifdef WITH_FENCE_DEVICE
        resetA();                                                          /* taken only when the device confirmed "off" */
#endif
        takenByCrm = true; epoch++
     :: takenByCrm && !ownerIsB -> ownerIsB = true
     :: else -> skip
     fi
  :: crmRuns && !apiCrm -> unchanged = 0; forgetReports                     /* it sees nothing: both clocks start again */
  :: else -> skip
  fi
}

inline majority() {
  if
  :: ownerIsB && !guestB -> guestB = true
  :: else -> skip
  fi
}

active proctype world() {
  do
  :: atomic {
       environment();
       corosync();
#ifdef WITH_REPORTS
       reports();
#endif
       if
       :: true -> keeper(); agent()
       :: true -> agent(); keeper()
       fi;
       if
       :: true -> watchdog(); crm()
       :: true -> crm(); watchdog()
       fi;
       majority();
       assert(!twice)
     }
  od
}

#define calm (faults == FAULTS)
#define cutForGood (!linkUp && !override && apiCrm && crmRuns)
/* Once nothing more happens, a cut node's guest runs at the majority for ever. */
ltl recovered { [] ((calm && cutForGood) -> <> guestB) }
