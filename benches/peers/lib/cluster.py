"""A private PostgreSQL server, and the databases on it."""

import contextlib
import glob
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "max_connections": "300",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}


def programs():
    """The directory of initdb and pg_ctl, which Debian keeps off the PATH; None if there is none."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
    # Version 15 is what the published figures were taken on.
    fifteen = [path for path in found if "/15/" in path]
    on_path = shutil.which("initdb")
    path = (fifteen or found[-1:] or [on_path])[0]
    return Path(path).parent if path else None


class Cluster:
    """Runs from construction to `stop`."""

    def __init__(self, scratch):
        self._bin = programs()
        self._directory = scratch / f"postgres-{os.getpid()}"
        self._password = secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._make()
        self._control("start", "-l", str(self._directory / "log"))
        self.version = self.sql("postgres", "SHOW server_version")

    def _make(self):
        self._directory.mkdir()
        password = self._directory / "password"
        password.write_text(self._password)
        if os.geteuid() == 0:
            for path in (self._directory, password):
                shutil.chown(path, "postgres")
        self._directory.chmod(0o700)
        self._run("initdb", "-D", self._data, "-U", "postgres", "-E", "UTF8", "--no-locale",
                  "-A", "scram-sha-256", "--pwfile", str(password))
        with open(self._data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
            file.write(f"port = {self._port}\n")

    @property
    def _data(self):
        return self._directory / "data"

    def _run(self, program, *arguments):
        """Runs one of PostgreSQL's programs, which refuse to be run by root."""
        command = [str(self._bin / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._directory)

    def _control(self, *arguments):
        self._run("pg_ctl", "-D", self._data, "-w", *arguments)

    def stop(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self._control("stop", "-m", "fast")
        shutil.rmtree(self._directory)

    def url(self, database):
        return f"postgres://postgres:{self._password}@127.0.0.1:{self._port}/{database}"

    def _psql(self, database):
        command = [self._bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
                   "-p", str(self._port), "-U", "postgres", "-d", database]
        return command, {**os.environ, "PGPASSWORD": self._password}

    def sql(self, database, statement):
        command, environment = self._psql(database)
        done = subprocess.run([*command, "-c", statement], env=environment, check=True, text=True,
                              stdout=subprocess.PIPE)
        return done.stdout.strip()

    @contextlib.contextmanager
    def database(self, setup):
        """A fresh database, made ready by `setup(url)`; its name. It is dropped at the end."""
        name = f"peers_{secrets.token_hex(4)}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        try:
            setup(self.url(name))
            yield name
        finally:
            self.sql("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def settle(self, database):
        """What a filled database gets before it is drained: statistics for the planner, and no checkpoint due."""
        self.sql(database, "VACUUM (ANALYZE)")
        self.sql(database, "CHECKPOINT")

    @contextlib.contextmanager
    def held_snapshot(self, database):
        """Another session's REPEATABLE READ snapshot, as old as the beginning of the block."""
        command, environment = self._psql(database)
        session = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        try:
            session.stdin.write("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'held';\n")
            session.stdin.flush()
            if session.stdout.readline().strip() != "held":
                raise RuntimeError("the session that was to hold a snapshot has ended")
            yield
            if session.poll() is not None:
                raise RuntimeError("the session that held a snapshot has ended before the measurement")
        finally:
            session.stdin.close()
            session.wait()
