-- What placement rules ask for: the person's site, and those groups of the directory that a rule names, separated by U+001F.
ALTER TABLE account
    ADD COLUMN site TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN directory_groups TEXT COLLATE "C" NOT NULL DEFAULT '';
-- placed_in: the group that a placement rule names for those who are moved; empty = no rule is for them.
ALTER TABLE rebalance_flow ADD COLUMN placed_in TEXT NOT NULL DEFAULT '';
ALTER TABLE rebalance_flow DROP CONSTRAINT rebalance_flow_pkey;
ALTER TABLE rebalance_flow ADD PRIMARY KEY(run, source, target, placed_in);
