-- Why and since when an account has its home node. Moving and pinning exist in clusters only.
ALTER TABLE account ADD COLUMN rule TEXT NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN assigned_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN pinned_at INTEGER NOT NULL DEFAULT 0;
