-- Redundancy groups exist in clusters only; the numbers of the two back ends go together.
CREATE TABLE IF NOT EXISTS ha_event(
    id INTEGER PRIMARY KEY,
    ts INTEGER NOT NULL,
    node TEXT NOT NULL,
    kind TEXT NOT NULL,
    fields TEXT NOT NULL);
