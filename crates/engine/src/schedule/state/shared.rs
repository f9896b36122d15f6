//! The state on its way to and from the home that several machines share.

use std::time::Duration;

use fleetlogs_model::failure::Failure;
use fleetlogs_model::home::{HomeError, StateHome};
use fleetlogs_model::retry::{CallError, RetryPolicy, persistently};
use rusqlite::Connection;
use tokio::time::{Instant, sleep};

use super::error::StateError;

/// How often a state is sent before the change fails. No other machine may write meanwhile, so repeating is harmless.
const RETRY: RetryPolicy =
    RetryPolicy { attempts: 4, base_delay: Duration::from_millis(500), max_delay: LONGEST_PAUSE };

/// Longest wait between two calls, whatever the home asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// No call is repeated after this: the state stays locked all the time.
const LONGEST: Duration = Duration::from_secs(120);

/// Bytes of a database's header that say how it is written and read: with a rollback journal, or with a write-ahead
/// log.
const VERSIONS: std::ops::Range<usize> = 18..20;

/// Publishes a database to its home, with retries.
pub(super) async fn publish(home: &dyn StateHome, database: &mut Connection) -> Result<(), StateError> {
    let began = Instant::now();
    // Serialized for each call: keeping a copy would take twice the memory.
    let call = || {
        let state = database.serialize("main").map(|database| without_log(database.to_vec()));
        async { Ok(home.publish(state?).await?) }
    };
    let pause = |attempt, failure: &Failure| {
        let pause = RETRY.pause(attempt, failure, 1.0).filter(|_| began.elapsed() < LONGEST)?;
        tracing::debug!(%failure, "the state of the schedule is not published; retrying");
        Some(pause.min(LONGEST_PAUSE))
    };
    persistently(call, pause, sleep).await
}

impl CallError for StateError {
    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Home(HomeError::Failed(failure)) => Some(failure),
            Self::Home(HomeError::Held | HomeError::Lost)
            | Self::Format { .. }
            | Self::Damaged { .. }
            | Self::Sqlite(_)
            | Self::Shared(_)
            | Self::Text(_)
            | Self::File(..)
            | Self::Plan(_) => None,
        }
    }
}

/// Makes a database's bytes readable on their own: the header says that a write-ahead log exists, which is not so here.
pub(super) fn without_log(mut database: Vec<u8>) -> Vec<u8> {
    if let Some(versions) = database.get_mut(VERSIONS) {
        versions.fill(1);
    }
    database
}

#[cfg(test)]
mod tests;
