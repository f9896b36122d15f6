//! The HTTP listener of the daemon: it takes alerts that start a snapshot, and serves health and metrics.
//!
//! It speaks plain HTTP/1.1 with one request per connection; put a proxy that terminates TLS in front of it. It drops
//! clients that send too slowly or too much. The number and the duration of connections are limited, and a new
//! connection replaces the oldest.

mod alert;
mod connections;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzed;
mod health;
mod key;
mod server;
mod service;
#[cfg(test)]
mod tests;
mod trust;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::fuzzed::fuzzed_alert;
pub(crate) use self::health::Health;
pub(crate) use self::server::Listener;
