//! What one would write without a pace: a loop with as many workers as the run has calls in flight, each of which backs
//! off for its own call, as the SDKs of AWS do in their standard mode. It is the limit of the time that noise costs, and
//! no good neighbour: nothing keeps it below a ceiling.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Account, Answer, ServerTexts};
use crate::run::CONCURRENCY;
use crate::scenes::Scene;
use crate::server::Server;

/// A delay is drawn from zero to this, doubled with each attempt…
const FIRST_DELAY: f64 = 1.0;
/// …up to this, in seconds.
const LONGEST_DELAY: f64 = 20.0;

/// Seconds from the first call to the last accepted one.
pub(crate) fn seconds(scene: &Scene, server: &Server) -> f64 {
    let texts = ServerTexts::of(server);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let account = Account::of(&texts).await;
        let mut nodes = Vec::new();
        for pool in 0..scene.pools() {
            let pool = format!("pool-{pool}");
            let Answer::Good(page) = account.get(&format!("/pools/{pool}/nodes")).await else {
                panic!("the nodes cannot be listed");
            };
            let ids = page["value"].as_array().expect("nodes").iter();
            nodes.extend(ids.map(|node| (pool.clone(), node["id"].as_str().expect("an id").to_owned())));
        }
        let (nodes, next) = (Arc::new(nodes), Arc::new(AtomicUsize::new(0)));
        let began = Instant::now();
        let mut workers = tokio::task::JoinSet::new();
        for seed in 0..CONCURRENCY {
            let (account, nodes, next) = (account.clone(), nodes.clone(), next.clone());
            workers.spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed as u64);
                while let Some((pool, node)) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut bound = FIRST_DELAY;
                    while let Answer::NotNow(wait) = account.upload(pool, node).await {
                        let delay = Duration::from_secs_f64(bound * random.f64());
                        tokio::time::sleep(delay.max(Duration::from_secs(wait.unwrap_or(0)))).await;
                        bound = (bound * 2.0).min(LONGEST_DELAY);
                    }
                }
            });
        }
        workers.join_all().await;
        began.elapsed().as_secs_f64()
    })
}
