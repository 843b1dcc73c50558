-- A good password of the last days, as scrypt: only for when no host of the directory answers.
CREATE TABLE offline_login(
    account INTEGER PRIMARY KEY,
    salt BLOB NOT NULL,
    hash BLOB NOT NULL,
    last_login INTEGER NOT NULL);
