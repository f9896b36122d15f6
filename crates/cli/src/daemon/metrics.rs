//! The metrics of `GET /metrics`: counters of this process, and numbers from the state of the schedule.
//! docs/reference/metrics.md lists every name. Labels are names of snapshots and accounts, or values of a fixed list;
//! never names of nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fleetlogs_engine::schedule::state::numbers::Numbers;
use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::outcome::{Outcome, RunOutcome};
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use time::OffsetDateTime;

use crate::notify::NotifyCounts;
use crate::run::RunEnd;

/// The content type of [`Metrics::text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the histogram of durations, in seconds: a small fleet takes a minute, a large one hours.
const DURATIONS: [f64; 11] =
    [10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0];

/// The outcome of a job that did not become a run.
const NOT_RUN: &str = "not-run";

type Labels<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
/// Seconds, or seconds since 1970.
type Seconds = Family<Labels<1>, Gauge<f64, AtomicU64>>;

/// The result of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlertResult {
    /// It queued a run.
    Queued,
    /// It joined a queued run.
    Joined,
    /// It had arrived before.
    Repeated,
    /// It was resolved.
    Resolved,
    /// Its secret is missing or wrong, or the config has no secret.
    Refused,
    /// It does not follow the schema, or the config does not have its snapshot.
    Invalid,
    /// It could not be recorded; the sender should retry.
    Failed,
}

impl AlertResult {
    const ALL: [Self; 7] = [
        Self::Queued,
        Self::Joined,
        Self::Repeated,
        Self::Resolved,
        Self::Refused,
        Self::Invalid,
        Self::Failed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Joined => "joined",
            Self::Repeated => "repeated",
            Self::Resolved => "resolved",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }
}

/// Counters of the watcher for node states since this process started.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchNumbers {
    pub(crate) rounds: u64,
    pub(crate) list_calls: u64,
    /// Failed list calls.
    pub(crate) failures: u64,
    /// Occurrences by fate.
    pub(crate) occurrences: Vec<(&'static str, u64)>,
}

