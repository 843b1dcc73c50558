-- Rooms that are on their way: room.home_node is the new home already, its node does not have the room yet. epoch: room.epoch
-- since then; run: the rebalancing that moves it, 0 = an administrator.
CREATE TABLE room_move(
    room BIGINT PRIMARY KEY,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    began BIGINT NOT NULL,
    run BIGINT NOT NULL DEFAULT 0);
-- what: users, rooms.
ALTER TABLE rebalance_flow ADD COLUMN what TEXT NOT NULL DEFAULT 'users';
ALTER TABLE rebalance_flow DROP CONSTRAINT rebalance_flow_pkey;
ALTER TABLE rebalance_flow ADD PRIMARY KEY(run, source, target, placed_in, what);
-- Logins look for the entry that an account mirrors.
CREATE INDEX directory_entry_account ON directory_entry(account);
