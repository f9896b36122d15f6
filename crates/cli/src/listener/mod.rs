//! The HTTP listener of the daemon: alerts that begin a snapshot, whether the daemon is alive, and its metrics.
//!
//! It speaks plain HTTP/1.1, one request a connection, and is meant to stand behind something that does TLS. Whoever sends
//! slowly, or much, is cut off: at most so many connections, for so long, are there at once.

mod alert;
mod health;
mod key;
mod service;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_engine::schedule::state::Store;
use fleetlogs_model::ids::SnapshotName;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub(crate) use self::health::Health;
use self::service::Service;
use crate::args::Output;
use crate::commands::say;
use crate::config::ListenerSettings;
use crate::error::{CliError, Refusal};
use crate::metrics::Metrics;

/// Connections at once. Further ones wait until one ends.
const CONNECTIONS: usize = 32;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);

/// How long a connection may take, from its first byte to its last.
const WHOLE: Duration = Duration::from_secs(30);

/// How long requests may still take when the daemon ends.
const AT_THE_END: Duration = Duration::from_secs(5);

/// Bytes of a head that are read, at most.
const HEAD_BYTES: usize = 16 * 1024;

/// A port that is open, and who answers there.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    service: Arc<Service>,
}

impl Listener {
    /// Opens the port. `state` is there while this machine is the owner of the schedule.
    pub(crate) async fn bind(
        settings: &ListenerSettings,
        snapshots: impl IntoIterator<Item = SnapshotName>,
        state: watch::Receiver<Option<Store>>,
        metrics: Metrics,
        health: Health,
    ) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| {
            CliError::NotDone(Refusal::new(
                format!("cannot listen on {}: {error}", settings.address),
                "name another `address` in [schedule.listener], or end what uses this one",
            ))
        };
        let socket = TcpListener::bind(settings.address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let service = Service::new(settings.secret.as_ref(), snapshots, state, metrics, health);
        Ok(Self { socket, address, service: Arc::new(service) })
    }

    /// Says where it listens: the port may be any.
    pub(crate) fn announce(&self, output: &Output) {
        tracing::info!("listening on http://{}", self.address);
        if !output.quiet {
            say(&format!("listening on http://{}\n", self.address));
        }
    }

    /// Answers until it is told to stop. Requests that are there by then are still answered.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) {
        // Dropped with this function, and every connection with it.
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.socket.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, Arc::clone(&self.service)));
                    }
                    // Out of file descriptors, most likely: wait for some to come back rather than spin.
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.socket);
        let _ = timeout(AT_THE_END, async { while connections.join_next().await.is_some() {} }).await;
    }
}

async fn connection(stream: TcpStream, service: Arc<Service>) {
    let service = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Who leaves early, and who is too slow, both end here; neither is an error for us.
    let _ = timeout(WHOLE, connection).await;
}
