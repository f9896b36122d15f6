//! The line with which the daemon starts to work: what it has, and what happens next. Without it, a daemon that waits
//! for its first time looks like one that hangs.

use std::net::SocketAddr;

use fleetlogs_engine::schedule::overview::SnapshotView;
use fleetlogs_engine::schedule::timetable;
use fleetlogs_model::duration;
use fleetlogs_model::service::NodeState;
use fleetlogs_model::timestamp;

use crate::config::SnapshotSettings;
use crate::text::counted;

/// The line, in one sentence without its full stop. `views` are of `snapshots`, in their order.
pub(super) fn starting(
    snapshots: &[SnapshotSettings],
    views: &[SnapshotView],
    listener: Option<SocketAddr>,
) -> String {
    let mut parts = vec![counted(snapshots.len(), "snapshot")];
    let both = || snapshots.iter().zip(views);
    let first = both()
        .filter_map(|(snapshot, view)| Some((snapshot, view.next?)))
        .min_by_key(|(_, next)| next.begins_at);
    parts.push(match first {
        Some((snapshot, next)) => {
            let at = timetable::local(next.begins_at, &snapshot.time_zone);
            format!("next: {} at {}", snapshot.name(), at.unwrap_or_else(|| timestamp::text(next.begins_at)))
        }
        None => "none has a `cron`".into(),
    });
    let (left, waiting) = (
        views.iter().filter(|view| view.running.is_some()).count(),
        views.iter().filter(|view| view.waiting.is_some()).count(),
    );
    if left > 0 {
        parts.push(format!("{} to resume", counted(left, "run")));
    }
    if waiting > 0 {
        parts.push(format!("{} waiting", counted(waiting, "run")));
    }
    for (snapshot, watch) in
        snapshots.iter().filter_map(|snapshot| Some((snapshot, snapshot.watch.as_ref()?)))
    {
        let states: Vec<_> = watch.states.iter().map(NodeState::as_str).collect();
        let every = duration::text(watch.every);
        parts.push(format!("{} watches for {} every {every}", snapshot.name(), states.join(", ")));
    }
    if let Some(address) = listener {
        parts.push(format!("listener on {address}"));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use fleetlogs_engine::schedule::overview::overview;
    use fleetlogs_engine::schedule::state::Store;
    use time::macros::datetime;

    use super::*;
    use crate::config;

    async fn line(snapshots: &str, listener: Option<&str>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleetlogs.toml");
        std::fs::write(dir.path().join("fleet.toml"), "").unwrap();
        std::fs::write(&path, format!("[simulator]\nscenario = \"fleet.toml\"\n{snapshots}")).unwrap();
        let settings = config::load(&path).unwrap();
        let rules: Vec<_> = settings.snapshots.iter().map(|snapshot| snapshot.rule.clone()).collect();
        let now = datetime!(2026-11-30 00:31:20 UTC);
        let views = Store::nothing().unwrap().read(|state| overview(state, &rules, now)).await.unwrap();
        starting(&settings.snapshots, &views, listener.map(|address| address.parse().unwrap()))
    }

    #[tokio::test]
    async fn the_daemon_says_what_it_has_and_when_it_runs_next() {
        let every_minute = "[[snapshot]]\nname = \"every-minute\"\ncron = \"* * * * *\"\n";
        let nightly =
            "[[snapshot]]\nname = \"nightly\"\ncron = \"0 3 * * *\"\ntime_zone = \"Europe/Berlin\"\n";
        let bad = "[[snapshot]]\nname = \"bad\"\non_state = [\"unusable\", \"offline\"]\n";
        let alert = "[[snapshot]]\nname = \"on-alert\"\n";
        insta::assert_snapshot!(
            [
                line(&[every_minute, nightly, alert].concat(), Some("127.0.0.1:9090")).await,
                line(nightly, None).await,
                line(&[bad, nightly].concat(), None).await,
                line(alert, Some("[::1]:80")).await,
            ]
            .join("\n"),
            @r"
        3 snapshots; next: every-minute at 2026-11-30 00:32 UTC; listener on 127.0.0.1:9090
        1 snapshot; next: nightly at 2026-11-30 03:00 CET
        2 snapshots; next: nightly at 2026-11-30 03:00 CET; bad watches for unusable, offline every 2m 00s
        1 snapshot; none has a `cron`; listener on [::1]:80
        "
        );
    }
}
