//! The open connections. There is always room for one more, so that nobody can block others by holding connections.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::service::Service;
use super::trust::Trust;

/// The most connections at once.
pub(super) const CONNECTIONS: usize = 128;

/// How long the head of a request may take to arrive.
pub(super) const HEAD: Duration = Duration::from_secs(5);

/// How long a connection may last, from its first byte to its last.
const WHOLE: Duration = Duration::from_secs(30);

/// The most bytes of a head that are read.
const HEAD_BYTES: usize = 16 * 1024;

/// The open connections. Dropping this value closes them.
#[derive(Default)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    /// Oldest first.
    open: VecDeque<Connection>,
}

struct Connection {
    task: AbortHandle,
    trust: Trust,
}

impl Connections {
    /// Adds a connection. If there are too many, drops another one: the oldest whose sender has not authenticated, or
    /// else the oldest of all.
    pub(super) async fn add(&mut self, stream: TcpStream, service: Arc<Service>) {
        while self.tasks.len() >= CONNECTIONS {
            let at = self.open.iter().position(|connection| !connection.trust.is_gained()).unwrap_or(0);
            if let Some(connection) = self.open.remove(at) {
                connection.task.abort();
            }
            // The connections before this one run meanwhile.
            self.ended().await;
        }
        let trust = Trust::default();
        let task = self.tasks.spawn(serve(stream, service, trust.clone()));
        self.open.push_back(Connection { task, trust });
    }

    /// Waits until a connection ends. None if there is none.
    pub(super) async fn ended(&mut self) -> Option<()> {
        let ended = self.tasks.join_next().await;
        self.open.retain(|connection| !connection.task.is_finished());
        ended.map(|_| ())
    }
}

async fn serve(stream: TcpStream, service: Arc<Service>, trust: Trust) {
    let service = service_fn(move |request| {
        let (service, trust) = (Arc::clone(&service), trust.clone());
        async move { Ok::<_, Infallible>(service.answer(request, &trust).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Clients that leave early or are too slow end here. Neither is an error.
    let _ = timeout(WHOLE, connection).await;
}
