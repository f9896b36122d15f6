//! A server for tests that shows every byte of a request unchanged: it uses no HTTP library, which might tidy up the
//! request.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does when it has received a complete request.
pub(crate) enum Reply {
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Sends these bytes and waits for the next request.
    KeepAlive(Vec<u8>),
    /// Resets the connection.
    Reset,
    /// Sends nothing.
    Silence,
}

impl Reply {
    pub(crate) fn raw(text: &str) -> Self {
        Self::Raw(text.into())
    }

    /// A complete answer with a JSON body, a request id and a date.
    pub(crate) fn json(status: &str, body: &str) -> Self {
        Self::with_headers(status, "", body)
    }

    /// A complete answer that keeps the connection open.
    pub(crate) fn keep_alive(body: &str) -> Self {
        Self::KeepAlive(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        )
    }

    /// The same with the `client-request-id` of the request, as the service answers.
    pub(crate) fn echoing(self, seen: &SeenRequest) -> Self {
        let echo = format!("\r\nclient-request-id: {}\r\n", seen.header("client-request-id").unwrap());
        let echoed = |bytes: Vec<u8>| {
            let line_end = bytes.windows(2).position(|window| window == b"\r\n").unwrap();
            [&bytes[..line_end], echo.as_bytes(), &bytes[line_end + 2..]].concat()
        };
        match self {
            Self::Raw(bytes) => Self::Raw(echoed(bytes)),
            Self::KeepAlive(bytes) => Self::KeepAlive(echoed(bytes)),
            other @ (Self::Reset | Self::Silence) => other,
        }
    }

    /// Like [`json`](Self::json), with more header lines, each ending with CR LF.
    pub(crate) fn with_headers(status: &str, headers: &str, body: &str) -> Self {
        Self::Raw(
            format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json; odata=minimalmetadata\r\n\
                 request-id: fbe93aba-21e0\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    }
}

/// A request, byte for byte.
#[derive(Clone, Debug)]
pub(crate) struct SeenRequest {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl SeenRequest {
    /// For example `GET /pools?api-version=1 HTTP/1.1`.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

pub(crate) struct TestServer {
    port: u16,
    log: Arc<Mutex<ServerLog>>,
}

#[derive(Default)]
struct ServerLog {
    connections: usize,
    requests: Vec<SeenRequest>,
}

impl TestServer {
    /// Serves until the test's runtime ends. `reply` gets the number of the request, counted from 1.
    pub(crate) async fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_seeing(move |number, _| reply(number)).await
    }

    /// The same for a `reply` that also reads the request.
    pub(crate) async fn start_seeing(
        reply: impl Fn(usize, &SeenRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(ServerLog::default()));
        let reply = Arc::new(reply);
        let shared = log.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().connections += 1;
                tokio::spawn(serve(stream, reply.clone(), shared.clone()));
            }
        });
        Self { port, log }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn requests(&self) -> Vec<SeenRequest> {
        self.log.lock().requests.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.lock().connections
    }
}

async fn serve(
    mut stream: TcpStream,
    reply: Arc<impl Fn(usize, &SeenRequest) -> Reply>,
    log: Arc<Mutex<ServerLog>>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let number = {
            let mut log = log.lock();
            log.requests.push(request.clone());
            log.requests.len()
        };
        match reply(number, &request) {
            Reply::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Reply::KeepAlive(bytes) => stream.write_all(&bytes).await.unwrap(),
            Reply::Reset => return stream.set_zero_linger().unwrap(),
            Reply::Silence => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<SeenRequest> {
    let mut bytes = Vec::new();
    let head_length = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8(bytes[..head_length].to_vec()).unwrap();
    let mut seen = SeenRequest { head, body: String::new() };
    let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_length + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = String::from_utf8(bytes[head_length..].to_vec()).unwrap();
    Some(seen)
}
