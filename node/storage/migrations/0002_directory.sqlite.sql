-- The mirror of directories exists in clusters only; the numbers of the two back ends go together.
CREATE TABLE IF NOT EXISTS account_event(
    seq INTEGER PRIMARY KEY,
    ts INTEGER NOT NULL,
    account INTEGER NOT NULL,
    jid TEXT NOT NULL,
    state INTEGER NOT NULL);
