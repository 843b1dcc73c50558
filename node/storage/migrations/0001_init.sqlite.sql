-- Times are microseconds since 1970 (UTC). Addresses are prepared text; our own accounts and rooms are ids.
CREATE TABLE host(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE);
-- AUTOINCREMENT: an id never comes back, so what a removed account left behind belongs to nobody.
CREATE TABLE account(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host INTEGER NOT NULL REFERENCES host(id),
    localpart TEXT NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    source INTEGER NOT NULL DEFAULT 0,
    home_node TEXT NOT NULL DEFAULT '',
    pinned INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    roster_version INTEGER NOT NULL DEFAULT 0,
    archive_default INTEGER NOT NULL DEFAULT 0,
    UNIQUE(host, localpart));
CREATE TABLE credential(
    account INTEGER NOT NULL,
    mechanism TEXT NOT NULL,
    salt BLOB NOT NULL,
    iterations INTEGER NOT NULL,
    stored_key BLOB NOT NULL,
    server_key BLOB NOT NULL,
    PRIMARY KEY(account, mechanism)) WITHOUT ROWID;
-- groups: names separated by U+001F, which XML cannot hold.
CREATE TABLE roster_item(
    account INTEGER NOT NULL,
    jid TEXT NOT NULL,
    name TEXT NOT NULL,
    groups TEXT NOT NULL,
    subscription INTEGER NOT NULL,
    ask INTEGER NOT NULL,
    approved INTEGER NOT NULL,
    listed INTEGER NOT NULL,
    pending_in TEXT NOT NULL,
    PRIMARY KEY(account, jid)) WITHOUT ROWID;
CREATE TABLE blocked(
    account INTEGER NOT NULL,
    jid TEXT NOT NULL,
    PRIMARY KEY(account, jid)) WITHOUT ROWID;
CREATE TABLE archive_rule(
    account INTEGER NOT NULL,
    jid TEXT NOT NULL,
    keep INTEGER NOT NULL,
    PRIMARY KEY(account, jid, keep)) WITHOUT ROWID;

-- One small index, since each one costs a random page per row: id_hash is FNV-1a of stanza_id. It finds a stanza-id (the
-- writer keeps (owner, stanza_id) unique by it) and, being read whole for one owner, the order of an archive.
CREATE TABLE archive(
    seq INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    id_hash INTEGER NOT NULL,
    stanza_id TEXT NOT NULL,
    dir INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    with_bare TEXT NOT NULL,
    with_resource TEXT NOT NULL,
    origin_id TEXT,
    hash BLOB,
    xml TEXT NOT NULL);
CREATE INDEX archive_key ON archive(owner, id_hash);
-- state: 0 queued, 2 done (the numbers of the cluster's store; 1, taken, is never durable here).
CREATE TABLE offline(
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    stanza_id TEXT NOT NULL,
    ord INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    sender TEXT NOT NULL,
    ts INTEGER NOT NULL,
    done_at INTEGER NOT NULL DEFAULT 0,
    xml TEXT NOT NULL,
    UNIQUE(owner, stanza_id));
CREATE INDEX offline_queued ON offline(owner, ord) WHERE state = 0;
CREATE INDEX offline_done ON offline(done_at) WHERE state = 2;
CREATE TABLE document(
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE(owner, kind, key));

CREATE TABLE room(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host INTEGER NOT NULL REFERENCES host(id),
    localpart TEXT NOT NULL,
    home_node TEXT NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 1,
    hist INTEGER NOT NULL DEFAULT 0,
    config BLOB NOT NULL,
    subject TEXT NOT NULL DEFAULT '',
    UNIQUE(host, localpart));
CREATE TABLE room_affiliation(
    room INTEGER NOT NULL,
    jid TEXT NOT NULL,
    affiliation TEXT NOT NULL,
    nick TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY(room, jid)) WITHOUT ROWID;
-- key: room << 32 | hist
CREATE TABLE room_archive(
    key INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    stanza_id TEXT NOT NULL,
    ts INTEGER NOT NULL,
    sender TEXT NOT NULL,
    xml TEXT NOT NULL,
    UNIQUE(room, stanza_id));

-- Session logs. `last` is brought up to date when entries go; until then the log itself tells it.
CREATE TABLE sm_session(
    id INTEGER PRIMARY KEY,
    sid TEXT NOT NULL UNIQUE,
    account INTEGER NOT NULL,
    jid TEXT NOT NULL,
    node TEXT NOT NULL,
    g INTEGER NOT NULL,
    e INTEGER NOT NULL,
    last INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    phase INTEGER NOT NULL,
    resumable INTEGER NOT NULL,
    until INTEGER NOT NULL,
    state BLOB NOT NULL);
-- Apart from sm_session because it changes with every stanza: many to a page.
CREATE TABLE sm_counter(
    session INTEGER PRIMARY KEY,
    inbound INTEGER NOT NULL);
-- key: session << 32 | position. co: sids of the co-targets separated by U+001F.
CREATE TABLE sm_log(
    key INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    source TEXT NOT NULL,
    n INTEGER NOT NULL,
    sub INTEGER NOT NULL,
    stanza_id TEXT NOT NULL,
    co TEXT NOT NULL,
    xml TEXT NOT NULL);
CREATE TABLE sm_held(
    key INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    source TEXT NOT NULL,
    n INTEGER NOT NULL,
    sub INTEGER NOT NULL,
    stanza_id TEXT NOT NULL,
    co TEXT NOT NULL,
    xml TEXT NOT NULL);
-- target: a session, or minus a room_state. mark: n << 20 | sub of the newest origin taken.
CREATE TABLE sm_origin(
    target INTEGER NOT NULL,
    source TEXT NOT NULL,
    mark INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY(target, source)) WITHOUT ROWID;
CREATE TABLE sm_got(
    owner INTEGER NOT NULL,
    stanza_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY(owner, stanza_id)) WITHOUT ROWID;
CREATE TABLE sm_tomb(
    sid TEXT PRIMARY KEY,
    jid TEXT NOT NULL,
    inbound INTEGER NOT NULL,
    until INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE room_state(
    id INTEGER PRIMARY KEY,
    jid TEXT NOT NULL UNIQUE,
    position INTEGER NOT NULL,
    last INTEGER NOT NULL);
-- key: room_state << 32 | position
CREATE TABLE room_inbox(
    key INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    n INTEGER NOT NULL,
    sub INTEGER NOT NULL,
    sid TEXT NOT NULL,
    sender TEXT NOT NULL,
    xml TEXT NOT NULL);
CREATE TABLE room_occupant(
    room INTEGER NOT NULL,
    sid TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY(room, sid)) WITHOUT ROWID;
