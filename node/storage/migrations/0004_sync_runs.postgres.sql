-- Runs of the directory agent that wait for a person, what administrators ask of the agent, and logins while no directory answers.
-- sync_state.cookie: of content synchronisation (RFC 4533), hex. accepted: the settings of the last full read that was not held;
-- settings: those of the last full read. last_good: when a read was last complete. capabilities: what the root DSE said.
ALTER TABLE sync_state
    ADD COLUMN cookie TEXT NOT NULL DEFAULT '',
    ADD COLUMN accepted TEXT NOT NULL DEFAULT '',
    ADD COLUMN last_good BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN capabilities TEXT NOT NULL DEFAULT '';
-- How the entries were read, and the run whose held set this run's is (its own id, or an earlier run's with the same set).
ALTER TABLE sync_run
    ADD COLUMN reader TEXT NOT NULL DEFAULT '',
    ADD COLUMN held_run BIGINT NOT NULL DEFAULT 0;
-- action: the state that the person would get (2 missing, 1 disabled). A run that is decided has no rows here.
CREATE TABLE sync_held(
    run BIGINT NOT NULL,
    agreement TEXT COLLATE "C" NOT NULL,
    entry_uuid TEXT COLLATE "C" NOT NULL,
    account BIGINT NOT NULL,
    localpart TEXT COLLATE "C" NOT NULL,
    action BIGINT NOT NULL,
    PRIMARY KEY(run, entry_uuid));
-- Asked by any node, answered by the agent that holds the lease. status: as of HTTP; 0 = not answered yet.
CREATE TABLE sync_request(
    id BIGSERIAL PRIMARY KEY,
    kind TEXT NOT NULL,
    agreement TEXT NOT NULL DEFAULT '',
    run BIGINT NOT NULL DEFAULT 0,
    asked BIGINT NOT NULL,
    status BIGINT NOT NULL DEFAULT 0,
    answer TEXT NOT NULL DEFAULT '');
CREATE INDEX sync_request_open ON sync_request(id) WHERE status = 0;
-- A good password of the last days, as scrypt: only for when no host of the directory answers.
CREATE TABLE offline_login(
    account BIGINT PRIMARY KEY,
    salt BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    last_login BIGINT NOT NULL);
