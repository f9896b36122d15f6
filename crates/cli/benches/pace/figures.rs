//! A round of a scene, and what is counted in it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use crate::bystander::{ALONE, Bystander, Request, harmed, mean, quantile};
use crate::client::ledger;
use crate::numbers::{number, within};
use crate::peer;
use crate::run::{Run, Running};
use crate::scenes::Scene;
use crate::server::Server;

/// A change of the capacity is found when, over this many seconds…
const FOUND_OVER: f64 = 2.0;
/// …this share of what is left then is accepted.
const FOUND: f64 = 0.85;

/// From a change on, a run may look for its pace this long, in seconds.
const WARM_UP: f64 = 10.0;

/// A call that was recorded this long after an answer asked for a pause may have had its turn before, in seconds; more
/// if answers take longer.
const UNDER_WAY: f64 = 0.05;

pub(crate) struct Round {
    pub(crate) runs: Vec<Run>,
    pub(crate) figures: Vec<(&'static str, f64)>,
}

/// The server, and when it began to count time.
fn start_server(scene: &Scene, seed: usize) -> (Server, OffsetDateTime) {
    let server = Server::start(&scene.scenario(seed));
    (server, OffsetDateTime::now_utc())
}

impl Round {
    pub(crate) fn of(scene: &Scene, program: &Path, seed: usize) -> Self {
        let has_bystander = scene.bystander > 0.0;
        let alone = has_bystander.then(|| {
            let (server, serves_since) = start_server(scene, seed);
            let bystander = Bystander::start(&server, serves_since, scene.bystander);
            std::thread::sleep(Duration::from_secs_f64(ALONE));
            bystander.end()
        });
        let peer = scene.has_peer.then(|| {
            let (server, _) = start_server(scene, seed);
            let seconds = peer::seconds(scene, &server);
            (seconds, ledger(&server)["highest_rate"].as_f64().expect("a number"))
        });
        let (server, serves_since) = start_server(scene, seed);
        let bystander = has_bystander.then(|| {
            let bystander = Bystander::start(&server, serves_since, scene.bystander);
            std::thread::sleep(Duration::from_secs(1));
            bystander
        });
        let running: Vec<_> =
            (1..=scene.runs).map(|name| Running::start(program, scene, &server, name)).collect();
        let runs: Vec<Run> = running.into_iter().map(|running| running.end(serves_since)).collect();
        let beside = bystander.map(Bystander::end);
        let mut figures = Figures { scene, runs: &runs, list: Vec::new() };
        figures.add_use();
        figures.add_pauses();
        figures.add_ledger(&ledger(&server));
        if let Some((seconds, highest)) = peer {
            let run = runs[0].end() - runs[0].begin();
            figures.list.extend([
                ("peer_seconds", seconds),
                ("peer_highest_rate", highest),
                ("seconds_over_peer", run / seconds),
            ]);
        }
        if let (Some(alone), Some(beside)) = (alone, beside) {
            figures.add_bystander(&alone, &beside);
        }
        let figures = figures.list;
        Self { runs, figures }
    }

    pub(crate) fn figure(&self, name: &str) -> f64 {
        let found = self.figures.iter().find(|(figure, _)| *figure == name);
        found.unwrap_or_else(|| panic!("no figure `{name}`")).1
    }
}

struct Figures<'a> {
    scene: &'a Scene,
    runs: &'a [Run],
    list: Vec<(&'static str, f64)>,
}

impl Figures<'_> {
    /// When all runs were calling, as a time of each.
    fn common(&self, from: impl Fn(&Run) -> f64, until: impl Fn(&Run) -> f64) -> (f64, f64) {
        let from = self.runs.iter().map(from).fold(0.0, f64::max);
        (from, self.runs.iter().map(until).fold(f64::INFINITY, f64::min))
    }

