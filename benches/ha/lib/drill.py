"""Takes the primary away, again and again, and looks at what has become of the jobs."""

import time
from dataclasses import dataclass

from load import longest_gap, progress, run_counts, wait_until_over
from machines import wait_for

# What takes it away, and what brings it back. A killed node is started again by its supervisor, here by the drill, once
# another leads: at once it would go on as the primary.
FAULTS = {
    "kill": (lambda node: node.kill(), lambda node: node.start_patroni()),
    "stop": (lambda node: node.stop(), lambda node: node.go_on()),
    "cut": (lambda node: node.machine.cut(), lambda node: node.machine.mend()),
}

FAILOVER_SECONDS_MAX = 120
RUN_AGAIN_SECONDS_MAX = 120


@dataclass
class Event:
    """One fault, and what followed."""

    mode: str
    fault: str
    failover_s: float = 0
    claim_gap_s: float = 0
    enqueue_gap_s: float = 0
    acknowledged: int = 0
    lost: int = 0
    unfinished: int = 0
    run_twice: int = 0
    unrecorded: int = 0
    attempts_lost: int = 0
    lived: bool = True
    lag_bytes: int = 0
    replayed_s: float = 0

    def broken(self):
        """The promises that were not kept."""
        promises = [
            (self.lived, "a process of Taskwright ended"),
            (self.unfinished == 0, f"{self.unfinished} acknowledged jobs did not complete"),
        ]
        if self.mode == "sync":
            promises += [
                (self.lost == 0, f"{self.lost} acknowledged jobs lost"),
                (self.attempts_lost == 0, f"{self.attempts_lost} attempts lost"),
                (self.unrecorded == 0, f"{self.unrecorded} jobs ran more often than their attempts say"),
            ]
        return [f"{self.mode}, {self.fault}: {text}" for kept, text in promises if not kept]


class Drill:
    """One cluster, its load, and the faults that are done to it."""

    def __init__(self, database, workers, submitters):
        self._database, self._workers, self._submitters = database, workers, submitters
        self._known_lost = set()
        self._known_attempts = 0
        self._known_runs = 0

    def once(self, fault):
        mode = "sync" if self._database.synchronous else "async"
        event = Event(mode, fault)
        take_away, bring_back = FAULTS[fault]
        primary = self._database.wait_until_whole(180)
        acknowledged_before = len(self._submitters.acknowledged())
        self._submitters.start(near=primary)
        self._submitters.fill(primary)
        self._under_load()
        written = primary.sql("SELECT pg_current_wal_lsn() - '0/0'")
        at = time.time()
        take_away(primary)
        led_at = self._failover(event, primary, at, written)
        self._run_again(event, led_at)
        bring_back(primary)
        self._database.wait_until_whole(240)
        ended = time.time()
        self._submitters.stop()
        self._audit(event, at - 1, ended, acknowledged_before)
        progress(f"{mode}, {fault} of {primary.name}: another led after {event.failover_s:.1f} s, jobs ran after"
                 f" {event.claim_gap_s:.1f} s, {event.lost} of {event.acknowledged} acknowledged jobs lost")
        return event

    def _under_load(self):
        """Jobs run and are acknowledged; then a moment of that."""
        ran, told = len(self._submitters.started()), len(self._submitters.acknowledged())
        wait_for("jobs run", 60, lambda: len(self._submitters.started()) > ran
                 and len(self._submitters.acknowledged()) > told + 5)
        time.sleep(2)

    def _failover(self, event, primary, at, written):
        others = [node for node in self._database.nodes if node is not primary]
        replay = {}

        def look():
            for node in others:
                row = node.sql("SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() - '0/0',"
                               " extract(epoch FROM pg_last_xact_replay_timestamp())")
                if row and row[0]:
                    replay[node.name] = row
                elif row and node.leads():
                    return node
            return None
        new = wait_for("another node leads", FAILOVER_SECONDS_MAX, look)
        led_at = time.time()
        event.failover_s = led_at - at
        if new.name in replay and written:
            _, lsn, replayed = replay[new.name]
            event.lag_bytes = max(0, int(written[0] - lsn))
            event.replayed_s = at - float(replayed) if replayed else 0
        return led_at

    def _run_again(self, event, led_at):
        def look():
            started = self._submitters.started()
            return started and started[-1][0] > led_at
        try:
            wait_for("jobs run again", RUN_AGAIN_SECONDS_MAX, look)
        except TimeoutError:
            # The gap tells. Perhaps they do so when the old primary is back.
            progress(f"no job was run within {RUN_AGAIN_SECONDS_MAX} s after the failover ({event.fault})")

    def _audit(self, event, begin, end, acknowledged_before):
        jobs = wait_until_over(self._workers, 300)
        acknowledged, started = self._submitters.acknowledged(), self._submitters.started()
        event.acknowledged = len(acknowledged) - acknowledged_before
        lost = set(acknowledged) - set(jobs) - self._known_lost
        self._known_lost |= lost
        event.lost = len(lost)
        event.unfinished = sum(jobs[job][0] != "completed" for job in acknowledged if job in jobs)
        new_runs = {job for _, job in started[self._known_runs:]}
        self._known_runs = len(started)
        counts = run_counts(started)
        event.run_twice = sum(counts[job] > 1 for job in new_runs)
        event.unrecorded = sum(job in jobs and counts[job] > jobs[job][1] for job in new_runs)
        event.claim_gap_s = longest_gap([at for at, _ in started], begin, end)
        event.enqueue_gap_s = longest_gap(acknowledged.values(), begin, end)
        event.lived = self._workers.all_lived()
        lost_attempts = self._lost_attempts()
        event.attempts_lost = max(0, lost_attempts - self._known_attempts)
        self._known_attempts = lost_attempts

    def _lost_attempts(self):
        """How many attempts were lost with their workers' leases."""
        statement = "SELECT count(*), 0 FROM taskwright.attempt WHERE outcome = 5"
        return self._database.primary().sql(statement, database="jobs")[0]
