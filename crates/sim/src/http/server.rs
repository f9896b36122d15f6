//! Listening and serving connections, until told to stop.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::ReplyBody;

/// An answer, or the wish to hang up without one.
pub(crate) type Answer = Result<Response<ReplyBody>, HangUp>;

/// The connection is to be dropped without an answer.
#[derive(Debug, thiserror::Error)]
#[error("dropped as the scenario says")]
pub(crate) struct HangUp;

/// The address that a request came from; every request has it among its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Whoever answers the requests of one port.
pub(crate) trait Service: Send + Sync + 'static {
    fn answer(self: Arc<Self>, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// Opens a port. Fleets open thousands of connections at once, so the backlog is longer than the usual 128.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Accepts connections for ever. Whoever aborts it closes the port and every connection.
pub(crate) async fn serve<S: Service>(listener: TcpListener, service: Arc<S>) {
    // Dropped with this function, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve_connection(stream, Peer(peer.ip()), Arc::clone(&service)));
                }
                // Out of file descriptors, most likely: wait for some to come back rather than spin.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection<S: Service>(stream: TcpStream, peer: Peer, service: Arc<S>) {
    // Small answers must not wait for the acknowledgement of earlier ones.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        Arc::clone(&service).answer(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    // A client that leaves, and an answer that hangs up, both end here as an error; neither is one for us.
    let _: Result<(), Infallible> = connection.await.or(Ok(()));
}
