"""What runs on the cluster: workers, and those who enqueue."""

import collections
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

from database import plain
from machines import wait_for

PER_SECOND = 15
BACKLOG = 60
LIVE = {"held", "blocked", "scheduled", "available", "running", "waiting"}


class Workers:
    """`taskwright up` on machines of their own."""

    def __init__(self, network, directory, taskwright, database, machines=2):
        self._taskwright, self._database, self._directory = taskwright, database, directory
        # As the kernel keeps the name of a program.
        self._name = taskwright.name[:15]
        self._machines = []
        for n in range(1, machines + 1):
            machine = network.add(f"w{n}", 20 + n)
            home = directory / machine.name
            home.mkdir()
            env = {**plain(), "TASKWRIGHT_STORE": database.url(), "TASKWRIGHT_RUN_DIR": str(home / "run")}
            machine.start([taskwright, "up", "--workers", "1", "--concurrency", "2"],
                          directory / f"{machine.name}.log", env=env, cwd=home)
            self._machines.append(machine)
        # `up` itself and its worker, on each.
        wait_for("workers start", 30, lambda: len(self._pids()) == 2 * machines)
        self._first = self._pids()

    def _pids(self):
        return {pid for machine in self._machines for pid in machine.pids(self._name)}

    def all_lived(self):
        """Whether the processes are those that were started."""
        return self._pids() == self._first

    def told(self, *words):
        """What a verb of `taskwright` prints, from a machine beside the workers."""
        env = {**plain(), "TASKWRIGHT_STORE": self._database.url()}
        done = subprocess.run([self._taskwright, *words], env=env, cwd=self._directory, capture_output=True,
                              text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"taskwright {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self):
        """Every job by its id; of each, its state and how many attempts are recorded."""
        lines = self.told("jobs", "list", "--json", "--limit", "all").splitlines()
        jobs = (json.loads(line) for line in lines)
        return {job["id"]: (job["state"], job["attempt"]) for job in jobs}


class Submitters:
    """Programs that enqueue, and what was acknowledged to them."""

    def __init__(self, machine, directory, database):
        self._machine, self._directory, self._database = machine, directory, database
        self.runs = directory / "runs"
        self.runs.touch()
        self._running = []
        self._ledgers = []

    def start(self, near):
        """One apart, and one on the machine of the primary."""
        for machine in (self._machine, near.machine):
            ledger = self._directory / f"ledger-{len(self._ledgers)}"
            hosts = [node.address for node in self._database.nodes]
            program = Path(__file__).resolve().parent / "enqueuer.py"
            command = ["/usr/bin/python3", program, ",".join(hosts), ledger, self.runs, PER_SECOND / 2]
            self._running.append(machine.start(command, self._directory / "enqueuers.log", env=plain()))
            self._ledgers.append(ledger)

    def stop(self):
        for program in self._running:
            program.kill()
            program.wait()
        self._running.clear()

    def fill(self, node):
        """Jobs that wait, so that workers have something to do before anybody enqueues again."""
        psycopg2 = __import__("psycopg2")
        enqueuer = __import__("enqueuer")
        args = json.dumps({"command": ["sh", "-c", enqueuer.COMMAND, str(self.runs)]})
        ledger = self._directory / f"ledger-{len(self._ledgers)}"
        with contextlib.closing(psycopg2.connect(host=node.address, user="jobs", dbname="jobs")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT taskwright.enqueue('exec', %s) FROM generate_series(1, %s)", (args, BACKLOG))
                lines = [f"{time.time():.3f} {row[0]}\n" for row in cursor.fetchall()]
        ledger.write_text("".join(lines), encoding="utf-8")
        self._ledgers.append(ledger)

    def acknowledged(self):
        """The time of each acknowledgement, by the id."""
        times = {}
        for ledger in self._ledgers:
            # A line that was cut off by the end of its program was acknowledged to nobody.
            for line in ledger.read_text(encoding="utf-8").splitlines(keepends=True) if ledger.exists() else []:
                if line.endswith("\n"):
                    at, job = line.split()
                    times[job] = float(at)
        return times

    def started(self):
        """When jobs were started, in order: pairs of time and id."""
        lines = (line.split() for line in self.runs.read_text(encoding="utf-8").splitlines())
        return sorted((float(at), job) for job, _, at in lines)


def longest_gap(times, begin, end):
    """The longest time between two moments, within a span."""
    within = [begin, *sorted(at for at in times if begin < at < end), end]
    return max(after - before for before, after in zip(within, within[1:]))


def wait_until_over(workers, seconds):
    """Waits until no job is left to be run; all jobs."""
    def look():
        jobs = workers.jobs()
        return jobs if not any(state in LIVE for state, _ in jobs.values()) else None
    return wait_for("every job is over", seconds, look, every=1)


def run_counts(started):
    return collections.Counter(job for _, job in started)


def progress(text):
    print(text, file=sys.stderr, flush=True)
