//! The partitions of a run that is shared out, as a table: for `status`.

use fleetlogs_model::ids::AccountName;
use fleetlogs_model::outcome::OutcomeCounts;
use fleetlogs_model::partition_state::PartitionState;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use crate::look::{Look, Style, StyledPart};
use crate::text::{for_terminal, moment, number};
use crate::width::{columns, cut, shortened};

/// Partitions with a line of their own.
const MOST_ROWS: usize = 20;
/// Longest account name that is shown in full; the service allows 24 characters.
const LONGEST_NAME: usize = 24;
/// Longest name of a site that is shown in full.
const LONGEST_SITE: usize = 12;
/// Fewer columns than this are none for a worker: it gets a line of its own.
const NARROWEST_WORKER: usize = 30;
const GAP: &str = "  ";

/// A partition, and where it stands.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionRow {
    /// Its account.
    pub name: AccountName,
    /// The site whose workers take it; none if any worker may.
    pub site: Option<String>,
    /// Where it stands.
    pub state: PartitionState,
    /// Why it was given up or stopped early.
    pub reason: Option<String>,
    /// The process that has it or had it last.
    pub worker: Option<String>,
    /// Since when.
    #[serde(serialize_with = "as_text")]
    pub since: Option<OffsetDateTime>,
    /// How many nodes; none if that is not known.
    pub planned: Option<u64>,
    /// Nodes for which nothing is left to do, and whose files were collected.
    pub collected: u64,
    /// Nodes for which nothing is left to do, and whose files were not collected.
    pub not_collected: u64,
    /// Nodes for which something is left to do.
    pub outstanding: u64,
    /// Its nodes by outcome.
    pub counts: OutcomeCounts,
    /// Upload calls per second over the last seconds; none if nothing is sent.
    pub calls_per_second: Option<f64>,
}

#[expect(clippy::ref_option, reason = "it is what serde calls")]
fn as_text<S: Serializer>(time: &Option<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(fleetlogs_model::timestamp::text).serialize(serializer)
}

/// `4 partitions: 1 silent, 2 at work, 1 done`.
#[must_use]
pub fn partition_counts(rows: &[PartitionRow]) -> String {
    let parts = parts(rows).into_iter().map(|part| part.text);
    format!(
        "{}: {}",
        crate::text::counted(rows.len() as u64, "partition"),
        parts.collect::<Vec<_>>().join(", ")
    )
}

fn parts(rows: &[PartitionRow]) -> Vec<StyledPart> {
    let count = |state| rows.iter().filter(|row| row.state == state).count() as u64;
    let states = PartitionState::ALL.into_iter().map(|state| (state, count(state)));
    let found = states.filter(|(_, count)| *count > 0);
    found
        .map(|(state, count)| {
            StyledPart::new(style_of(state), format!("{} {}", number(count), state.as_str()))
        })
        .collect()
}

fn style_of(state: PartitionState) -> Style {
    match state {
        PartitionState::GivenUp => Style::Bad,
        PartitionState::Silent => Style::Warning,
        PartitionState::AtWork => Style::Active,
        PartitionState::Waiting | PartitionState::NotPlanned => Style::Dim,
        PartitionState::Done => Style::Good,
    }
}

