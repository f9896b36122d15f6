//! The list of runs: a line for each, as wide as the terminal.

use fleetlogs_model::duration;
use fleetlogs_model::ids::{RunId, SnapshotName};
use fleetlogs_model::outcome::{OutcomeCounts, RunOutcome};
use fleetlogs_model::timestamp::{self, in_utc};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::look::{Look, Style};
use crate::text::{between, counted, for_terminal, number, size};
use crate::width::{columns, shortened};

/// Between two columns.
const GAP: usize = 2;
/// Before a note that has lines of its own.
const INDENT: usize = 4;
/// The most columns of a config or a snapshot, and the fewest that it is cut to.
const OF_WIDTH: (usize, usize) = (24, 12);
/// Behind the id of the run that `latest` is.
const LATEST: &str = " *";

/// A run in the list.
#[derive(Clone, Debug, Serialize)]
pub struct ListedRun {
    /// Its id.
    pub run_id: RunId,
    /// Its directory.
    pub dir: String,
    /// Where its record is in Blob storage; none if it is in the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// When its first process started.
    #[serde(serialize_with = "time_or_null")]
    pub started_at: Option<OffsetDateTime>,
    /// When its last one ended; none while a process works on it.
    #[serde(serialize_with = "time_or_null")]
    pub ended_at: Option<OffsetDateTime>,
    /// The config that it was started with.
    pub config: Option<String>,
    /// The snapshot that it is a run of.
    pub snapshot: Option<SnapshotName>,
    /// Where it stands.
    pub state: ListedState,
    /// How it ended; none while a process works on it.
    pub outcome: Option<RunOutcome>,
    /// Its planned nodes, if it ended now.
    pub counts: Option<ListedCounts>,
    /// In how many parts it is shared out to workers; none if one process does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u64>,
    /// Accounts that could not be listed.
    pub accounts_not_listed: Option<u64>,
    /// Of all files in its directory.
    pub bytes_on_disk: u64,
    /// Whether `latest` is this run.
    pub latest: bool,
    /// Why it cannot be read.
    pub why: Option<String>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListedState {
    /// A process works on it.
    Running,
    /// It is shared out and not over, and no worker is at work right now.
    Waiting,
    /// It has ended, and nothing is outstanding.
    Ended,
    /// It stopped early, for a recorded reason.
    Stopped,
    /// Its last process was killed.
    Interrupted,
    /// Its record cannot be read.
    Unreadable,
}

/// The planned nodes of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ListedCounts {
    planned: u64,
    #[serde(flatten)]
    outcomes: OutcomeCounts,
    #[serde(skip)]
    collected: u64,
}

impl ListedCounts {
    /// The counts of a run; `collected` depends on whether it was verified.
    #[must_use]
    pub fn new(outcomes: OutcomeCounts, collected: u64) -> Self {
        Self { planned: outcomes.total(), outcomes, collected }
    }
}

#[expect(clippy::ref_option, reason = "serde passes the member as it is")]
fn time_or_null<S: Serializer>(time: &Option<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(timestamp::text).serialize(serializer)
}

