//! The port of the listener, and the loop that accepts connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_engine::schedule::state::Store;
use fleetlogs_model::ids::SnapshotName;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connections::Connections;
use super::health::Health;
use super::service::Service;
use crate::config::ListenerSettings;
use crate::daemon::metrics::Metrics;
use crate::error::{CliError, Refusal};

/// How long open requests may still take when the daemon stops.
const AT_THE_END: Duration = Duration::from_secs(5);

/// An open port, and the service behind it.
pub(crate) struct Listener {
    socket: TcpListener,
    pub(super) address: SocketAddr,
    service: Arc<Service>,
}

impl Listener {
    /// Opens the port. `state` is set while this machine owns the schedule.
    pub(crate) async fn bind(
        settings: &ListenerSettings,
        snapshots: impl IntoIterator<Item = SnapshotName>,
        state: watch::Receiver<Option<Store>>,
        metrics: Metrics,
        health: Health,
    ) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| {
            CliError::not_done(Refusal::new(
                format!("cannot listen on {}: {error}", settings.address),
                "name another `address` in [schedule.listener], or stop the program that uses this one",
            ))
        };
        let socket = TcpListener::bind(settings.address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let service = Service::new(settings.secret.as_ref(), snapshots, state, metrics, health);
        Ok(Self { socket, address, service: Arc::new(service) })
    }

    /// Where it listens: port 0 of the config means any port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` resolves. Requests that are already open are still answered.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) {
        // Dropping this function drops every connection.
        let mut connections = Connections::default();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) => connections.add(stream, Arc::clone(&self.service)).await,
                    // Most likely out of file descriptors: wait for some to be closed rather than spin.
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
                Some(()) = connections.ended() => {}
            }
        }
        drop(self.socket);
        let _ = timeout(AT_THE_END, async { while connections.ended().await.is_some() {} }).await;
    }
}
