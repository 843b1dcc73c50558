-- Why and since when an account has its home node, and since when it is pinned there (microseconds; 0 = not). A home that is
-- moved raises account.generation.
ALTER TABLE account
    ADD COLUMN rule TEXT NOT NULL DEFAULT '',
    ADD COLUMN assigned_at BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN pinned_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX account_home ON account(home_node);
-- Jobs of the cluster that one node does at a time.
CREATE TABLE cluster_job(
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL);
-- cause: apply, auto. state: running, done, stopped. rate: accounts in 1,000 seconds. One runs at a time.
CREATE TABLE rebalance_run(
    id BIGSERIAL PRIMARY KEY,
    cause TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    rate BIGINT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT NOT NULL DEFAULT 0,
    sessions BIGINT NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX rebalance_running ON rebalance_run(state) WHERE state = 'running';
CREATE TABLE rebalance_flow(
    run BIGINT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    planned BIGINT NOT NULL,
    moved BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY(run, source, target));