    fn add_use(&mut self) {
        let scene = self.scene;
        let (begin, end) = self.common(Run::begin, Run::end);
        let (_, last_fresh) = self.common(Run::begin, |run| run.last_fresh);
        let (from, until) = match scene.warm_up {
            Some(warm_up) => (begin + warm_up, last_fresh),
            None if scene.runs > 1 => (begin, last_fresh),
            // The last accepted call counts.
            None => (begin, end + 1e-6),
        };
        let mut accepted: Vec<f64> = self.runs.iter().flat_map(|run| run.accepted.iter().copied()).collect();
        accepted.sort_by(f64::total_cmp);
        let used = |from: f64, until: f64| within(&accepted, from, until) / scene.left(from, until);
        let calls = number(self.runs.iter().map(|run| run.requested.len()).sum());
        let refused = |is: &dyn Fn(u64) -> bool| {
            let refusals = self.runs.iter().flat_map(|run| &run.throttled);
            number(refusals.filter(|refusal| is(refusal.status)).count()) / calls
        };
        let ideal = f64::from(scene.nodes) / scene.ceiling + f64::from(scene.latency_ms) / 1000.0;
        let mut list = vec![
            ("used", used(from, until)),
            ("calls", calls),
            ("throttled", refused(&|_| true)),
            ("seconds", end - begin),
            ("seconds_after_the_last_first_call", end - last_fresh),
        ];
        if scene.capacity.is_none() {
            list.push(("span_over_ideal", (end - begin) / ideal));
        }
        if let (Some(noise), Some(_)) = (scene.noise, scene.capacity) {
            assert_eq!(noise.kind, "server-busy", "another status than that of a call beyond the capacity");
            list.push(("throttled_beyond_noise", refused(&|status| status == 429)));
        }
        if let Some((change, _)) = scene.change {
            list.push(("used_before_the_change", used(from, change)));
            list.push(("used_after_the_change", used(change + WARM_UP, until)));
            let enough = scene.left_at(change) * FOUND_OVER * FOUND;
            let later = accepted.iter().filter(|at| **at >= change);
            // A hair later, so that this call counts.
            let found = later
                .map(|at| at + 1e-6)
                .find(|at| within(&accepted, at - FOUND_OVER, *at) >= enough)
                .unwrap_or(f64::INFINITY);
            list.push(("found_after_seconds", found - change));
        }
        if scene.runs > 1 {
            let shares: Vec<f64> =
                self.runs.iter().map(|run| within(&run.accepted, begin, last_fresh)).collect();
            let squares: f64 = shares.iter().map(|share| share * share).sum();
            let jain = shares.iter().sum::<f64>().powi(2) / (number(shares.len()) * squares);
            list.push(("fairness", jain));
            list.push(("used_after_10_s", used(begin + WARM_UP, until)));
        }
        self.list.extend(list);
    }

    /// What the runs said about pauses, and whether they kept them.
    fn add_pauses(&mut self) {
        let asks = self.scene.retry_after.or(self.scene.noise.and_then(|noise| noise.retry_after));
        if asks.is_none() {
            return;
        }
        let (begin, end) = self.common(Run::begin, Run::end);
        let pauses: Vec<(f64, f64)> = self.runs.iter().flat_map(|run| run.pauses.iter().copied()).collect();
        let late = UNDER_WAY.max(f64::from(self.scene.latency_ms) / 1000.0);
        let is_inside = |at: &&f64| pauses.iter().any(|(from, until)| **at > from + late && *at < until);
        let requested = self.runs.iter().flat_map(|run| &run.requested);
        self.list.extend([
            ("announced_pauses", number(pauses.len())),
            ("seconds_of_announced_pauses", covered(&pauses, begin, end)),
            ("calls_in_announced_pause", number(requested.filter(is_inside).count())),
        ]);
    }

    /// What the server counted, which nobody can gloss over.
    fn add_ledger(&mut self, account: &Value) {
        let count = |member: &str| account[member].as_f64().expect("a number");
        let ceiling = self.scene.ceiling * number(self.runs.len());
        self.list.extend([
            ("highest_rate", count("highest_rate")),
            ("highest_rate_over_ceiling", count("highest_rate") / ceiling),
            ("calls_in_pause", count("calls_in_pause")),
            ("early_repeats", count("early_repeats")),
        ]);
    }

    fn add_bystander(&mut self, alone: &[Request], beside: &[Request]) {
        let (begin, _) = self.common(Run::begin, Run::end);
        // How many of its requests that were sent between two times were throttled.
        let harmed_between = |from: f64, until: f64| {
            let sent = beside.iter().copied().filter(|request| (from..until).contains(&request.at));
            harmed(&sent.collect::<Vec<_>>())
        };
        self.list.extend([
            ("bystander_requests", number(beside.len())),
            ("bystander_mean_ms", mean(beside) * 1000.0),
            ("bystander_mean_alone_ms", mean(alone) * 1000.0),
            ("bystander_mean_slowdown", mean(beside) / mean(alone) - 1.0),
            ("bystander_median_slowdown", quantile(beside, 0.5) / quantile(alone, 0.5) - 1.0),
            ("bystander_p99_slowdown", quantile(beside, 0.99) / quantile(alone, 0.99) - 1.0),
            ("bystander_throttled", harmed(beside) / number(beside.len())),
            ("bystander_throttled_number", harmed(beside)),
            ("bystander_throttled_at_start", harmed_between(0.0, begin + WARM_UP)),
            ("bystander_throttled_alone", harmed(alone)),
        ]);
        if let Some((change, _)) = self.scene.change {
            self.list.push(("bystander_throttled_at_change", harmed_between(change, change + WARM_UP)));
        }
    }
}

/// How much of a stretch of time is covered, in seconds.
fn covered(stretches: &[(f64, f64)], from: f64, until: f64) -> f64 {
    let mut stretches = stretches.to_vec();
    stretches.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut covered, mut counted_until) = (0.0, from);
    for (start, end) in stretches {
        let start = start.max(counted_until);
        let end = end.min(until);
        covered += (end - start).max(0.0);
        counted_until = counted_until.max(end);
    }
    covered
}
