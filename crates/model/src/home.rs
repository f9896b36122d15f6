//! A home for the state of a schedule that several machines share: one of them owns it at a time.
//!
//! The state is one blob under a lease. Who holds the lease owns the schedule; who has lost it is refused when it writes.

use std::pin::Pin;
use std::time::Duration;

use crate::failure::Failure;

/// What a call to the home answers with.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, HomeError>> + Send + 'a>>;

/// Why the home did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HomeError {
    /// Another owns it.
    #[error("another machine owns the schedule")]
    Held,
    /// We owned it, and do not any more. Nothing may be begun or sent from here on.
    #[error("this machine does not own the schedule any more")]
    Lost,
    /// It cannot be asked.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Where the state of a schedule lives that several machines share. Every call ends within a bound of its own.
pub trait StateHome: Send + Sync + 'static {
    /// Becomes the owner, for as long as [`Self::lease`] says; makes the home where there is none. Returns the state as it
    /// was last published, none before the first time. [`HomeError::Held`] where another is the owner.
    fn acquire(&self) -> Answer<'_, Option<Vec<u8>>>;

    /// Stays the owner, from now on for as long as [`Self::lease`] says.
    fn renew(&self) -> Answer<'_, ()>;

    /// Puts the state there, whole or not at all. Refused with [`HomeError::Lost`] where another has become the owner.
    fn publish(&self, state: Vec<u8>) -> Answer<'_, ()>;

    /// Owns it no more, so that another need not wait.
    fn release(&self) -> Answer<'_, ()>;

    /// The state as it was last published, without being the owner; none before the first time.
    fn read(&self) -> Answer<'_, Option<Vec<u8>>>;

    /// How long it is owned after a call to [`Self::acquire`] or [`Self::renew`] was sent.
    fn lease(&self) -> Duration;
}
