"""Three PostgreSQL nodes under Patroni, with a member of etcd beside each."""

import contextlib
import glob
import json
import os
import shutil
import signal
import urllib.error
import urllib.request
from pathlib import Path

from machines import send, wait_for

# Patroni takes no shorter time to live than 20 s; its default is 30 s (and loop_wait 10, retry_timeout 10).
TIMES = {"ttl": 20, "loop_wait": 4, "retry_timeout": 5}
MAXIMUM_LAG_ON_FAILOVER = 1048576
NODES = 3


def programs():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
    return Path(found[-1]).parent if found else None


class Node:
    """One machine with its member of etcd, its Patroni and its PostgreSQL."""

    def __init__(self, machine, directory):
        self.machine, self.name, self.address = machine, machine.name, machine.address
        self.directory = directory / self.name
        self.directory.mkdir()
        self.directory.chmod(0o700)
        shutil.chown(self.directory, "postgres", "postgres")
        self.patroni = None
        # psycopg2 comes with Patroni, which may have been installed by this very run.
        self._psycopg2 = __import__("psycopg2")

    def start_etcd(self, members):
        every = ",".join(f"{node.name}=http://{node.address}:2380" for node in members)
        self.machine.start(
            ["etcd", "--name", self.name, "--data-dir", self.directory / "etcd",
             "--listen-peer-urls", f"http://{self.address}:2380",
             "--initial-advertise-peer-urls", f"http://{self.address}:2380",
             "--listen-client-urls", f"http://{self.address}:2379",
             "--advertise-client-urls", f"http://{self.address}:2379",
             "--initial-cluster", every, "--initial-cluster-state", "new", "--enable-v2",
             "--heartbeat-interval", "200", "--election-timeout", "2000"],
            self.directory / "etcd.log", user="postgres", env=plain())

    def start_patroni(self):
        self.patroni = self.machine.start(["patroni", self.directory / "patroni.yml"],
                                          self.directory / "patroni.log", user="postgres", env=plain())

    def write_settings(self, members, synchronous):
        own = f"{self.address}:5432"
        settings = {
            "scope": "jobs", "name": self.name,
            "restapi": {"listen": f"{self.address}:8008", "connect_address": f"{self.address}:8008"},
            # By version 2 of its interface: see README.md.
            "etcd": {"hosts": [f"{node.address}:2379" for node in members]},
            "bootstrap": {
                "dcs": {
                    **TIMES, "maximum_lag_on_failover": MAXIMUM_LAG_ON_FAILOVER, "synchronous_mode": synchronous,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": {
                        "max_connections": 100, "shared_buffers": "64MB", "wal_keep_size": "256MB",
                        # A primary that is cut off waits for its standbys before it ends. Patroni 3.0 does not wait for
                        # that: it starts a second server beside the first.
                        "wal_sender_timeout": "5s", "wal_receiver_timeout": "5s"}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
            },
            "postgresql": {
                "listen": own, "connect_address": own, "data_dir": str(self.directory / "data"),
                "bin_dir": str(programs()), "pgpass": str(self.directory / "pgpass"), "use_unix_socket": True,
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
                "authentication": {"superuser": {"username": "postgres"},
                                   "replication": {"username": "replicator", "password": "replicator"}},
                "parameters": {"unix_socket_directories": str(self.directory)},
                "pg_hba": ["local all all trust", "host all all samenet trust", "host replication all samenet trust"],
            },
        }
        # JSON is YAML, too.
        (self.directory / "patroni.yml").write_text(json.dumps(settings, indent=2), encoding="utf-8")

    def pids(self):
        """Of Patroni and PostgreSQL."""
        own = [self.patroni.pid] if self.patroni and self.patroni.poll() is None else []
        return own + self.machine.pids("postgres")

    def kill(self):
        for pid in self.pids():
            send(pid, signal.SIGKILL)
        self.patroni.wait()

    def stop(self):
        for pid in self.pids():
            send(pid, signal.SIGSTOP)

    def go_on(self):
        for pid in self.pids():
            send(pid, signal.SIGCONT)

    def sql(self, statement, database="postgres"):
        """One row; None when the server does not answer."""
        errors = (self._psycopg2.OperationalError, self._psycopg2.InterfaceError, self._psycopg2.DatabaseError)
        try:
            with contextlib.closing(self._psycopg2.connect(
                    host=self.address, user="postgres", dbname=database, connect_timeout=2,
                    options="-c statement_timeout=3000")) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute(statement)
                    return cursor.fetchone()
        except errors:
            return None

    def patroni_says(self):
        """What Patroni knows of this node; an empty dictionary when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address}:8008/patroni", timeout=2) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with contextlib.suppress(ValueError):
                return json.load(error)
            return {}
        except (OSError, ValueError):
            return {}

    def leads(self):
        return self.sql("SELECT 1 WHERE NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'")


class Database:
    """The three of them."""

    def __init__(self, network, directory, synchronous):
        self.synchronous = synchronous
        self.nodes = [Node(network.add(f"db{n}", 10 + n), directory) for n in range(1, NODES + 1)]
        for node in self.nodes:
            node.write_settings(self.nodes, synchronous)
            node.start_etcd(self.nodes)
        wait_for("etcd is healthy", 60, self._etcd_is_healthy, every=0.5)
        self.nodes[0].start_patroni()
        wait_for("the first node leads", 120, self.nodes[0].leads, every=0.5)
        for node in self.nodes[1:]:
            node.start_patroni()
        self.wait_until_whole(180)

    def _etcd_is_healthy(self):
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(f"http://{self.nodes[0].address}:2379/health", timeout=2) as answer:
                return json.load(answer).get("health") == "true"
        return False

    def primary(self):
        leading = [node for node in self.nodes if node.leads()]
        return leading[0] if len(leading) == 1 else None

    def is_whole(self):
        """One primary that all others follow, and in synchronous mode one that commits wait for."""
        primary = self.primary()
        if not primary:
            return False
        row = primary.sql("SELECT count(*) FILTER (WHERE state = 'streaming'),"
                          " count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) FROM pg_stat_replication")
        roles = [node.patroni_says().get("role") for node in self.nodes]
        return (row is not None and row[0] == NODES - 1 and (row[1] >= 1) == self.synchronous
                and roles.count("replica") == NODES - 1)

    def wait_until_whole(self, seconds):
        wait_for("one primary and two replicas that follow it", seconds, self.is_whole, every=0.5)
        return self.primary()

    def url(self, user="jobs"):
        hosts = ",".join(node.address for node in self.nodes)
        return f"postgres://{user}@{hosts}/jobs?sslmode=disable&target_session_attrs=read-write"


def plain():
    """No setting of whoever runs the drill reaches the servers."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}
