"""How each figure is taken, once; `../README.md` says why so."""

import contextlib
import secrets
import sqlite3
from dataclasses import dataclass

from systems import Peer

BATCH = 1_000


@dataclass(frozen=True)
class Sizes:
    """How many jobs each figure takes."""

    repetitions: int = 3
    bulk: int = 100_000
    single: int = 5_000
    backlog: int = 100_000
    large_backlog: int = 500_000
    pickups: int = 1_000
    churned: int = 500_000
    churned_at_once: int = 50_000


QUICK = Sizes(repetitions=1, bulk=5_000, single=200, backlog=5_000, large_backlog=10_000, pickups=50, churned=10_000,
              churned_at_once=2_000)


@dataclass(frozen=True)
class Column:
    """One value of a figure, as it stands in the table."""

    heading: str
    unit: str
    # Whether more of it is better.
    rate: bool = True


COLUMNS = {
    "bulk": {"rate": Column("bulk enqueue, 1,000 at a time", "/s")},
    "single": {"rate": Column("enqueue one by one", "/s")},
    "drain": {"rate": Column("drain", "/s")},
    "drain-large": {"rate": Column("drain, large backlog", "/s")},
    "latency": {"p50": Column("pickup p50", " ms", rate=False), "p99": Column("pickup p99", " ms", rate=False)},
    "snapshot": {"before": Column("drain before the snapshot", "/s"),
                 "rate": Column("drain under the old snapshot", "/s")},
}

# No SQLite system has old snapshots that it must live with: readers there are short.
POSTGRES_ONLY = {"snapshot"}


class Bench:
    """What is needed to take a figure."""

    def __init__(self, scratch, sizes, cluster, taskwright):
        self.scratch, self.sizes, self.cluster, self.taskwright = scratch, sizes, cluster, taskwright

    def take(self, system, figure):
        """The values of one figure, of one run."""
        taker = OfPeer if isinstance(system, Peer) else OfTaskwright
        return getattr(taker(self, system), figure.replace("-", "_"))()


class OfPeer:
    """Figures of a peer, each on a fresh database."""

    def __init__(self, bench, peer):
        self.bench, self.peer, self.sizes = bench, peer, bench.sizes

    def bulk(self):
        with self.place() as place:
            return {"rate": self.enqueue(place, self.sizes.bulk, BATCH)}

    def single(self):
        with self.place() as place:
            return {"rate": self.enqueue(place, self.sizes.single, 1)}

    def drain(self):
        with self.place() as place:
            return {"rate": self.fill_and_drain(place, self.sizes.backlog)}

    def drain_large(self):
        with self.place() as place:
            return {"rate": self.fill_and_drain(place, self.sizes.large_backlog)}

    def latency(self):
        with self.place() as place:
            told = self.call(place, "latency", self.sizes.pickups)
            return {"p50": told["p50"], "p99": told["p99"]}

    def snapshot(self):
        """Drains of the same size on the same database: before the snapshot is taken, and after the churn."""
        step = self.sizes.churned_at_once
        with self.place() as place:
            before = self.fill_and_drain(place, step)
            with place.held_snapshot():
                for _ in range(self.sizes.churned // step):
                    self.fill_and_drain(place, step)
                return {"before": before, "rate": self.fill_and_drain(place, step)}

    @contextlib.contextmanager
    def place(self):
        """A fresh database with the peer's tables."""
        def setup(url):
            self.peer.call(self.bench.scratch, url, "setup")

        if self.peer.store == "postgres":
            with self.bench.cluster.database(setup) as name:
                yield OnPostgres(self.bench.cluster, name)
        else:
            place = OnSqlite(self.bench.scratch)
            try:
                setup(place.url)
                yield place
            finally:
                place.remove()

    def call(self, place, *arguments):
        return self.peer.call(self.bench.scratch, place.url, *arguments)

    def enqueue(self, place, jobs, batch):
        return jobs / self.call(place, "enqueue", jobs, batch)["seconds"]

    def fill_and_drain(self, place, jobs):
        self.enqueue(place, jobs, BATCH)
        place.settle()
        return jobs / self.call(place, "drain", jobs)["stored"]


class OfTaskwright:
    """Our figures, as `taskwright bench` takes them."""

    def __init__(self, bench, system):
        self.sizes = bench.sizes
        self.system = system
        self.binary = bench.taskwright
        on_postgres = system.store == "postgres"
        self.store = bench.cluster.url("postgres") if on_postgres else f"sqlite:{bench.scratch}/taskwright.db"

    def ask(self, *arguments):
        return self.system.bench(self.binary, self.store, *arguments)

    def rate(self, *arguments):
        return {"rate": self.ask(*arguments)["jobs_per_second"]["median"]}

    def bulk(self):
        return self.rate("enqueue", "--jobs", self.sizes.bulk, "--batch", BATCH)

    def single(self):
        return self.rate("enqueue", "--jobs", self.sizes.single, "--batch", 1)

    def drain(self):
        return self.rate("drain", "--jobs", self.sizes.backlog)

    def drain_large(self):
        return self.rate("drain", "--jobs", self.sizes.large_backlog)

    def latency(self):
        told = self.ask("latency", "--jobs", self.sizes.pickups)
        return {"p50": told["p50_us"]["median"] / 1e3, "p99": told["p99_us"]["median"] / 1e3}

    def snapshot(self):
        """It drains in ten steps, once without and once under a snapshot; nine are churn, the tenth is the figure."""
        told = self.ask("drain", "--jobs", self.sizes.churned * 10 // 9, "--hold-snapshot")
        return {"before": told["jobs_per_second"]["median"],
                "rate": told["held_snapshot"]["last_step_jobs_per_second"]["median"]}


class OnPostgres:
    """A database of the private cluster."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.url = cluster.url(name)

    def settle(self):
        self.cluster.settle(self.name)

    def held_snapshot(self):
        return self.cluster.held_snapshot(self.name)


class OnSqlite:
    """A file in the scratch directory."""

    def __init__(self, scratch):
        self.path = scratch / f"peer-{secrets.token_hex(4)}.db"
        self.url = f"sqlite:{self.path}?mode=rwc"

    def settle(self):
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("ANALYZE")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def remove(self):
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()
