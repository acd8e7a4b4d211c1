"""Enqueues jobs one by one, and writes down each id that was acknowledged. A program of its own, which may be killed.

    enqueuer.py HOSTS LEDGER RUNS PER_SECOND

A line of the ledger is the time and the id, written as soon as the server has acknowledged the commit. What was not
acknowledged is not tried again: it may exist or not, and nobody was promised anything.
"""

import json
import select
import sys
import time
import uuid

import psycopg2
import psycopg2.extensions

ANSWER_SECONDS_MAX = 5
COMMAND = 'echo "$TASKWRIGHT_JOB_ID $TASKWRIGHT_ATTEMPT $(date +%s.%N)" >>"$0"; sleep 0.2'


def wait(connection):
    """A server that is stopped keeps its connections, and never answers."""
    until = time.monotonic() + ANSWER_SECONDS_MAX
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        left = max(0.0, until - time.monotonic())
        reads = [connection] if state == psycopg2.extensions.POLL_READ else []
        writes = [connection] if state == psycopg2.extensions.POLL_WRITE else []
        if not any(select.select(reads, writes, [], left)):
            raise psycopg2.OperationalError("the server does not answer")


def connect(hosts):
    """The first host that can be written."""
    for host in hosts:
        connection = None
        try:
            connection = psycopg2.connect(host=host, user="jobs", dbname="jobs", connect_timeout=2,
                                          target_session_attrs="read-write", options="-c statement_timeout=4000")
            connection.autocommit = True
            return connection
        except psycopg2.Error:
            if connection:
                connection.close()
    return None


def main(hosts, ledger, runs, per_second):
    psycopg2.extensions.set_wait_callback(wait)
    args = json.dumps({"command": ["sh", "-c", COMMAND, runs]})
    connection = None
    with open(ledger, "a", encoding="utf-8", buffering=1) as file:
        while True:
            begun = time.monotonic()
            try:
                connection = connection or connect(hosts)
                if connection:
                    job = str(uuid.uuid4())
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT taskwright.enqueue('exec', %s, id => %s)", (args, job))
                        job = cursor.fetchone()[0]
                    # A line is one write, and the machine's own power is not what is drilled.
                    file.write(f"{time.time():.3f} {job}\n")
            except psycopg2.Error:
                # Not closed in good order: that would wait for a server that is stopped.
                connection = None
            time.sleep(max(0.0, 1 / per_second - (time.monotonic() - begun)))


if __name__ == "__main__":
    main(sys.argv[1].split(","), sys.argv[2], sys.argv[3], float(sys.argv[4]))
