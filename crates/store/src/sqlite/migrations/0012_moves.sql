-- Moves of jobs, for those who follow them (docs/design/0032-a-stream-of-jobs.md). Nothing is written while nobody listens.

-- One row: since when somebody has listened without a break, and until when the lease of whoever did so last runs, in UTC
-- microseconds since 1970.
CREATE TABLE taskwright_listening (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    since    INTEGER NOT NULL,
    until_at INTEGER NOT NULL
) STRICT;

-- What a call moved: the numbers of jobs, as ranges with both ends included, two big-endian integers of 64 bits for each. A number
-- is never used again, so that whoever has read up to one misses none.
CREATE TABLE taskwright_moved (
    moved INTEGER PRIMARY KEY AUTOINCREMENT,
    at    INTEGER NOT NULL,
    seqs  BLOB    NOT NULL
) STRICT;
