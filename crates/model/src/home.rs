//! The home of a schedule's state that several machines share; one of them owns it at a time.
//!
//! The state is one blob under a lease. The holder of the lease owns the schedule; a machine that has lost the lease
//! is refused when it writes.

use std::pin::Pin;
use std::time::Duration;

use crate::failure::Failure;

/// The result of a call to the home.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, HomeError>> + Send + 'a>>;

/// Why a call to the home failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HomeError {
    /// Another machine owns it.
    #[error("another machine owns the schedule")]
    Held,
    /// This machine owned it and no longer does. From here on it must start and send nothing.
    #[error("this machine no longer owns the schedule")]
    Lost,
    /// The home did not answer, or refused the call.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// The place of a schedule's state that several machines share. Every call has a time limit of its own.
pub trait StateHome: Send + Sync + 'static {
    /// Becomes the owner for the time in [`Self::lease`], and creates the home if there is none. Returns the last
    /// published state, none before the first time. [`HomeError::Held`] if another machine is the owner.
    fn acquire(&self) -> Answer<'_, Option<Vec<u8>>>;

    /// Stays the owner, from now on for the time in [`Self::lease`].
    fn renew(&self) -> Answer<'_, ()>;

    /// Publishes the state, completely or not at all. [`HomeError::Lost`] if another machine has become the owner.
    fn publish(&self, state: Vec<u8>) -> Answer<'_, ()>;

    /// Gives up the ownership, so that another machine need not wait.
    fn release(&self) -> Answer<'_, ()>;

    /// The last published state, read without owning it; none before the first time.
    fn read(&self) -> Answer<'_, Option<Vec<u8>>>;

    /// How long the ownership lasts after a call to [`Self::acquire`] or [`Self::renew`] was sent.
    fn lease(&self) -> Duration;
}
