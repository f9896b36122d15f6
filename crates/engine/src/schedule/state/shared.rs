//! The state on its way to and from the home that several machines share.

use std::time::Duration;

use fleetlogs_model::home::{HomeError, StateHome};
use rusqlite::Connection;
use tokio::time::{Instant, sleep};

use super::StateError;
use crate::schedule::ownership::is_passing;

/// How often a state is sent before the change fails. Nobody else may write meanwhile, so to send it again does no harm.
const TRIES: u32 = 4;

/// Before the second try; the others wait twice as long each, or as long as the home asks for.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest wait between two tries, whatever the home asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// No further try begins after this: it is locked all the time.
const LONGEST: Duration = Duration::from_secs(120);

/// Where the header of a database says how it is written and read: by a journal to roll back, or by a log (WAL).
const VERSIONS: std::ops::Range<usize> = 18..20;

/// Puts a database into its home, again where that may help.
pub(super) async fn publish(home: &dyn StateHome, database: &mut Connection) -> Result<(), StateError> {
    let mut pause = FIRST_PAUSE;
    let mut tries = TRIES;
    let began = Instant::now();
    loop {
        tries -= 1;
        // Made anew for each try, as a copy to keep would be twice the memory.
        let state = without_log(database.serialize("main")?.to_vec());
        match home.publish(state).await {
            Err(HomeError::Failed(failure))
                if tries > 0 && is_passing(failure.class) && began.elapsed() < LONGEST =>
            {
                tracing::debug!(%failure, "the state of the schedule was not published; trying again");
                let asked = failure.retry_after().unwrap_or_default();
                sleep(pause.max(asked).min(LONGEST_PAUSE)).await;
                pause *= 2;
            }
            published => return Ok(published?),
        }
    }
}

/// A database's bytes, made to be read by themselves: its header says that there is a log beside it, which is not so here.
pub(super) fn without_log(mut database: Vec<u8>) -> Vec<u8> {
    if let Some(versions) = database.get_mut(VERSIONS) {
        versions.fill(1);
    }
    database
}

#[cfg(test)]
mod tests;
