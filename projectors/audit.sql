-- Every event as the log has it, personal data included; the log is the source.
CREATE TABLE audit (
	category    TEXT NOT NULL,
	id          TEXT NOT NULL,
	version     INTEGER NOT NULL,
	revision    INTEGER NOT NULL,
	event_id    TEXT NOT NULL,
	type        TEXT NOT NULL,
	time        TEXT NOT NULL,
	user        TEXT NOT NULL,
	command_id  TEXT NOT NULL,
	correlation TEXT NOT NULL,
	causation   TEXT NOT NULL,
	data        TEXT NOT NULL, -- the event's JSON, in its newest version
	PRIMARY KEY (category, id, version)
) STRICT;
