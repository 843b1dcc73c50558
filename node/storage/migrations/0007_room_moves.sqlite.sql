-- Rooms that are on their way to another home node. A node alone moves none; the table is that of both back ends.
CREATE TABLE room_move(
    room INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    began INTEGER NOT NULL,
    run INTEGER NOT NULL DEFAULT 0);
