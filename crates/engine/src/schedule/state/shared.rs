//! The state on its way to and from the home that several machines share.

use std::time::Duration;

use fleetlogs_model::failure::Failure;
use fleetlogs_model::home::{HomeError, StateHome};
use fleetlogs_model::retry::{CallError, RetryPolicy, persistently};
use rusqlite::Connection;
use tokio::time::{Instant, sleep};

use super::error::StateError;

/// How a state is sent until the change fails. Nobody else may write meanwhile, so sending it again does no harm.
const RETRY: RetryPolicy =
    RetryPolicy { attempts: 4, base_delay: Duration::from_millis(500), max_delay: LONGEST_PAUSE };

/// Longest wait between two calls, whatever the home asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// No call is repeated after this: the state stays locked all the time.
const LONGEST: Duration = Duration::from_secs(120);

/// Where the header of a database says how it is written and read: by a journal to roll back, or by a log (WAL).
const VERSIONS: std::ops::Range<usize> = 18..20;

/// Puts a database into its home, again where that may help.
pub(super) async fn publish(home: &dyn StateHome, database: &mut Connection) -> Result<(), StateError> {
    let began = Instant::now();
    // Made anew for each call, as a copy to keep would be twice the memory.
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
            | Self::Sqlite(_)
            | Self::Shared(_)
            | Self::Text(_)
            | Self::File(..)
            | Self::Plan(_) => None,
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