/// The table. If there are many partitions, those to look at come first, and the others are only counted.
pub(crate) fn partition_lines(rows: &[PartitionRow], look: &Look) -> Vec<String> {
    let mut lines = look.flow(2, &crate::text::counted(rows.len() as u64, "partition"), &parts(rows));
    let most = look.height.map_or(MOST_ROWS, |height| (height / 2).clamp(1, MOST_ROWS));
    let mut shown: Vec<&PartitionRow> = rows.iter().collect();
    if shown.len() > most {
        shown.sort_by_key(|row| row.state);
        shown.truncate(most);
    }
    let site = |row: &PartitionRow| {
        row.site
            .as_deref()
            .map(|site| shortened(&for_terminal(site), LONGEST_SITE).into_owned())
            .unwrap_or_default()
    };
    let has_sites = shown.iter().any(|row| row.site.is_some());
    let cells: Vec<Vec<String>> = shown
        .iter()
        .map(|row| {
            let planned = row.planned.map_or_else(|| "?".to_owned(), number);
            let rate = row.calls_per_second.map_or_else(String::new, |rate| format!("{rate:.1}"));
            let mut cells = vec![shortened(&for_terminal(row.name.as_str()), LONGEST_NAME).into_owned()];
            cells.extend(has_sites.then(|| site(row)));
            cells.push(row.state.as_str().to_owned());
            cells.extend([
                planned,
                number(row.collected),
                number(row.not_collected),
                number(row.outstanding),
                rate,
            ]);
            cells
        })
        .collect();
    let mut heads = vec!["account"];
    heads.extend(has_sites.then_some("site"));
    heads.extend(["state", "nodes", "collected", "not", "left", "calls/s"]);
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(at, head)| cells.iter().map(|cells| columns(&cells[at])).max().unwrap_or(0).max(head.len()))
        .collect();
    let texts = if has_sites { 3 } else { 2 };
    let line = |cells: &[&str]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            let pad = " ".repeat(width.saturating_sub(columns(cell)));
            if at < texts { format!("{cell}{pad}") } else { format!("{pad}{cell}") }
        });
        format!("{GAP}{}", padded.collect::<Vec<_>>().join(GAP))
    };
    let taken = GAP.len() * (widths.len() + 1) + widths.iter().sum::<usize>();
    let room = look.width.map_or(usize::MAX, |width| width.saturating_sub(taken));
    let is_beside = room >= NARROWEST_WORKER;
    let head = line(&heads);
    let head = if is_beside { format!("{head}{GAP}worker") } else { head };
    lines.push(look.paint(Style::Dim, head.trim_end()));
    for (row, cells) in shown.iter().zip(&cells) {
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        let mut text = line(&cells);
        let state = row.state.as_str();
        let worker = worker(row);
        if is_beside && let Some(worker) = &worker {
            text = format!("{text}{GAP}{}", cut(worker, room));
        }
        // The first place that has it is the name of the account, if that is called so.
        let begins = GAP.len() + widths[..texts - 1].iter().map(|width| width + GAP.len()).sum::<usize>();
        let at = text.char_indices().scan(0, |seen, (at, char)| {
            let before = *seen;
            *seen += columns(char.encode_utf8(&mut [0; 4]));
            Some((at, before))
        });
        if let Some((at, _)) = at.clone().find(|(_, column)| *column == begins) {
            let painted = look.paint(style_of(row.state), state);
            text.replace_range(at..at + state.len(), &painted);
        }
        lines.push(text.trim_end().to_owned());
        if !is_beside && let Some(worker) = &worker {
            lines.extend(look.wrapped(4, 6, worker));
        }
        if let Some(reason) = &row.reason {
            lines.extend(look.wrapped(4, 6, &for_terminal(reason)));
        }
    }
    if rows.len() > shown.len() {
        let more =
            format!("{GAP}and {}", crate::text::counted((rows.len() - shown.len()) as u64, "more partition"));
        lines.push(look.paint(Style::Dim, &more));
    }
    lines
}

