//! Listens and serves connections until it is stopped.

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

use super::after_answer::{AfterAnswer, Wire};
use super::body::ReplyBody;

/// A response, or the instruction to drop the connection without one.
pub(crate) type Answer = Result<Response<ReplyBody>, HangUp>;

/// The connection is to be dropped without a response.
#[derive(Debug, thiserror::Error)]
#[error("dropped by the scenario")]
pub(crate) struct HangUp;

/// The address that a request came from; every request carries it in its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Answers the requests on one port.
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

/// Accepts connections without end. Aborting this task closes the port and every connection.
pub(crate) async fn serve<S: Service>(listener: TcpListener, service: Arc<S>) {
    // Dropped with this function, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve_connection(stream, Peer(peer.ip()), Arc::clone(&service)));
                }
                // Most likely out of file descriptors: wait until some are free instead of spinning.
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
    let after = AfterAnswer::default();
    let wire = Wire::new(stream, after.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(after.clone());
        Arc::clone(&service).answer(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(wire), service);
    // A client that disconnects and an answer that hangs up both end here as an error; neither is a fault of the
    // server.
    let _: Result<(), Infallible> = connection.await.or(Ok(()));
}
