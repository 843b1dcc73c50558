-- What placement rules ask for. People of a directory exist in clusters only; the columns are those of both back ends.
ALTER TABLE account ADD COLUMN site TEXT NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN directory_groups TEXT NOT NULL DEFAULT '';