fn worker(row: &PartitionRow) -> Option<String> {
    let worker = for_terminal(row.worker.as_deref()?).into_owned();
    Some(match row.since {
        Some(since) => format!("{worker}, since {} UTC", moment(since)),
        None => worker,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn row(name: &str, site: Option<&str>, state: PartitionState) -> PartitionRow {
        PartitionRow {
            name: AccountName::new(name),
            site: site.map(str::to_owned),
            state,
            reason: None,
            worker: None,
            since: None,
            planned: Some(1200),
            collected: 0,
            not_collected: 0,
            outstanding: 1200,
            counts: OutcomeCounts::default(),
            calls_per_second: None,
        }
    }

    fn rows() -> Vec<PartitionRow> {
        let since = Some(datetime!(2026-11-22 09:30:05 UTC));
        let by = |process: u32, row: PartitionRow| PartitionRow {
            worker: Some(format!("process {process} on vm-{process}")),
            since,
            ..row
        };
        vec![
            PartitionRow {
                collected: 1190,
                not_collected: 10,
                outstanding: 0,
                ..by(1, row("contoso", None, PartitionState::Done))
            },
            PartitionRow {
                calls_per_second: Some(19.97),
                ..by(2, row("fabrikam", None, PartitionState::AtWork))
            },
            by(3, row("silent", Some("west"), PartitionState::Silent)),
            PartitionRow {
                planned: None,
                outstanding: 0,
                ..row("private", Some("west"), PartitionState::NotPlanned)
            },
            PartitionRow {
                reason: Some(
                    "given up after it failed 5 times without progress; the last error: no\u{1b}[2J".into(),
                ),
                ..by(4, row("poison", None, PartitionState::GivenUp))
            },
            row("waiting", None, PartitionState::Waiting),
        ]
    }

    #[test]
    fn each_partition_has_a_line_with_its_worker() {
        let look = |width| Look { width, ..Look::default() };
        insta::assert_snapshot!(partition_lines(&rows(), &look(None)).join("\n"), @r"
        6 partitions: 1 given up, 1 silent, 1 at work, 1 waiting, 1 not planned, 1 done
        account   site  state        nodes  collected  not   left  calls/s  worker
        contoso         done         1,200      1,190   10      0           process 1 on vm-1, since 2026-11-22 09:30:05 UTC
        fabrikam        at work      1,200          0    0  1,200     20.0  process 2 on vm-2, since 2026-11-22 09:30:05 UTC
        silent    west  silent       1,200          0    0  1,200           process 3 on vm-3, since 2026-11-22 09:30:05 UTC
        private   west  not planned      ?          0    0      0
        poison          given up     1,200          0    0  1,200           process 4 on vm-4, since 2026-11-22 09:30:05 UTC
          given up after it failed 5 times without progress; the last error: no\u{1b}[2J
        waiting         waiting      1,200          0    0  1,200
        ");
        insta::assert_snapshot!(partition_lines(&rows()[1..5], &look(Some(79))).join("\n"), @r"
        4 partitions: 1 given up, 1 silent, 1 at work, 1 not planned
        account   site  state        nodes  collected  not   left  calls/s
        fabrikam        at work      1,200          0    0  1,200     20.0
          process 2 on vm-2, since 2026-11-22 09:30:05 UTC
        silent    west  silent       1,200          0    0  1,200
          process 3 on vm-3, since 2026-11-22 09:30:05 UTC
        private   west  not planned      ?          0    0      0
        poison          given up     1,200          0    0  1,200
          process 4 on vm-4, since 2026-11-22 09:30:05 UTC
          given up after it failed 5 times without progress; the last error:
            no\u{1b}[2J
        ");
        assert_eq!(partition_counts(&rows()[..2]), "2 partitions: 1 at work, 1 done");
    }

    #[test]
    fn of_many_partitions_those_to_look_at_are_shown_in_colour() {
        let mut rows = rows();
        rows.extend((0..40).map(|at| row(&format!("done-{at}"), None, PartitionState::Done)));
        let look = Look { width: Some(120), height: Some(8), styled: true, links: false };
        insta::assert_snapshot!(partition_lines(&rows, &look).join("\n").replace('\u{1b}', "^"), @r"
          46 partitions: ^[31m1 given up^[0m, ^[33m1 silent^[0m, ^[36m1 at work^[0m, ^[2m1 waiting^[0m, ^[2m1 not planned^[0m, ^[32m41 done^[0m
        ^[2m  account   site  state     nodes  collected  not   left  calls/s  worker^[0m
          poison          ^[31mgiven up^[0m  1,200          0    0  1,200           process 4 on vm-4, since 2026-11-22 09:30:05 UTC
            given up after it failed 5 times without progress; the last error: no\u{1b}[2J
          silent    west  ^[33msilent^[0m    1,200          0    0  1,200           process 3 on vm-3, since 2026-11-22 09:30:05 UTC
          fabrikam        ^[36mat work^[0m   1,200          0    0  1,200     20.0  process 2 on vm-2, since 2026-11-22 09:30:05 UTC
          waiting         ^[2mwaiting^[0m   1,200          0    0  1,200
        ^[2m  and 42 more partitions^[0m
        ");
    }
}
