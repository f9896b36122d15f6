//! Makes each delivery when it is due.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::log_file::LogFile;
use super::queue::Delivery;
use super::target::Place;
use crate::blob::{Authority, Condition};
use crate::fleet::node_address;
use crate::scenario::NodeState;
use crate::world::World;

/// Makes the deliveries when they are due; never returns.
pub(crate) async fn deliver(world: Arc<World>, others: mpsc::UnboundedSender<(Delivery, LogFile)>) {
    /// Deliveries in a row before other tasks get a turn.
    const BATCH: usize = 256;
    loop {
        let mut left = BATCH;
        let wait = loop {
            match world.deliveries.pop_due(world.clock.elapsed()) {
                Ok(delivery) => make_delivery(&world, delivery, &others),
                Err(wait) => break wait,
            }
            left -= 1;
            if left == 0 {
                tokio::task::yield_now().await;
                left = BATCH;
            }
        };
        let until_due = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600)));
        tokio::select! {
            () = until_due => {}
            () = world.deliveries.changed.notified() => {}
        }
    }
}

fn make_delivery(world: &World, delivery: Delivery, others: &mpsc::UnboundedSender<(Delivery, LogFile)>) {
    let upload = &delivery.upload;
    let account = &world.accounts[usize::from(upload.account)];
    let pool = &account.pools[usize::from(upload.node.pool)];
    let now = world.clock.elapsed();
    let node = pool.node(upload.node.place, now).filter(|_| pool.is_there(now));
    let machine_is_gone =
        node.is_none_or(|node| matches!(node.state, NodeState::Preempted | NodeState::Deallocated));
    if machine_is_gone {
        // Files that a node has not uploaded when it disappears are lost with it.
        return;
    }
    let file = delivery.file(world);
    match &upload.target.place {
        Place::Here { container } => {
            // Without a socket: the files of a hundred thousand nodes would load the machine more than the program
            // under test does. Authorization and storing use the same functions as the HTTP handler.
            let authority = upload.target.access.authority(node_address(upload.node.place).into());
            let put = put_here(world, authority, container, &file);
            delivery.finish(world, &file, put);
        }
        Place::Elsewhere { .. } => {
            // Fails only when the simulator stops, and then nobody waits for the file.
            let _: Result<(), _> = others.send((delivery, file));
        }
    }
}

fn put_here(world: &World, authority: Authority<'_>, container: &str, file: &LogFile) -> bool {
    let content_type = Arc::clone(&world.log_type);
    world
        .store
        .put(authority, container, &file.name, file.content.clone(), content_type, Condition::None)
        .is_ok()
}
