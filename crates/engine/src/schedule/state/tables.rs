//! The tables of the state, and how its file is identified.

/// Version of the tables.
pub(super) const FORMAT: i64 = 1;

/// Marks the file as a fleetlogs schedule in its header: "flos".
pub(super) const APPLICATION_ID: i64 = 0x666c_6f73;

/// Creates the tables.
pub(super) const TABLES: &str = "
    -- The queue and its past. Its times: due as the timetable says, begins_at with the delay.
    CREATE TABLE run (
        id INTEGER PRIMARY KEY, snapshot TEXT NOT NULL, cause TEXT NOT NULL, due TEXT NOT NULL, begins_at TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('queued', 'started', 'ended', 'skipped', 'missed', 'lost')),
        machine TEXT, run_id TEXT, dir TEXT, started_at TEXT, ended_at TEXT, outcome TEXT, exit_code INTEGER, reason TEXT,
        removed_at TEXT
    ) STRICT;
    CREATE INDEX run_by_snapshot ON run (snapshot, due);
    CREATE INDEX run_by_status ON run (status) WHERE status IN ('queued', 'started');
    -- Up to when the times of a snapshot have been put into the queue, skipped or missed.
    CREATE TABLE considered (snapshot TEXT PRIMARY KEY, until TEXT NOT NULL) STRICT;
    -- When the series of a snapshot began: the start of its first window.
    CREATE TABLE series (snapshot TEXT PRIMARY KEY, began TEXT NOT NULL) STRICT;
    -- Up to when the logs of a node are verified. Ids of nodes are used again; allocated tells them apart.
    CREATE TABLE reached (
        snapshot TEXT NOT NULL, account TEXT NOT NULL, pool TEXT NOT NULL, node TEXT NOT NULL, allocated TEXT NOT NULL,
        until TEXT NOT NULL, PRIMARY KEY (snapshot, account, pool, node, allocated)
    ) STRICT, WITHOUT ROWID;
    -- What runs covered whose directories are gone, merged: with verified files, or with the answer that there is nothing.
    CREATE TABLE folded (
        snapshot TEXT NOT NULL, account TEXT NOT NULL, pool TEXT NOT NULL, node TEXT NOT NULL, allocated TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('verified', 'empty')), start TEXT NOT NULL, until TEXT NOT NULL,
        PRIMARY KEY (snapshot, account, pool, node, allocated, outcome, start)
    ) STRICT, WITHOUT ROWID;
    -- Nodes that entered a state that is watched for. One row is one occurrence.
    CREATE TABLE occurrence (
        snapshot TEXT NOT NULL, account TEXT NOT NULL, pool TEXT NOT NULL COLLATE NOCASE,
        node TEXT NOT NULL COLLATE NOCASE, state TEXT NOT NULL,
        since TEXT NOT NULL, seen_at TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('seen', 'held', 'claimed', 'damped', 'old')),
        run INTEGER REFERENCES run (id), PRIMARY KEY (snapshot, account, pool, node, state, since)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX occurrence_open ON occurrence (snapshot, status) WHERE status = 'seen' OR status = 'held';
    CREATE INDEX occurrence_by_run ON occurrence (run) WHERE run IS NOT NULL;
    -- Alerts that were taken. The sender sends again what it thinks was lost.
    CREATE TABLE alert (
        id TEXT NOT NULL, fired_at TEXT NOT NULL, snapshot TEXT NOT NULL, seen_at TEXT NOT NULL,
        run INTEGER REFERENCES run (id), PRIMARY KEY (id, fired_at, snapshot)
    ) STRICT, WITHOUT ROWID;
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format_lock::{Additions, Form, assert_locked};

    #[test]
    fn the_state_of_a_schedule_is_locked() {
        let mut form = Form::from([("application id".to_owned(), format!("{APPLICATION_ID:#x}"))]);
        // Without its comments.
        let text: String = TABLES.lines().filter(|line| !line.trim().starts_with("--")).collect();
        for statement in text.split(';').filter(|statement| !statement.trim().is_empty()) {
            let words: Vec<_> = statement.split_whitespace().collect();
            form.insert(words[..3].join(" "), words.join(" "));
        }
        assert_locked("schedule-db", &format!("format-{FORMAT}"), &form, &Additions::default());
    }
}
