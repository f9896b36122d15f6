//! The tables `[[snapshot]]`: runs that a schedule, a node state or an alert starts. Only `fleetlogs schedule` and
//! `fleetlogs history` use them.

use std::time::Duration;

use fleetlogs_engine::schedule::timetable::{InvalidTimetable, Timetable, zone_is_known};
use fleetlogs_engine::schedule::{CatchUp, Overlap, Rule};
use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::service::NodeState;
use globset::Glob;

use super::reader::{ListedMistake, Table, Value};
use super::selection::{PATTERN_HELP, node_states};
use crate::args::Pick;

/// One snapshot.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotSettings {
    /// When the snapshot runs, and the rules for overlap and catch-up.
    pub(crate) rule: Rule,
    /// The cron expression as the config has it, for people.
    pub(crate) cron: Option<String>,
    /// IANA name.
    pub(crate) time_zone: String,
    pub(crate) window: SnapshotWindow,
    /// Which part of the config's selection the snapshot collects.
    pub(crate) pick: Pick,
    /// Which node states start a capture.
    pub(crate) watch: Option<WatchSettings>,
    pub(crate) retention: Retention,
}

impl SnapshotSettings {
    pub(crate) fn name(&self) -> &SnapshotName {
        &self.rule.name
    }
}

/// The time window of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotWindow {
    /// The window of `[window]`.
    OfConfig,
    /// This long, up to the time when the run was due.
    Last(Duration),
    /// For each node, since its last verified window ended.
    SinceLast {
        /// How long before that end the window begins.
        margin: Duration,
        /// The longest window. A longer one loses its beginning, which becomes a gap that `history` lists.
        longest: Duration,
    },
}

/// Nodes are captured when they enter one of these states, once per occurrence.
#[derive(Clone, Debug)]
pub(crate) struct WatchSettings {
    pub(crate) states: Vec<NodeState>,
    /// The time between two rounds of polling.
    pub(crate) every: Duration,
    /// How long nodes are gathered into one run, counted from the first.
    pub(crate) gather: Duration,
    /// After capturing a node, ignore it in the same state for this long; zero means do not ignore it.
    pub(crate) quiet: Duration,
    /// A node that has been in the state for longer than this when it is first seen is not captured.
    pub(crate) max_age: Duration,
}

/// The retention of the runs of a snapshot. Without limits everything is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    /// How many run directories to keep, the newest first.
    pub(crate) runs: Option<u32>,
    /// The maximum age of a run directory.
    pub(crate) age: Option<Duration>,
    /// Whether the container that a run created for itself is deleted with its run directory.
    pub(crate) containers: bool,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

/// All snapshots. None if there was a mistake.
pub(super) fn snapshots(root: &Table<'_>) -> Option<Vec<SnapshotSettings>> {
    let mut seen: Vec<(String, usize)> = Vec::new();
    let mut all = Some(Vec::new());
    for table in root.tables("snapshot") {
        match (snapshot(table, &mut seen), &mut all) {
            (Some(snapshot), Some(all)) => all.push(snapshot),
            _ => all = None,
        }
    }
    all
}

fn snapshot(table: Table<'_>, seen: &mut Vec<(String, usize)>) -> Option<SnapshotSettings> {
    let name = table.require("name", "\"nightly\"").and_then(|value| name(&value, seen));
    let jitter = or(&table, "jitter", Duration::ZERO, duration_or_zero);
    let (cron, time_zone, timetable) = timetable(&table, name.as_ref(), jitter);
    let overlap = or(&table, "overlap", Overlap::Skip, |value| {
        word(value, &[("skip", Overlap::Skip), ("queue", Overlap::Queue)])
    });
    let catch_up = or(&table, "catch_up", CatchUp::Once, |value| {
        word(value, &[("no", CatchUp::No), ("once", CatchUp::Once), ("each", CatchUp::Each)])
    });
    let catch_up_within = or(&table, "catch_up_within", DAY, duration);
    let window = window(&table);
    let pick = pick(&table);
    let watch = watch(&table);
    let retention = retention(&table);
    table.finish();
    let rule = Rule {
        name: name?,
        timetable: timetable?,
        overlap: overlap?,
        catch_up: catch_up?,
        catch_up_within: catch_up_within?,
    };
    Some(SnapshotSettings {
        rule,
        cron: cron?,
        time_zone: time_zone?,
        window: window?,
        pick: pick?,
        watch: watch.ok()?,
        retention: retention?,
    })
}

