//! The HTTP listener of the daemon: alerts that begin a snapshot, whether the daemon is alive, and its metrics.
//!
//! It speaks plain HTTP/1.1, one request a connection, and is meant to stand behind something that does TLS. Whoever sends
//! slowly, or much, is cut off: at most so many connections, for so long, are there at once, and a new one takes the place
//! of the oldest.

mod alert;
mod connections;
mod health;
mod key;
mod server;
mod service;
#[cfg(test)]
mod tests;
mod trust;

pub(crate) use self::health::Health;
pub(crate) use self::server::Listener;
