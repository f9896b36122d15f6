//! `fleetlogs schedule CONFIG --list`: when each snapshot runs next, and how it went last.

use std::fmt::Write as _;

use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::schedule::overview::{SnapshotView, overview};
use fleetlogs_engine::schedule::state::Store;
use fleetlogs_engine::schedule::state::runs::PastRun;
use fleetlogs_engine::schedule::timetable;
use fleetlogs_model::duration;
use fleetlogs_model::ids::RunId;
use fleetlogs_model::service::NodeState;
use fleetlogs_model::timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::args::Output;
use crate::config::{Settings, SnapshotSettings};
use crate::daemon::{Holder, Lock, Locked, state_of, state_path};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{as_json, print, print_lines};

pub(super) async fn list(settings: &Settings, output: &Output) -> Result<Exit, CliError> {
    let now = Clock::System.now();
    let rules: Vec<_> = settings.snapshots.iter().map(|snapshot| snapshot.rule.clone()).collect();
    let views = match state_of(settings).await? {
        Some(state) => state.read(|state| overview(state, &rules, now)).await?,
        None => Store::nothing()?.read(|state| overview(state, &rules, now)).await?,
    };
    if output.json {
        let snapshots = views.iter().zip(&settings.snapshots);
        let snapshots = snapshots.map(|(view, snapshot)| document(view, snapshot)).collect();
        return print(&as_json(&Listing {
            schema: "fleetlogs.schedule/v1",
            at: timestamp::text(now),
            snapshots,
        })?);
    }
    // The lock is of this machine's processes.
    let is_worked_on = settings.schedule.lease.is_some()
        || views.iter().all(|view| view.running.is_none())
        || matches!(Lock::take(&state_path(settings), Holder::Once), Ok(Locked::Theirs(..)));
    let mut text = String::new();
    for (at, (view, snapshot)) in views.iter().zip(&settings.snapshots).enumerate() {
        if at > 0 {
            text.push('\n');
        }
        tell(&mut text, view, snapshot, now, is_worked_on);
    }
    print_lines(&text)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Listing {
    schema: &'static str,
    at: String,
    snapshots: Vec<Value>,
}

fn document(view: &SnapshotView, snapshot: &SnapshotSettings) -> Value {
    let run = |run: &Option<PastRun>| run.as_ref().map(of_run);
    json!({
        "name": view.name,
        "cron": snapshot.cron,
        "time_zone": snapshot.time_zone,
        "on_state": snapshot.watch.as_ref().map(|watch| watch.states.iter().map(NodeState::as_str).collect::<Vec<_>>()),
        "next": view.next.map(|tick| json!({
            "due": timestamp::text(tick.due), "begins_at": timestamp::text(tick.begins_at),
        })),
        "running": run(&view.running),
        "waiting": run(&view.waiting),
        "last": run(&view.last),
        "last_good": run(&view.last_good),
    })
}

fn of_run(run: &PastRun) -> Value {
    json!({
        "trigger": run.snapshot.trigger,
        "due": timestamp::text(run.snapshot.due),
        "status": run.status.as_str(),
        "run_id": run.run_id.as_ref().map(RunId::as_str),
        "run_dir": run.dir.as_ref().map(|dir| dir.display().to_string()),
        "started_at": run.started_at.map(timestamp::text),
        "ended_at": run.ended_at.map(timestamp::text),
        "outcome": run.outcome,
        "exit_code": run.exit_code,
        "reason": run.reason,
    })
}

/// Some lines for people.
fn tell(
    text: &mut String,
    view: &SnapshotView,
    snapshot: &SnapshotSettings,
    now: OffsetDateTime,
    is_worked_on: bool,
) {
    let _ = writeln!(text, "{}", view.name);
    let mut line = |what: &str, said: &str| {
        let _ = writeln!(text, "  {what:<11}{said}");
    };
    if let Some(cron) = &snapshot.cron {
        line("cron", &format!("{cron} ({})", snapshot.time_zone));
    }
    if let Some(watch) = &snapshot.watch {
        let states: Vec<_> = watch.states.iter().map(NodeState::as_str).collect();
        line("on state", &states.join(", "));
    }
    match view.next {
        Some(tick) => {
            let at = timetable::local(tick.begins_at, &snapshot.time_zone)
                .unwrap_or_else(|| timestamp::text(tick.begins_at));
            line("next", &format!("{at}, in {}", length_text(tick.begins_at - now)));
        }
        None if snapshot.watch.is_some() => line("next", "when a node enters one of these states"),
        None => line("next", "on an alert or with --once"),
    }
    let of = |run: &PastRun| {
        let at = run.ended_at.or(run.started_at).unwrap_or(run.snapshot.due);
        let how = run.outcome.map_or_else(|| run.status.as_str(), |outcome| outcome.as_str());
        let id = run.run_id.as_ref().map(|id| format!(", run {id}")).unwrap_or_default();
        let why = run.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{how}, {} ago{id}, by {}{why}", length_text(now - at), run.snapshot.trigger)
    };
    match &view.running {
        Some(run) if is_worked_on => line("running", &of(run)),
        Some(run) => line("stopped", &format!("{}; the next start resumes it", of(run))),
        None => {}
    }
    if let Some(run) = &view.waiting {
        let at = timestamp::text(run.snapshot.due);
        line("waiting", &format!("due {at}, by {}", run.snapshot.trigger));
    }
    match &view.last {
        Some(run) => line("last", &of(run)),
        None => line("last", "never"),
    }
    let is_last = |good: &PastRun| view.last.as_ref().is_some_and(|last| last.id == good.id);
    if let Some(good) = view.last_good.as_ref().filter(|good| !is_last(good)) {
        line("last good", &of(good));
    }
}

/// A duration for people. The state may be that of a machine whose clock is ahead: nothing is less than no time.
fn length_text(length: time::Duration) -> String {
    duration::text(length.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::length_text;

    #[test]
    fn a_time_that_has_passed_already_is_no_time() {
        assert_eq!(length_text(time::Duration::seconds(-5)), "0s");
        assert_eq!(length_text(time::Duration::seconds(65)), "1m 05s");
    }
}