/// All metrics of this process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    runs: Counters<3>,
    run_nodes: Counters<2>,
    run_duration: Family<Labels<1>, Histogram, fn() -> Histogram>,
    last_run: Seconds,
    last_good_run: Seconds,
    last_good_run_age: Seconds,
    next_run: Seconds,
    throttled: Counters<1>,
    queue_length: Gauge<u64, AtomicU64>,
    lost_runs: Gauge<u64, AtomicU64>,
    owner: Gauge<u64, AtomicU64>,
    notifications: Counters<1>,
    alerts: Counters<1>,
    watch_rounds: Counter,
    watch_list_calls: Counter,
    watch_failures: Counter,
    watch_occurrences: Counters<1>,
    /// When the last complete run of each snapshot ended; its age is computed when the metrics are read.
    good: Mutex<BTreeMap<SnapshotName, OffsetDateTime>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("fleetlogs");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of fleetlogs", version);
        let all = &mut registry;
        let of_runs: fn() -> Histogram = || Histogram::new(DURATIONS);
        let run_duration = Family::new_with_constructor(of_runs);
        let families = Families {
            runs: add(all, "runs", "Ended runs of snapshots, by trigger and outcome"),
            run_nodes: add(all, "run_nodes", "Planned nodes of ended runs, by outcome"),
            run_duration: added(all, "run_duration_seconds", "Duration of runs", run_duration),
            last_run: add(all, "last_run_timestamp_seconds", "When the newest run ended, with any outcome"),
            last_good_run: add(all, "last_good_run_timestamp_seconds", "When the newest complete run ended"),
            last_good_run_age: add(
                all,
                "last_good_run_age_seconds",
                "Time since the newest complete run ended",
            ),
            next_run: add(all, "next_run_timestamp_seconds", "When the schedule starts the next run"),
            throttled: add(all, "throttled_calls", "Throttled upload calls"),
            queue_length: add(all, "queue_length", "Queued runs"),
            lost_runs: add(all, "lost_runs", "Runs that were lost with their machine"),
            owner: add(all, "schedule_owner", "1 if this machine owns the schedule, 0 on standby"),
            notifications: add(all, "notifications", "Notifications of ended runs, by result"),
            alerts: add(all, "alerts", "Alerts that arrived, by result"),
            watch_rounds: add(all, "watch_rounds", "Rounds of polling for nodes in watched states"),
            watch_list_calls: add(all, "watch_list_calls", "List calls of these rounds"),
            watch_failures: add(all, "watch_failures", "Failed list calls of these rounds"),
            watch_occurrences: add(all, "watch_occurrences", "Nodes that entered a watched state, by fate"),
            good: Mutex::default(),
            registry,
        };
        // The series exist from the start, so that rates count the first event.
        for result in AlertResult::ALL {
            let _ = families.alerts.get_or_create(&[("result", result.as_str().into())]);
        }
        for result in ["sent", "failed"] {
            let _ = families.notifications.get_or_create(&[("result", result.into())]);
        }
        Self(Arc::new(families))
    }

    /// Begins the counters of these snapshots. A counter that appears with its first event has never risen, and a rate
    /// would miss that event.
    pub(crate) fn begin<'a>(&self, snapshots: impl IntoIterator<Item = &'a SnapshotName>) {
        let Families { runs, run_nodes, .. } = &*self.0;
        for name in snapshots {
            let name = || ("snapshot", name.as_str().to_owned());
            for trigger in Trigger::ALL {
                for outcome in RunOutcome::ALL.map(RunOutcome::as_str).into_iter().chain([NOT_RUN]) {
                    let trigger = ("trigger", trigger.as_str().to_owned());
                    let _ = runs.get_or_create(&[name(), trigger, ("outcome", outcome.to_owned())]);
                }
            }
            for outcome in Outcome::ALL {
                let _ = run_nodes.get_or_create(&[name(), ("outcome", outcome.as_str().into())]);
            }
        }
    }

    /// Counts an ended run. A run that is resumed later must be counted once only, when it really ends.
    pub(crate) fn run_ended(&self, end: &RunEnd) {
        let Families { runs, run_nodes, run_duration, throttled, .. } = &*self.0;
        for (account, calls) in &end.throttled {
            throttled.get_or_create(&[("account", account.as_str().into())]).inc_by(*calls);
        }
        let Some(SnapshotRef { name, trigger, .. }) = &end.snapshot else { return };
        let name = || ("snapshot", name.as_str().to_owned());
        let outcome = ("outcome", end.outcome.as_str().to_owned());
        runs.get_or_create(&[name(), ("trigger", trigger.as_str().into()), outcome]).inc();
        for outcome in Outcome::ALL {
            let nodes = end.counts.get(outcome);
            run_nodes.get_or_create(&[name(), ("outcome", outcome.as_str().into())]).inc_by(nodes);
        }
        run_duration.get_or_create(&[name()]).observe(end.took().as_secs_f64());
    }

    /// Counts a job that did not become a run: it was refused, or no node was selected.
    pub(crate) fn not_run(&self, SnapshotRef { name, trigger, .. }: &SnapshotRef) {
        let labels = [
            ("snapshot", name.as_str().to_owned()),
            ("trigger", trigger.as_str().to_owned()),
            ("outcome", NOT_RUN.to_owned()),
        ];
        self.0.runs.get_or_create(&labels).inc();
    }

    pub(crate) fn notified(&self, NotifyCounts { sent, failed }: NotifyCounts) {
        for (result, count) in [("sent", sent), ("failed", failed)] {
            self.0.notifications.get_or_create(&[("result", result.into())]).inc_by(count);
        }
    }

    /// Counts an alert.
    pub(crate) fn alert(&self, result: AlertResult) {
        self.0.alerts.get_or_create(&[("result", result.as_str().into())]).inc();
    }

    /// When the schedule starts the next run of a snapshot. None if it starts none.
    pub(crate) fn next_run(&self, snapshot: &SnapshotName, at: Option<OffsetDateTime>) {
        let labels = snapshot_label(snapshot);
        match at {
            Some(at) => {
                self.0.next_run.get_or_create(&labels).set(seconds(at));
            }
            None => {
                self.0.next_run.remove(&labels);
            }
        }
    }

    /// The counters of the watcher since this process started.
    pub(crate) fn watched(&self, numbers: &WatchNumbers) {
        let WatchNumbers { rounds, list_calls, failures, occurrences } = numbers;
        let Families { watch_rounds, watch_list_calls, watch_failures, watch_occurrences, .. } = &*self.0;
        let set = |counter: &Counter, count: u64| counter.inner().store(count, Ordering::Relaxed);
        set(watch_rounds, *rounds);
        set(watch_list_calls, *list_calls);
        set(watch_failures, *failures);
        for (fate, count) in occurrences {
            set(&watch_occurrences.get_or_create(&[("fate", (*fate).to_owned())]), *count);
        }
    }

    /// The numbers from the state of the schedule. None on standby: the local state may be out of date, so it is not
    /// shown.
    pub(crate) fn state(&self, numbers: Option<&Numbers>) {
        let Families { last_run, last_good_run, last_good_run_age, next_run, queue_length, .. } = &*self.0;
        let Families { lost_runs, owner, good, .. } = &*self.0;
        owner.set(u64::from(numbers.is_some()));
        queue_length.set(numbers.map_or(0, |numbers| numbers.queued));
        lost_runs.set(numbers.map_or(0, |numbers| numbers.lost));
        let mut good = good.lock();
        let Some(Numbers { last, .. }) = numbers else {
            good.clear();
            for family in [last_run, last_good_run, last_good_run_age, next_run] {
                family.clear();
            }
            return;
        };
        for runs in last {
            last_run.get_or_create(&snapshot_label(&runs.snapshot)).set(seconds(runs.ended_at));
            if let Some(at) = runs.complete_at {
                last_good_run.get_or_create(&snapshot_label(&runs.snapshot)).set(seconds(at));
                good.insert(runs.snapshot.clone(), at);
            }
        }
    }

    /// All metrics, as text.
    pub(crate) fn text(&self, now: OffsetDateTime) -> String {
        for (snapshot, at) in &*self.0.good.lock() {
            let age = (now - *at).as_seconds_f64().max(0.0);
            self.0.last_good_run_age.get_or_create(&snapshot_label(snapshot)).set(age);
        }
        let mut text = String::new();
        encode(&mut text, &self.0.registry).expect("a String takes everything");
        text
    }
}

