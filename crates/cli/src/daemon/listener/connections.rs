//! The connections that are there. There is always room for one more, so that nobody keeps others out by being there.

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

/// Connections at once.
pub(super) const CONNECTIONS: usize = 128;

/// How long the head of a request may take.
pub(super) const HEAD: Duration = Duration::from_secs(5);

/// How long a connection may take, from its first byte to its last.
const WHOLE: Duration = Duration::from_secs(30);

/// Bytes of a head that are read, at most.
const HEAD_BYTES: usize = 16 * 1024;

/// The connections that are there. Dropped, it ends them.
#[derive(Default)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    /// The oldest first.
    there: VecDeque<Connection>,
}

struct Connection {
    task: AbortHandle,
    trust: Trust,
}

impl Connections {
    /// Takes one more, for which another is cut off if there are as many as there may be: the oldest whose sender has not
    /// shown the secret, or the oldest of all.
    pub(super) async fn add(&mut self, stream: TcpStream, service: Arc<Service>) {
        while self.tasks.len() >= CONNECTIONS {
            let at = self.there.iter().position(|connection| !connection.trust.is_gained()).unwrap_or(0);
            if let Some(connection) = self.there.remove(at) {
                connection.task.abort();
            }
            // Those that came before this one get their turn meanwhile.
            self.ended().await;
        }
        let trust = Trust::default();
        let task = self.tasks.spawn(serve(stream, service, trust.clone()));
        self.there.push_back(Connection { task, trust });
    }

    /// Waits for the end of one. None where there is none.
    pub(super) async fn ended(&mut self) -> Option<()> {
        let ended = self.tasks.join_next().await;
        self.there.retain(|connection| !connection.task.is_finished());
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
    // Who leaves early, and who is too slow, both end here; neither is an error for us.
    let _ = timeout(WHOLE, connection).await;
}