/// Reads the name of a snapshot. It must be usable in paths, commands and labels of metrics.
fn name(value: &Value<'_>, seen: &mut Vec<(String, usize)>) -> Option<SnapshotName> {
    let text = value.string()?;
    let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    if text.is_empty() || text.len() > 63 || !text.chars().all(plain) || text.starts_with('-') {
        let help = "use up to 63 lower-case letters, digits and hyphens";
        value.wrong(format!("`{text}` cannot be the name of a snapshot"), Some(help.into()));
        return None;
    }
    if let Some((_, line)) = seen.iter().find(|(known, _)| known == text) {
        value.wrong(
            format!("two snapshots are named `{text}`; the first is on line {line}"),
            Some("give each its own name".into()),
        );
        return None;
    }
    seen.push((text.to_owned(), value.line()));
    Some(SnapshotName::new(text))
}

/// The cron expression, the time zone and the timetable.
type TimetableKeys = (Option<Option<String>>, Option<String>, Option<Option<Timetable>>);

fn timetable(table: &Table<'_>, name: Option<&SnapshotName>, jitter: Option<Duration>) -> TimetableKeys {
    let zone_value = table.get("time_zone");
    let zone = zone_value.as_ref().map_or(Some("UTC".to_owned()), time_zone);
    let Some(cron_value) = table.get("cron") else {
        // `overlap` also applies to `--once`.
        for key in ["jitter", "catch_up", "catch_up_within"] {
            if table.has(key) {
                table.wrong(format!("`{key}` needs `cron`"), "remove it, or add `cron`");
            }
        }
        return (Some(None), zone, Some(None));
    };
    let Some((text, jitter)) = cron_value.string().zip(jitter) else { return (None, None, None) };
    let (unnamed, utc) = (SnapshotName::new(""), "UTC".to_owned());
    // The expression is checked even if the zone is wrong.
    let in_zone = zone.as_ref().unwrap_or(&utc);
    match Timetable::new(name.unwrap_or(&unnamed), text, in_zone, jitter) {
        Ok(timetable) => (Some(Some(text.to_owned())), zone, Some(Some(timetable))),
        Err(error) => {
            let help = "write minute, hour, day of month, month and day of week, such as \"15 2 * * *\", or \"@daily\"";
            cron_value.wrong(error.to_string(), Some(help.into()));
            (None, None, None)
        }
    }
}

fn time_zone(value: &Value<'_>) -> Option<String> {
    let zone = value.string()?;
    if !zone_is_known(zone) {
        value.wrong(InvalidTimetable::Zone.to_string(), None);
        return None;
    }
    Some(zone.to_owned())
}

fn window(table: &Table<'_>) -> Option<SnapshotWindow> {
    let value = table.get("window");
    let since_last = value.as_ref().and_then(Value::as_str) == Some("since-last");
    let margin = or(table, "margin", MINUTE * 10, duration_or_zero);
    let longest = or(table, "longest", DAY * 7, duration);
    if longest.is_some_and(|longest| longest < MINUTE) {
        table.wrong("`longest` is less than a minute", "the service accepts windows of a minute or more");
        return None;
    }
    let Some(value) = value else { return Some(SnapshotWindow::OfConfig) };
    if since_last {
        return Some(SnapshotWindow::SinceLast { margin: margin?, longest: longest? });
    }
    for key in ["margin", "longest"] {
        if table.has(key) {
            table.wrong(format!("`{key}` needs window = \"since-last\""), "remove it");
        }
    }
    value.duration().map(SnapshotWindow::Last)
}

