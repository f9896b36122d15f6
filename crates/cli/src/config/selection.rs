//! Which pools and nodes of an account are selected: keys of `[[account]]`.

use fleetlogs_engine::jobs::JobFilter;
use fleetlogs_engine::select::{NodeFilter, PoolFilter, Selection};
use fleetlogs_model::service::NodeState;
use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use super::reader::{Table, Value, nearest};

/// Help for a pattern that cannot be read.
pub(super) const PATTERN_HELP: &str =
    "use `*`, `?`, `[ab]` and `{a,b}`; write a bracket or brace itself as `[[]` or `[{]`";

/// Reads every key before it fails.
pub(super) fn selection(table: &Table<'_>) -> Option<Selection> {
    let ids = table.get("pools").map_or_else(|| globs(&["*"], |_| {}), |value| glob_list(&value));
    let ids_written = table.get("pools").and_then(|value| value.texts_written()).unwrap_or_default();
    let exclude = table.get("exclude_pools").map_or_else(|| globs(&[], |_| {}), |value| glob_list(&value));
    let metadata = match table.get("pool_metadata") {
        None => Some(vec![]),
        Some(value) => value.texts().and_then(|texts| {
            texts.into_iter().map(|(name, value)| Some((name, pattern(&value)?))).collect()
        }),
    };
    let allocation_states = table.optional("allocation_states", |value| {
        let known = ["steady", "resizing", "stopping"];
        let states = value.strings()?;
        for state in &states {
            if !known.contains(&state.to_lowercase().as_str()) {
                let help = format!("use {}", known.join(", "));
                value.wrong(format!("`{state}` is not an allocation state"), Some(help));
                return None;
            }
        }
        Some(states.into_iter().map(str::to_lowercase).collect())
    });
    let vm_sizes = table.optional("vm_sizes", lower_globs);
    let os = table.optional("os", lower_globs);
    let nodes = table.get("nodes").map_or(Some(NodeFilter::default()), |value| nodes(&value));
    let jobs = table.get("jobs").map_or(Some(vec![]), |value| jobs(&value));
    Some(Selection {
        jobs: jobs?,
        exact: None,
        pools: PoolFilter {
            ids: ids?,
            exclude: exclude?,
            only: None,
            ids_written,
            only_written: vec![],
            metadata: metadata?,
            allocation_states: allocation_states.ok()?,
            vm_sizes: vm_sizes.ok()?,
            os: os.ok()?,
        },
        nodes: nodes?,
    })
}

/// Jobs by id, or by tables that also select their tasks.
fn jobs(value: &Value<'_>) -> Option<Vec<JobFilter>> {
    let job = |item: &Value<'_>| {
        if let Some(id) = item.as_str() {
            return Some(JobFilter { id: id.to_owned(), tasks: None, since: None, until: None });
        }
        let table = item.table()?;
        let id = table.require("id", "\"nightly\"").and_then(|value| value.string().map(str::to_owned));
        let tasks = table.optional("tasks", glob_list);
        let [since, until] =
            ["since", "until"].map(|key| table.optional(key, |value: &Value<'_>| value.moment()));
        if let (Ok(Some(since)), Ok(Some(until))) = (&since, &until)
            && since > until
        {
            table.wrong("`until` is before `since`", "swap them");
            return None;
        }
        table.finish();
        Some(JobFilter { id: id?, tasks: tasks.ok()?, since: since.ok()?, until: until.ok()? })
    };
    value.items("an array of jobs", "write it as [\"nightly\"]")?.iter().map(job).collect()
}

fn nodes(value: &Value<'_>) -> Option<NodeFilter> {
    let table = value.table()?;
    let states = table.optional("states", node_states);
    let ids = table.optional("ids", glob_list);
    let exclude = table.optional("exclude", glob_list);
    let dedicated = table.optional("kind", |value| either(value, "dedicated", "spot"));
    let scheduling = table.optional("scheduling", |value| either(value, "enabled", "disabled"));
    let [errors, start_task_failed] =
        ["errors", "start_task_failed"].map(|key| table.optional(key, |value: &Value<'_>| value.boolean()));
    let [older_than, newer_than] =
        ["older_than", "newer_than"].map(|key| table.optional(key, |value: &Value<'_>| value.duration()));
    let limit = table.optional("limit_per_pool", |value| value.whole(&(1..=1_000_000)));
    let seed = table.optional("seed", |value| value.whole(&(0..=u32::MAX)));
    if let (Ok(Some(least)), Ok(Some(most))) = (&older_than, &newer_than)
        && least >= most
    {
        table.wrong("no node is older than `older_than` and newer than `newer_than`", "swap them");
        return None;
    }
    table.finish();
    Some(NodeFilter {
        states: states.ok()?,
        ids: ids.ok()?,
        exclude: exclude.ok()?,
        only: None,
        only_written: vec![],
        dedicated: dedicated.ok()?,
        scheduling: scheduling.ok()?,
        errors: errors.ok()?,
        start_task_failed: start_task_failed.ok()?,
        older_than: older_than.ok()?,
        newer_than: newer_than.ok()?,
        limit_per_pool: limit.ok()?.map(|limit| limit as usize),
        seed: u64::from(seed.ok()?.unwrap_or(0)),
    })
}

/// Reads one of two words; true for the first.
fn either(value: &Value<'_>, yes: &str, no: &str) -> Option<bool> {
    let text = value.string()?;
    if text != yes && text != no {
        let help = format!("write \"{yes}\" or \"{no}\"");
        value.wrong(format!("expected `{yes}` or `{no}`, found `{text}`"), Some(help));
        return None;
    }
    Some(text == yes)
}

pub(super) fn glob_list(value: &Value<'_>) -> Option<GlobSet> {
    let patterns = value.strings()?;
    globs(&patterns, |error| value.wrong(format!("not a pattern: {error}"), Some(PATTERN_HELP.into())))
}

/// Patterns in lower case, for texts whose capitalisation varies in the service.
fn lower_globs(value: &Value<'_>) -> Option<GlobSet> {
    let patterns: Vec<_> = value.strings()?.into_iter().map(str::to_lowercase).collect();
    let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
    globs(&patterns, |error| value.wrong(format!("not a pattern: {error}"), Some(PATTERN_HELP.into())))
}

fn pattern(value: &Value<'_>) -> Option<GlobMatcher> {
    match GlobBuilder::new(value.string()?).build() {
        Ok(glob) => Some(glob.compile_matcher()),
        Err(error) => {
            value.wrong(format!("not a pattern: {error}"), Some(PATTERN_HELP.into()));
            None
        }
    }
}

pub(super) fn globs(patterns: &[&str], mut wrong: impl FnMut(&globset::Error)) -> Option<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        match Glob::new(pattern) {
            Ok(glob) => {
                set.add(glob);
            }
            Err(error) => {
                wrong(&error);
                return None;
            }
        }
    }
    set.build().ok()
}

pub(super) fn node_states(value: &Value<'_>) -> Option<Vec<NodeState>> {
    let state = |item: &Value<'_>| {
        let text = item.string()?;
        let state = NodeState::from(text.to_owned());
        if matches!(state, NodeState::Other(_)) {
            let near = nearest(text, NodeState::known()).map(|near| format!("did you mean `{near}`?"));
            let known = || NodeState::known().collect::<Vec<_>>().join(", ");
            item.wrong(
                format!("`{text}` is not a node state"),
                near.or_else(|| Some(format!("use one of {}", known()))),
            );
            return None;
        }
        Some(state)
    };
    value.items("an array of node states", "write it as [\"idle\", \"running\"]")?.iter().map(state).collect()
}
