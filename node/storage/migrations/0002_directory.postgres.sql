-- The mirror of directories. directory_entry: who is whose account; state as account.state; times in microseconds.
CREATE TABLE directory_entry(
    agreement TEXT COLLATE "C" NOT NULL,
    entry_uuid TEXT COLLATE "C" NOT NULL,
    account BIGINT NOT NULL,
    localpart TEXT COLLATE "C" NOT NULL,
    attribute_hash TEXT NOT NULL,
    dn TEXT NOT NULL,
    state BIGINT NOT NULL DEFAULT 0,
    missing_since BIGINT NOT NULL DEFAULT 0,
    missed BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY(agreement, entry_uuid));
-- Written in the transaction of each change of an account by somebody else than a node; nodes read from their last seq.
CREATE TABLE account_event(
    seq BIGSERIAL PRIMARY KEY,
    xid XID8 NOT NULL DEFAULT pg_current_xact_id(),
    ts BIGINT NOT NULL,
    account BIGINT NOT NULL,
    jid TEXT COLLATE "C" NOT NULL,
    state BIGINT NOT NULL);
-- One runner at a time: the holder's epoch is checked in every transaction of a run.
CREATE TABLE sync_lease(
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    until BIGINT NOT NULL);
CREATE TABLE sync_state(
    agreement TEXT COLLATE "C" PRIMARY KEY,
    mark TEXT NOT NULL DEFAULT '',
    last_full BIGINT NOT NULL DEFAULT 0,
    last_count BIGINT NOT NULL DEFAULT 0,
    settings TEXT NOT NULL DEFAULT '');
CREATE TABLE sync_run(
    id BIGSERIAL PRIMARY KEY,
    agreement TEXT NOT NULL,
    kind TEXT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    result TEXT NOT NULL,
    entries BIGINT NOT NULL,
    added BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    disabled BIGINT NOT NULL,
    missing BIGINT NOT NULL,
    deactivated BIGINT NOT NULL,
    held BIGINT NOT NULL,
    skipped BIGINT NOT NULL,
    detail TEXT NOT NULL);