/// The keys that narrow the selection, like the options of the command line.
fn pick(table: &Table<'_>) -> Option<Pick> {
    let globs = |key| match table.get(key) {
        None => Some(vec![]),
        Some(value) => value.strings().and_then(|texts| {
            let glob = |text: &str| match Glob::new(text) {
                Ok(glob) => Some(glob),
                Err(error) => {
                    value.wrong(format!("not a pattern: {error}"), Some(PATTERN_HELP.into()));
                    None
                }
            };
            texts.into_iter().map(glob).collect::<Option<Vec<_>>>()
        }),
    };
    let (accounts, pools, nodes) = (globs("accounts"), globs("pools"), globs("nodes"));
    let states = table.get("states").map_or(Some(vec![]), |value| node_states(&value));
    let jobs = table.get("jobs").map_or(Some(vec![]), |value| {
        value.strings().map(|jobs| jobs.into_iter().map(str::to_owned).collect())
    });
    Some(Pick { accounts: accounts?, pools: pools?, nodes: nodes?, states: states?, jobs: jobs? })
}

fn watch(table: &Table<'_>) -> Result<Option<WatchSettings>, ListedMistake> {
    let every = or(table, "every", MINUTE * 2, duration);
    let gather = or(table, "gather", MINUTE, duration_or_zero);
    let quiet = or(table, "quiet", MINUTE * 15, duration_or_zero);
    let max_age = or(table, "max_age", DAY, duration);
    let Some(value) = table.get("on_state") else {
        for key in ["every", "gather", "quiet", "max_age"] {
            if table.has(key) {
                table.wrong(format!("`{key}` needs `on_state`"), "remove it, or add `on_state`");
            }
        }
        return Ok(None);
    };
    if table.has("states") {
        table.wrong(
            "`states` and `on_state` cannot be combined",
            "remove `states`: `on_state` names the states to capture",
        );
    }
    let states = node_states(&value).ok_or(ListedMistake)?;
    if states.is_empty() {
        value.wrong("the list of states is empty", Some("remove the key, or add one".into()));
        return Err(ListedMistake);
    }
    let times = every.zip(gather).zip(quiet.zip(max_age));
    let ((every, gather), (quiet, max_age)) = times.ok_or(ListedMistake)?;
    Ok(Some(WatchSettings { states, every, gather, quiet, max_age }))
}

fn retention(table: &Table<'_>) -> Option<Retention> {
    let runs = table.optional("keep_runs", |value| value.whole(&(1..=1_000_000)));
    let age = table.optional("keep_for", Value::duration);
    let containers = table.get("delete_containers").map_or(Some(false), |value| value.boolean());
    let retention = Retention { runs: runs.ok()?, age: age.ok()?, containers: containers? };
    if retention.containers && retention.runs.is_none() && retention.age.is_none() {
        table.wrong("`delete_containers` needs `keep_runs` or `keep_for`", "add one of them");
        return None;
    }
    Some(retention)
}

/// Reads a key that has a default.
fn or<T>(
    table: &Table<'_>,
    key: &'static str,
    otherwise: T,
    read: impl FnOnce(&Value<'_>) -> Option<T>,
) -> Option<T> {
    table.get(key).map_or(Some(otherwise), |value| read(&value))
}

fn duration(value: &Value<'_>) -> Option<Duration> {
    value.duration()
}

/// Reads a duration that may be zero: `"0s"`.
fn duration_or_zero(value: &Value<'_>) -> Option<Duration> {
    if value.as_str().is_some_and(|text| text.trim_end_matches(char::is_alphabetic).trim() == "0") {
        return Some(Duration::ZERO);
    }
    value.duration()
}

fn word<T: Copy>(value: &Value<'_>, known: &[(&str, T)]) -> Option<T> {
    let text = value.string()?;
    let found = known.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
    if found.is_none() {
        let words: Vec<_> = known.iter().map(|(word, _)| format!("`{word}`")).collect();
        value
            .wrong(format!("`{text}` is not a value of this key"), Some(format!("use {}", words.join(", "))));
    }
    found
}
