-- Principals, what they did, and what submitters leave on their jobs (docs/design/0024-identities.md, 0025-audit.md). All times are
-- UTC microseconds since 1970.

-- hash is the SHA-256 of the secret, which is nowhere. namespace is '' for a superuser, which has no role. scopes is names of
-- permissions with blanks between them; NULL is all that the role allows.
CREATE TABLE token (
    id         uuid     PRIMARY KEY,
    hash       bytea    NOT NULL UNIQUE,
    hint       text     NOT NULL,
    name       text     NOT NULL,
    namespace  text     NOT NULL,
    role       smallint,
    scopes     text,
    created_by text     NOT NULL,
    created_at bigint   NOT NULL,
    expires_at bigint,
    used_at    bigint,
    revoked_at bigint
);

CREATE UNIQUE INDEX token_name ON token (namespace, name) WHERE revoked_at IS NULL;

-- Users. password is in the PHC string format. roles is JSON: namespaces with the role in each.
CREATE TABLE account (
    name       text    COLLATE "C" PRIMARY KEY,
    password   text    NOT NULL,
    superuser  boolean NOT NULL,
    roles      text    NOT NULL,
    disabled   boolean NOT NULL,
    created_by text    NOT NULL,
    created_at bigint  NOT NULL,
    changed_at bigint  NOT NULL
);

CREATE TABLE session (
    hash       bytea  PRIMARY KEY,
    name       text   COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    seen_at    bigint NOT NULL,
    expires_at bigint NOT NULL
);

CREATE INDEX session_name ON session (name);
CREATE INDEX session_expires ON session (expires_at);

-- Locked by whoever makes the first principal, or takes one away: of several one at a time does so. One row.
CREATE TABLE principals (
    single boolean PRIMARY KEY DEFAULT true CHECK (single)
);

INSERT INTO principals DEFAULT VALUES;

-- Who may cancel jobs in a namespace: 1 submitters and admins, 2 admins, 3 superusers. 1 where there is no row.
CREATE TABLE cancel_policy (
    namespace text     PRIMARY KEY,
    policy    smallint NOT NULL
);

-- Entries of the audit that are no links of the chain yet, in no order: nobody waits for anybody to write one. body is JSON that is
-- not read here.
CREATE TABLE audit_entry (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body  text   NOT NULL
);

-- The chain: hash is over the body, the position and the hash before.
CREATE TABLE audit (
    position bigint PRIMARY KEY,
    body     text   NOT NULL,
    hash     bytea  NOT NULL
);

-- Where it ends, and behind which link it begins. One row, which whoever adds to the chain locks.
CREATE TABLE audit_ends (
    single          boolean PRIMARY KEY DEFAULT true CHECK (single),
    head_position   bigint NOT NULL,
    head_hash       bytea  NOT NULL,
    anchor_position bigint NOT NULL,
    anchor_hash     bytea  NOT NULL
);

INSERT INTO audit_ends (head_position, head_hash, anchor_position, anchor_hash)
VALUES (0, decode(repeat('00', 32), 'hex'), 0, decode(repeat('00', 32), 'hex'));

CREATE TABLE job_comment (
    seq    bigint  NOT NULL,
    number integer NOT NULL,
    at     bigint  NOT NULL,
    actor  text    NOT NULL,
    text   text    NOT NULL,
    PRIMARY KEY (seq, number)
);

-- Jobs whose owners have read how they ended.
CREATE TABLE consumed (
    seq bigint PRIMARY KEY,
    at  bigint NOT NULL
);
