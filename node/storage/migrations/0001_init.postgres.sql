-- Times are microseconds since 1970 (UTC). Addresses are prepared text; our own accounts and rooms are ids.
-- Every number is a BIGINT: parameters travel in binary form and need one width. Names sort by bytes (COLLATE "C").
CREATE TABLE host(
    id BIGSERIAL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE);
-- changed_by: '<sid>/<n>' of the stanza that made the newest version, so that a repeat of it is known.
CREATE TABLE account(
    id BIGSERIAL PRIMARY KEY,
    host BIGINT NOT NULL REFERENCES host(id),
    localpart TEXT COLLATE "C" NOT NULL,
    state BIGINT NOT NULL DEFAULT 0,
    source BIGINT NOT NULL DEFAULT 0,
    home_node TEXT NOT NULL DEFAULT '',
    pinned BIGINT NOT NULL DEFAULT 0,
    generation BIGINT NOT NULL DEFAULT 0,
    created BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 0,
    roster_version BIGINT NOT NULL DEFAULT 0,
    archive_default BIGINT NOT NULL DEFAULT 0,
    changed_by TEXT NOT NULL DEFAULT '',
    UNIQUE(host, localpart));
CREATE TABLE credential(
    account BIGINT NOT NULL,
    mechanism TEXT NOT NULL,
    salt BYTEA NOT NULL,
    iterations BIGINT NOT NULL,
    stored_key BYTEA NOT NULL,
    server_key BYTEA NOT NULL,
    PRIMARY KEY(account, mechanism));
-- groups: names separated by U+001F, which XML cannot hold.
CREATE TABLE roster_item(
    account BIGINT NOT NULL,
    jid TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    groups TEXT NOT NULL,
    subscription BIGINT NOT NULL,
    ask BIGINT NOT NULL,
    approved BIGINT NOT NULL,
    listed BIGINT NOT NULL,
    pending_in TEXT NOT NULL,
    PRIMARY KEY(account, jid));
CREATE TABLE blocked(
    account BIGINT NOT NULL,
    jid TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY(account, jid));
CREATE TABLE archive_rule(
    account BIGINT NOT NULL,
    jid TEXT COLLATE "C" NOT NULL,
    keep BIGINT NOT NULL,
    PRIMARY KEY(account, jid, keep));

-- xid: a page ends at the oldest running transaction, else it could skip a row that commits late.
CREATE TABLE archive(
    seq BIGSERIAL PRIMARY KEY,
    xid XID8 NOT NULL DEFAULT pg_current_xact_id(),
    owner BIGINT NOT NULL,
    stanza_id TEXT COLLATE "C" NOT NULL,
    dir BIGINT NOT NULL,
    ts BIGINT NOT NULL,
    with_bare TEXT COLLATE "C" NOT NULL,
    with_resource TEXT COLLATE "C" NOT NULL,
    origin_id TEXT COLLATE "C",
    hash BYTEA,
    xml TEXT NOT NULL,
    UNIQUE(owner, stanza_id));
CREATE INDEX archive_owner ON archive(owner, seq);
CREATE INDEX archive_sent ON archive(owner, origin_id) WHERE origin_id IS NOT NULL;
-- state: 0 queued, 1 taken by (sid, batch), 2 done.
CREATE TABLE offline(
    owner BIGINT NOT NULL,
    stanza_id TEXT COLLATE "C" NOT NULL,
    ord BIGINT NOT NULL,
    state BIGINT NOT NULL DEFAULT 0,
    sid TEXT COLLATE "C",
    batch BIGINT NOT NULL DEFAULT 0,
    sender TEXT NOT NULL,
    ts BIGINT NOT NULL,
    done_at BIGINT NOT NULL DEFAULT 0,
    xml TEXT NOT NULL,
    PRIMARY KEY(owner, stanza_id));
CREATE INDEX offline_queued ON offline(owner, ord) WHERE state = 0;
CREATE INDEX offline_taken ON offline(sid) WHERE state = 1;
CREATE INDEX offline_done ON offline(done_at) WHERE state = 2;
CREATE TABLE document(
    owner BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY(owner, kind, key));

CREATE TABLE room(
    id BIGSERIAL PRIMARY KEY,
    host BIGINT NOT NULL REFERENCES host(id),
    localpart TEXT COLLATE "C" NOT NULL,
    home_node TEXT NOT NULL,
    epoch BIGINT NOT NULL DEFAULT 1,
    hist BIGINT NOT NULL DEFAULT 0,
    config BYTEA NOT NULL,
    subject TEXT NOT NULL DEFAULT '',
    UNIQUE(host, localpart));
CREATE INDEX room_home ON room(home_node);
CREATE TABLE room_affiliation(
    room BIGINT NOT NULL,
    jid TEXT COLLATE "C" NOT NULL,
    affiliation TEXT NOT NULL,
    nick TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY(room, jid));
CREATE TABLE room_archive(
    room BIGINT NOT NULL,
    hist BIGINT NOT NULL,
    stanza_id TEXT COLLATE "C" NOT NULL,
    ts BIGINT NOT NULL,
    sender TEXT COLLATE "C" NOT NULL,
    xml TEXT NOT NULL,
    PRIMARY KEY(room, hist),
    UNIQUE(room, stanza_id));

-- The newest stanza of a session that changed an account: refuses the late one of a carrier that has lost it.
CREATE TABLE sm_fence(
    sid TEXT COLLATE "C" PRIMARY KEY,
    g BIGINT NOT NULL,
    e BIGINT NOT NULL,
    n BIGINT NOT NULL,
    at BIGINT NOT NULL);
CREATE TABLE sm_tomb(
    sid TEXT COLLATE "C" PRIMARY KEY,
    jid TEXT NOT NULL,
    inbound BIGINT NOT NULL,
    until BIGINT NOT NULL);
CREATE INDEX sm_tomb_until ON sm_tomb(until);

-- One row: the generation of the cluster and the Redis it belongs to.
CREATE TABLE cluster(
    id BIGINT PRIMARY KEY CHECK (id = 1),
    g BIGINT NOT NULL,
    run TEXT NOT NULL);
INSERT INTO cluster VALUES(1, 0, '');
CREATE TABLE partition(
    home TEXT PRIMARY KEY,
    serving TEXT NOT NULL,
    epoch BIGINT NOT NULL);
CREATE TABLE node(
    name TEXT PRIMARY KEY,
    incarnation BIGINT NOT NULL);