fn snapshot_label(snapshot: &SnapshotName) -> Labels<1> {
    [("snapshot", snapshot.as_str().to_owned())]
}

fn seconds(at: OffsetDateTime) -> f64 {
    (at - OffsetDateTime::UNIX_EPOCH).as_seconds_f64()
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    added(registry, name, help, M::default())
}

fn added<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use fleetlogs_engine::schedule::state::numbers::LastRuns;
    use fleetlogs_model::ids::{AccountName, RunId};
    use fleetlogs_model::outcome::{OutcomeCounts, RunOutcome};
    use fleetlogs_model::snapshot::Trigger;
    use time::macros::datetime;

    use super::*;

    const NOON: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn numbers() -> Numbers {
        let nightly = LastRuns {
            snapshot: SnapshotName::new("nightly"),
            ended_at: NOON,
            complete_at: Some(NOON - time::Duration::hours(24)),
        };
        let spot = LastRuns { snapshot: SnapshotName::new("spot"), ended_at: NOON, complete_at: None };
        Numbers { queued: 2, lost: 1, last: vec![nightly, spot] }
    }

    fn end(snapshot: Option<SnapshotRef>) -> RunEnd {
        let mut counts = OutcomeCounts::default();
        counts.add_many(Outcome::Verified, 5);
        counts.add_many(Outcome::Failed, 2);
        RunEnd {
            run_id: RunId::new(NOON, 7),
            dir: "/runs/7".into(),
            snapshot,
            outcome: RunOutcome::Partial,
            reason: None,
            started_at: NOON,
            ended_at: NOON + time::Duration::seconds(90),
            counts,
            throttled: vec![(AccountName::new("contoso\"\n"), 3)],
            summary: String::new(),
            document: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_run_is_counted_when_it_ends() {
        let metrics = Metrics::new();
        let nightly =
            SnapshotRef { name: SnapshotName::new("nightly"), trigger: Trigger::CatchUp, due: NOON };
        metrics.run_ended(&end(Some(nightly.clone())));
        metrics.run_ended(&end(Some(nightly.clone())));
        metrics.not_run(&nightly);
        metrics.notified(NotifyCounts { sent: 2, failed: 2 });
        let text = metrics.text(NOON);
        let of_run = "snapshot=\"nightly\",trigger=\"catch-up\",outcome=";
        for line in [
            format!("runs_total{{{of_run}\"partial\"}} 2"),
            format!("runs_total{{{of_run}\"not-run\"}} 1"),
            "run_nodes_total{snapshot=\"nightly\",outcome=\"failed\"} 4".into(),
            "run_nodes_total{snapshot=\"nightly\",outcome=\"gone\"} 0".into(),
            "run_duration_seconds_sum{snapshot=\"nightly\"} 180.0".into(),
            "run_duration_seconds_bucket{le=\"120.0\",snapshot=\"nightly\"} 2".into(),
            // What a name holds does not end its line.
            "throttled_calls_total{account=\"contoso\\\"\\n\"} 6".into(),
            "notifications_total{result=\"failed\"} 2".into(),
        ] {
            assert!(text.contains(&format!("fleetlogs_{line}\n")), "no {line} in {text}");
        }
    }

    #[test]
    fn the_counters_of_a_snapshot_are_there_before_its_first_run() {
        let metrics = Metrics::new();
        metrics.begin([&SnapshotName::new("nightly")]);
        let text = metrics.text(NOON);
        for line in [
            "runs_total{snapshot=\"nightly\",trigger=\"cron\",outcome=\"not-run\"} 0",
            "runs_total{snapshot=\"nightly\",trigger=\"once\",outcome=\"partial\"} 0",
            "run_nodes_total{snapshot=\"nightly\",outcome=\"failed\"} 0",
        ] {
            assert!(text.contains(&format!("fleetlogs_{line}\n")), "no {line} in {text}");
        }
    }

    #[test]
    fn the_age_of_the_last_good_run_is_that_of_the_moment() {
        let metrics = Metrics::new();
        metrics.state(Some(&numbers()));
        let text = metrics.text(NOON + time::Duration::hours(2));
        assert!(
            text.contains("fleetlogs_last_good_run_age_seconds{snapshot=\"nightly\"} 93600.0\n"),
            "{text}"
        );
        assert!(text.contains("fleetlogs_last_run_timestamp_seconds{snapshot=\"spot\"} "), "{text}");
        assert!(!text.contains("fleetlogs_last_good_run_timestamp_seconds{snapshot=\"spot\"}"), "{text}");
        assert!(text.contains("fleetlogs_lost_runs 1\n"));
        assert!(text.contains("fleetlogs_queue_length 2\n") && text.contains("fleetlogs_schedule_owner 1\n"));
        assert!(text.contains("fleetlogs_build_info{version=") && text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_machine_on_standby_shows_nothing_that_another_knows_better() {
        let metrics = Metrics::new();
        metrics.state(Some(&numbers()));
        metrics.next_run(&SnapshotName::new("nightly"), Some(NOON));
        assert!(metrics.text(NOON).contains("next_run_timestamp_seconds{"));
        metrics.state(None);
        let text = metrics.text(NOON);
        assert!(text.contains("fleetlogs_schedule_owner 0\n") && !text.contains("snapshot="), "{text}");
    }

    #[test]
    fn counters_of_the_watcher_are_what_it_says() {
        let metrics = Metrics::new();
        for rounds in [3, 4] {
            let occurrences = vec![("claimed", 2), ("damped", 1)];
            metrics.watched(&WatchNumbers { rounds, list_calls: 9, failures: 0, occurrences });
        }
        let text = metrics.text(NOON);
        assert!(text.contains("fleetlogs_watch_rounds_total 4\n"), "{text}");
        assert!(text.contains("fleetlogs_watch_occurrences_total{fate=\"claimed\"} 2\n"), "{text}");
    }
}
