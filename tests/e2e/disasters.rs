//! Stories of runs that workers share, in which machines are lost and storage goes away: whatever happens, no node is
//! lost and none is called twice.
//!
//! `FLEETLOGS_STORIES` is the number of stories, each with a seed of its own (2 if it is not set); `just soak-scaleout`
//! has 50. `FLEETLOGS_SEED=n` tells that story alone.
#![cfg(unix)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use fleetlogs_model::ids::RunId;

use crate::scale_out::{ACCOUNTS, Stage, signal};
use crate::stage::Server;

/// Nodes of each account.
const NODES: u32 = 40;

/// Stories that are told at the same time.
const AT_ONCE: usize = 3;

/// Longer than a lease.
const FROZEN: Duration = Duration::from_secs(18);

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Disaster {
    /// A worker is killed, and a new one comes.
    WorkerDies,
    /// A worker does nothing for longer than its leases last, and then goes on.
    WorkerFreezes,
    /// Every message comes twice.
    MessagesAgain,
    /// Neither blobs nor queues answer for a while.
    StorageIsAway,
    /// Somebody breaks the lease of a partition.
    LeaseIsStolen,
    /// The machine that waits is lost.
    FanOutDies,
}

const DISASTERS: [Disaster; 6] = [
    Disaster::WorkerDies,
    Disaster::WorkerFreezes,
    Disaster::MessagesAgain,
    Disaster::StorageIsAway,
    Disaster::LeaseIsStolen,
    Disaster::FanOutDies,
];

/// The workers, each on a machine of its own, and whoever waits for them.
struct Cast {
    workers: [(usize, Server); 2],
    fan_out: Option<Server>,
    frozen: Vec<usize>,
}

fn befall(stage: &Stage, run: &RunId, cast: &mut Cast, disaster: Disaster, random: &mut Rng) {
    let one = random.usize(0..cast.workers.len());
    match disaster {
        Disaster::WorkerDies => {
            let (machine, worker) = &mut cast.workers[one];
            signal(worker, "-KILL");
            worker.0.wait().unwrap();
            *worker = stage.worker(*machine, &["--forever"]);
            cast.frozen.retain(|frozen| *frozen != one);
        }
        Disaster::WorkerFreezes => {
            signal(&cast.workers[one].1, "-STOP");
            cast.frozen.push(one);
        }
        Disaster::MessagesAgain => stage.send_all_again(run),
        Disaster::StorageIsAway => {
            let parts = [&stage.azurite.server, &stage.queues.server];
            for part in parts {
                signal(part, "-STOP");
            }
            std::thread::sleep(Duration::from_secs(10));
            for part in parts {
                signal(part, "-CONT");
            }
        }
        Disaster::LeaseIsStolen => {
            let account = ACCOUNTS[random.usize(0..ACCOUNTS.len())];
            stage.azurite.break_lease(&format!("fleetlogs/{run}/p/{account}/owner"));
            // Somebody else comes for it.
            stage.send_all_again(run);
        }
        Disaster::FanOutDies => drop(cast.fan_out.take()),
    }
}

fn tell(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let stage = Stage::new(NODES, |config| config);
    let fan_out = stage.start(0, &["fan-out"], &[]);
    let run = stage.run();
    let worker = |machine| (machine, stage.worker(machine, &["--forever"]));
    let mut cast = Cast { workers: [worker(1), worker(2)], fan_out: Some(fan_out), frozen: vec![] };
    let mut calls = 0;
    let mut told = vec![];
    for _ in 0..random.usize(1..=3) {
        calls += random.u64(10..45);
        stage.wait_for_calls(calls);
        let disaster = DISASTERS[random.usize(0..DISASTERS.len())];
        told.push(disaster);
        befall(&stage, &run, &mut cast, disaster, &mut random);
    }
    if !cast.frozen.is_empty() {
        std::thread::sleep(FROZEN);
        cast.frozen.iter().for_each(|frozen| signal(&cast.workers[*frozen].1, "-CONT"));
    }
    let manifest = if let Some(fan_out) = &mut cast.fan_out {
        assert_eq!(stage.end_of(0, fan_out), 0, "seed {seed}, {told:?}: {}", stage.said(0));
        stage.manifest(0)
    } else {
        let fan_in = stage.on(3, &["fan-in", "latest"]);
        assert_eq!(fan_in.code, 0, "seed {seed}, {told:?}: {}", fan_in.stderr);
        fan_in.manifest()
    };
    stage.assert_whole(&manifest, u64::from(NODES) * ACCOUNTS.len() as u64);
    for (machine, worker) in &mut cast.workers {
        signal(worker, "-TERM");
        let code = stage.end_of(*machine, worker);
        assert!(matches!(code, 0 | 3 | 6), "seed {seed}, {told:?}: {code}: {}", stage.said(*machine));
    }
    assert_eq!(stage.queues.poisoned("work"), 0, "seed {seed}, {told:?}: no partition was at fault");
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn no_node_is_lost_and_none_is_called_twice_whatever_befalls_the_workers() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (alone, stories) = (number("FLEETLOGS_SEED"), number("FLEETLOGS_STORIES").unwrap_or(2));
    let next = AtomicU64::new(alone.unwrap_or(0));
    let end = alone.map_or(stories, |seed| seed + 1);
    let failed = std::thread::scope(|scope| {
        let tellers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let mut failed = vec![];
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return failed;
                        }
                        if std::panic::catch_unwind(|| tell(seed)).is_err() {
                            failed.push(seed);
                        }
                    }
                })
            })
            .collect();
        tellers.into_iter().flat_map(|teller| teller.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(failed.is_empty(), "FLEETLOGS_SEED tells each of these alone: {failed:?}");
}
