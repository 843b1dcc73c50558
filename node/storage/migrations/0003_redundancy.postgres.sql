-- An administrator moved the partition away from its home node; only he moves it back.
ALTER TABLE partition ADD COLUMN held BOOLEAN NOT NULL DEFAULT FALSE;
-- What happened to the redundancy groups, newest last; bounded. Fields are a JSON object, ts in microseconds.
CREATE TABLE ha_event(
    id BIGSERIAL PRIMARY KEY,
    xid XID8 NOT NULL DEFAULT pg_current_xact_id(),
    ts BIGINT NOT NULL,
    node TEXT NOT NULL,
    kind TEXT NOT NULL,
    fields TEXT NOT NULL);