impl ListedRun {
    fn state(&self) -> &'static str {
        match (self.state, self.outcome) {
            (ListedState::Running, _) => "running",
            (ListedState::Waiting, _) => "waiting",
            (ListedState::Interrupted, _) => "interrupted",
            (ListedState::Unreadable, _) => "unreadable",
            (ListedState::Stopped, Some(RunOutcome::BudgetSpent)) => "budget spent",
            (ListedState::Stopped, _) => "stopped",
            (ListedState::Ended, Some(outcome)) => match outcome {
                RunOutcome::Complete => "complete",
                RunOutcome::Partial => "partial",
                RunOutcome::NothingCollected => "nothing collected",
                RunOutcome::Interrupted => "stopped",
                RunOutcome::BudgetSpent => "budget spent",
            },
            (ListedState::Ended, None) => "ended",
        }
    }

    /// The name of the snapshot, else that of the config.
    fn of(&self) -> String {
        let config = self.config.as_deref().map(|config| config.rsplit(['/', '\\']).next().unwrap_or(config));
        let of = self.snapshot.as_ref().map(SnapshotName::as_str).or(config).unwrap_or_default();
        shortened(&for_terminal(of), OF_WIDTH.0).into_owned()
    }

    fn note(&self) -> String {
        let unlisted = self.accounts_not_listed.filter(|accounts| *accounts > 0);
        let parts = [
            self.partitions.map(|partitions| counted(partitions, "partition")),
            unlisted.map(|accounts| format!("{} not listed", counted(accounts, "account"))),
            self.why.as_deref().map(|why| for_terminal(why).into_owned()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// One column of the list.
struct Column {
    head: &'static str,
    cells: Vec<String>,
    is_number: bool,
    /// Where the terminal is narrow, columns are left out in this order; 0 is never left out.
    leave_out: u8,
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|cell| columns(cell)).max().unwrap_or_default().max(self.head.len())
    }
}

/// The lines of the list, the newest run first as given, with a head.
#[must_use]
pub fn run_lines(runs: &[ListedRun], look: &Look) -> Vec<String> {
    let column = |head, leave_out, is_number, cell: &dyn Fn(&ListedRun) -> String| Column {
        head,
        cells: runs.iter().map(cell).collect(),
        is_number,
        leave_out,
    };
    let mut table = vec![
        column("RUN", 0, false, &|run| format!("{}{}", run.run_id, if run.latest { LATEST } else { "" })),
        // The id says it, too.
        column("STARTED (UTC)", 1, false, &|run| run.started_at.map(to_the_minute).unwrap_or_default()),
        column("TOOK", 2, true, &|run| {
            let took = run.started_at.zip(run.ended_at).map(|(start, end)| between(start, end));
            took.map(duration::text).unwrap_or_default()
        }),
        column("CONFIG", 4, false, &ListedRun::of),
        column("STATE", 0, false, &|run| run.state().to_owned()),
        column("COLLECTED", 0, false, &|run| {
            let counts = run.counts.map(|counts| (number(counts.collected), number(counts.planned)));
            counts.map_or_else(|| "?".into(), |(collected, planned)| format!("{collected} of {planned}"))
        }),
        column("SIZE", 3, true, &|run| size(run.bytes_on_disk)),
    ];
    fit(&mut table, look.width);
    let mut lines = vec![look.paint(Style::Bold, &line(&table, |column| column.head))];
    let room = look.width.map(|width| width.saturating_sub(whole_width(&table) + GAP));
    for (at, run) in runs.iter().enumerate() {
        let mut text = line(&table, |column| &column.cells[at]);
        let note = run.note();
        if note.is_empty() {
            lines.push(text);
        } else if room.is_none_or(|room| columns(&note) <= room) {
            let padding = (whole_width(&table) + GAP).saturating_sub(columns(&text));
            text.push_str(&" ".repeat(padding));
            lines.push(text + &note);
        } else {
            lines.push(text);
            lines.extend(look.wrapped(INDENT, INDENT, &note));
        }
    }
    lines
}

/// Shortens and leaves out columns until a line fits.
fn fit(table: &mut Vec<Column>, width: Option<usize>) {
    let Some(width) = width else { return };
    let over = whole_width(table).saturating_sub(width);
    if let Some(of) = table.iter_mut().find(|column| column.head == "CONFIG").filter(|_| over > 0) {
        let room = of.width().saturating_sub(over).max(OF_WIDTH.1);
        for cell in &mut of.cells {
            *cell = shortened(cell, room).into_owned();
        }
    }
    while whole_width(table) > width {
        let next = table.iter().enumerate().filter(|(_, column)| column.leave_out > 0);
        let Some((at, _)) = next.min_by_key(|(_, column)| column.leave_out) else { return };
        table.remove(at);
    }
}

fn whole_width(table: &[Column]) -> usize {
    table.iter().map(|column| column.width() + GAP).sum::<usize>().saturating_sub(GAP)
}

fn line<'a>(table: &'a [Column], cell: impl Fn(&'a Column) -> &'a str) -> String {
    let mut text = String::new();
    for column in table {
        let cell = cell(column);
        let padding = " ".repeat(column.width().saturating_sub(columns(cell)));
        let gap = " ".repeat(GAP);
        if column.is_number {
            text.extend([&padding, cell, &gap]);
        } else {
            text.extend([cell, &padding, &gap]);
        }
    }
    text.trim_end().to_owned()
}

/// `2026-11-22 09:30`, in UTC.
fn to_the_minute(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
    in_utc(at).format(format).unwrap_or_else(|_| at.to_string())
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::outcome::Outcome;
    use time::macros::datetime;

    use super::*;

    fn run(id: &str, state: ListedState, outcome: Option<RunOutcome>) -> ListedRun {
        let mut counts = OutcomeCounts::default();
        counts.add_many(Outcome::Verified, 9_167);
        counts.add_many(Outcome::Incomplete, 418);
        ListedRun {
            run_id: id.parse().unwrap(),
            journal: None,
            dir: format!("runs/{id}"),
            started_at: Some(datetime!(2026-11-30 00:28:18 UTC)),
            ended_at: outcome.map(|_| datetime!(2026-11-30 00:30:28 UTC)),
            config: Some("/srv/fleetlogs.toml".into()),
            snapshot: None,
            state,
            outcome,
            counts: Some(ListedCounts::new(counts, 9_167)),
            partitions: None,
            accounts_not_listed: Some(0),
            bytes_on_disk: 7_340_032,
            latest: false,
            why: None,
        }
    }

    fn runs() -> Vec<ListedRun> {
        let budget = RunOutcome::BudgetSpent;
        vec![
            ListedRun { latest: true, ..run("20261130T002818Z-5e62", ListedState::Running, None) },
            ListedRun {
                accounts_not_listed: Some(1),
                snapshot: Some(SnapshotName::new("nightly-with-a-rather-long-name")),
                ..run("20261129T002818Z-0001", ListedState::Ended, Some(RunOutcome::Partial))
            },
            run("20261128T002818Z-0001", ListedState::Ended, Some(RunOutcome::NothingCollected)),
            run("20261127T002818Z-0001", ListedState::Stopped, Some(budget)),
            run("20261126T002818Z-0001", ListedState::Interrupted, Some(RunOutcome::Interrupted)),
            ListedRun {
                started_at: None,
                config: None,
                counts: None,
                accounts_not_listed: None,
                bytes_on_disk: 0,
                why: Some("it has no plan.json: its process ended before it was \u{1b}[2Jwritten".into()),
                ..run("20261125T002818Z-0001", ListedState::Unreadable, None)
            },
        ]
    }

    #[test]
    fn the_list_is_as_wide_as_the_terminal() {
        let lines = |width| run_lines(&runs(), &Look { width, ..Look::default() }).join("\n");
        insta::assert_snapshot!(lines(None), @r"
        RUN                      STARTED (UTC)       TOOK  CONFIG                    STATE              COLLECTED          SIZE
        20261130T002818Z-5e62 *  2026-11-30 00:28          fleetlogs.toml            running            9,167 of 9,585  7.0 MiB
        20261129T002818Z-0001    2026-11-30 00:28  2m 10s  nightly-with…r-long-name  partial            9,167 of 9,585  7.0 MiB  1 account not listed
        20261128T002818Z-0001    2026-11-30 00:28  2m 10s  fleetlogs.toml            nothing collected  9,167 of 9,585  7.0 MiB
        20261127T002818Z-0001    2026-11-30 00:28  2m 10s  fleetlogs.toml            budget spent       9,167 of 9,585  7.0 MiB
        20261126T002818Z-0001    2026-11-30 00:28  2m 10s  fleetlogs.toml            interrupted        9,167 of 9,585  7.0 MiB
        20261125T002818Z-0001                                                        unreadable         ?                   0 B  it has no plan.json: its process ended before it was \u{1b}[2Jwritten
        ");
        insta::assert_snapshot!(lines(Some(119)), @r"
        RUN                      STARTED (UTC)       TOOK  CONFIG                    STATE              COLLECTED          SIZE
        20261130T002818Z-5e62 *  2026-11-30 00:28          fleetlogs.toml            running            9,167 of 9,585  7.0 MiB
        20261129T002818Z-0001    2026-11-30 00:28  2m 10s  nightly-with…r-long-name  partial            9,167 of 9,585  7.0 MiB
            1 account not listed
        20261128T002818Z-0001    2026-11-30 00:28  2m 10s  fleetlogs.toml            nothing collected  9,167 of 9,585  7.0 MiB
        20261127T002818Z-0001    2026-11-30 00:28  2m 10s  fleetlogs.toml            budget spent       9,167 of 9,585  7.0 MiB
        20261126T002818Z-0001    2026-11-30 00:28  2m 10s  fleetlogs.toml            interrupted        9,167 of 9,585  7.0 MiB
        20261125T002818Z-0001                                                        unreadable         ?                   0 B
            it has no plan.json: its process ended before it was \u{1b}[2Jwritten
        ");
        insta::assert_snapshot!(lines(Some(79)), @r"
        RUN                      CONFIG        STATE              COLLECTED
        20261130T002818Z-5e62 *  fleetl….toml  running            9,167 of 9,585
        20261129T002818Z-0001    nightl…-name  partial            9,167 of 9,585
            1 account not listed
        20261128T002818Z-0001    fleetl….toml  nothing collected  9,167 of 9,585
        20261127T002818Z-0001    fleetl….toml  budget spent       9,167 of 9,585
        20261126T002818Z-0001    fleetl….toml  interrupted        9,167 of 9,585
        20261125T002818Z-0001                  unreadable         ?
            it has no plan.json: its process ended before it was \u{1b}[2Jwritten
        ");
        insta::assert_snapshot!(lines(Some(40)), @r"
        RUN                      STATE              COLLECTED
        20261130T002818Z-5e62 *  running            9,167 of 9,585
        20261129T002818Z-0001    partial            9,167 of 9,585
            1 account not listed
        20261128T002818Z-0001    nothing collected  9,167 of 9,585
        20261127T002818Z-0001    budget spent       9,167 of 9,585
        20261126T002818Z-0001    interrupted        9,167 of 9,585
        20261125T002818Z-0001    unreadable         ?
            it has no plan.json: its process
            ended before it was \u{1b}[2Jwritten
        ");
        for width in 60..140 {
            for line in lines(Some(width)).lines() {
                assert!(columns(line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_program_gets_every_member() {
        let json = |at: usize| serde_json::to_string_pretty(&runs()[at]).unwrap();
        insta::assert_snapshot!(json(1), @r#"
        {
          "run_id": "20261129T002818Z-0001",
          "dir": "runs/20261129T002818Z-0001",
          "started_at": "2026-11-30T00:28:18.000Z",
          "ended_at": "2026-11-30T00:30:28.000Z",
          "config": "/srv/fleetlogs.toml",
          "snapshot": "nightly-with-a-rather-long-name",
          "state": "ended",
          "outcome": "partial",
          "counts": {
            "planned": 9585,
            "verified": 9167,
            "adopted": 0,
            "accepted": 0,
            "incomplete": 418,
            "empty": 0,
            "in-doubt": 0,
            "failed": 0,
            "gone": 0,
            "not-sent": 0
          },
          "accounts_not_listed": 1,
          "bytes_on_disk": 7340032,
          "latest": false,
          "why": null
        }
        "#);
        insta::assert_snapshot!(json(5), @r#"
        {
          "run_id": "20261125T002818Z-0001",
          "dir": "runs/20261125T002818Z-0001",
          "started_at": null,
          "ended_at": null,
          "config": null,
          "snapshot": null,
          "state": "unreadable",
          "outcome": null,
          "counts": null,
          "accounts_not_listed": null,
          "bytes_on_disk": 0,
          "latest": false,
          "why": "it has no plan.json: its process ended before it was \u001b[2Jwritten"
        }
        "#);
    }
}
