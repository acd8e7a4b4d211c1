-- Requests that stored jobs, so that one that is sent again stores nothing. key is a hash of who sent it, where, and of what they call
-- it, body one of what it asked for, jobs the ids of its jobs, 16 bytes each. They are known for 24 h; created_at is in UTC microseconds
-- since 1970.
CREATE TABLE taskwright_request (
    key        BLOB    PRIMARY KEY,
    body       BLOB    NOT NULL,
    jobs       BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX taskwright_request_age ON taskwright_request (created_at);
