//! What fuzzing calls here: scenarios, which a user writes. It panics where their reader breaks a promise.
//!
//! How it is run, and what it promises: docs/design/fuzzing.md.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::clock::Clock;
use crate::scenario::Scenario;
use crate::world::World;

#[cfg(test)]
#[path = "../../../tests/fuzz/short.rs"]
mod short;

/// A name, and a function that panics where a promise is broken.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// The names of the targets, which are also those of their corpora.
pub const TARGETS: [FuzzTarget; 1] = [("scenario", scenario)];

/// Nodes, tasks and accounts that are looked at: a larger fleet is read, and not built.
const MOST: u64 = 300;

/// A scenario that is accepted can be simulated at any time, and one that is refused is told in one place.
fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let scenario = match Scenario::from_toml(text) {
        Ok(scenario) => scenario,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let accounts = scenario.accounts.iter();
    let sizes = accounts.clone().flat_map(|account| &account.pools).map(|pool| u64::from(pool.nodes));
    let tasks = accounts.flat_map(|account| &account.jobs).map(|job| u64::from(job.tasks));
    if sizes.chain(tasks).sum::<u64>() > MOST {
        return;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let world = World::new(&scenario, address).expect("what is accepted can be simulated");
    let clock = Clock::start(&scenario);
    for now in [0, 90, 86_400, 30 * 86_400].map(Duration::from_secs) {
        for account in &world.accounts {
            clock.service_date(&account.clock, now, None);
            for pool in &account.pools {
                for place in 0..pool.places() {
                    if let Some(moment) = pool.node(place, now) {
                        pool.dates(place, moment, &clock);
                    }
                    pool.left(place, now);
                }
            }
            for job in &account.jobs {
                job.is_over(now);
                (0..job.tasks()).for_each(|task| {
                    let _ = job.run(task);
                });
                job.on_node(0);
            }
        }
    }
    world.ledger();
}
