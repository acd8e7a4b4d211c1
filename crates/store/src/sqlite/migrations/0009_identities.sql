-- Principals, what they did, and what submitters leave on their jobs (docs/design/0024-identities.md, 0025-audit.md). All times are
-- UTC microseconds since 1970.

-- hash is the SHA-256 of the secret, which is nowhere. namespace is '' for a superuser, which has no role. scopes is names of
-- permissions with blanks between them; NULL is all that the role allows.
CREATE TABLE taskwright_token (
    id         BLOB    PRIMARY KEY,
    hash       BLOB    NOT NULL UNIQUE,
    hint       TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    namespace  TEXT    NOT NULL,
    role       INTEGER,
    scopes     TEXT,
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at    INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX taskwright_token_name ON taskwright_token (namespace, name) WHERE revoked_at IS NULL;

-- password is in the PHC string format. roles is JSON: namespaces with the role in each.
CREATE TABLE taskwright_user (
    name       TEXT    PRIMARY KEY,
    password   TEXT    NOT NULL,
    superuser  INTEGER NOT NULL,
    roles      TEXT    NOT NULL,
    disabled   INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE taskwright_session (
    hash       BLOB    PRIMARY KEY,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX taskwright_session_name ON taskwright_session (name);
CREATE INDEX taskwright_session_expires ON taskwright_session (expires_at);

-- Who may cancel jobs in a namespace: 1 submitters and admins, 2 admins, 3 superusers. 1 where there is no row.
CREATE TABLE taskwright_cancel_policy (
    namespace TEXT    PRIMARY KEY,
    policy    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The audit: a chain. body is JSON that is not read here; hash is over it, its position and the hash before.
CREATE TABLE taskwright_audit (
    position INTEGER PRIMARY KEY,
    body     TEXT NOT NULL,
    hash     BLOB NOT NULL
) STRICT;

-- Where it ends, and behind which link it begins. One row.
CREATE TABLE taskwright_audit_ends (
    single          INTEGER PRIMARY KEY CHECK (single = 1),
    head_position   INTEGER NOT NULL,
    head_hash       BLOB    NOT NULL,
    anchor_position INTEGER NOT NULL,
    anchor_hash     BLOB    NOT NULL
) STRICT;

INSERT INTO taskwright_audit_ends VALUES (1, 0, zeroblob(32), 0, zeroblob(32));

CREATE TABLE taskwright_comment (
    seq    INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    actor  TEXT    NOT NULL,
    text   TEXT    NOT NULL,
    PRIMARY KEY (seq, number)
) STRICT, WITHOUT ROWID;

-- Jobs whose owners have read how they ended.
CREATE TABLE taskwright_consumed (
    seq INTEGER PRIMARY KEY,
    at  INTEGER NOT NULL
) STRICT;
