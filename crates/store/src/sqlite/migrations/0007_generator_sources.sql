-- How many items of a generator have ended since it was taken, and after how many of these somebody has to look before the time
-- that next says (docs/design/0019-generators.md); 0 waits for none.
ALTER TABLE taskwright_generator ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
ALTER TABLE taskwright_generator ADD COLUMN look_after INTEGER NOT NULL DEFAULT 0;

-- What its generator called a job that is a dead letter; while it is an outstanding item, taskwright_item says so.
ALTER TABLE taskwright_job ADD COLUMN item_key TEXT;

-- What each file looked like when it became an item of a generator of files (docs/design/0022-directory-and-deadline-generators.md);
-- open while that item is outstanding.
CREATE TABLE taskwright_file (
    generator   INTEGER NOT NULL,
    path        TEXT    NOT NULL,
    size        INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    open        INTEGER NOT NULL,
    PRIMARY KEY (generator, path)
) STRICT, WITHOUT ROWID;
