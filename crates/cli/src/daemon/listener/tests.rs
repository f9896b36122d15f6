//! Requests over a real socket, written by hand: what comes in is exactly what stands here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_engine::schedule::state::Store;
use fleetlogs_model::home::{Answer, HomeError, StateHome};
use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::secret::Secret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::connections::{CONNECTIONS, HEAD};
use super::health::Health;
use super::server::Listener;
use crate::config::ListenerSettings;
use crate::daemon::metrics::Metrics;

const SECRET: &str = "not-a-secret-at-all";

/// Longer than a busy machine takes for anything here.
const FAR: Duration = Duration::from_secs(300);

/// A listener, and the state behind it.
struct Stage {
    address: SocketAddr,
    store: Store,
    state: watch::Sender<Option<Store>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    _dir: TempDir,
}

impl Stage {
    async fn start() -> Self {
        Self::with(Some(SECRET), None, Health::default()).await
    }

    async fn with(secret: Option<&str>, home: Option<Arc<dyn StateHome>>, health: Health) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = home.map(|home| (home, None));
        let store = Store::open(&dir.path().join("schedule.db"), home).unwrap();
        let (state, states) = watch::channel(Some(store.clone()));
        let settings = ListenerSettings {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            secret: secret.map(|secret| Secret::new(secret.into())),
        };
        let snapshots = [SnapshotName::new("nightly"), SnapshotName::new("incident")];
        let listener = Listener::bind(&settings, snapshots, states, Metrics::new(), health).await.unwrap();
        let address = listener.address;
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(listener.serve(async { drop(stopped.await) }));
        Self { address, store, state, stop: Some(stop), served, _dir: dir }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes, and reads until the connection is closed.
    async fn send(&self, request: &str) -> Reply {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        Reply::read(&mut stream).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n")).await
    }

    async fn post(&self, target: &str, header: &str, body: &str) -> Reply {
        let length = body.len();
        self.send(&format!(
            "POST {target} HTTP/1.1\r\nhost: here\r\n{header}content-length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    /// An alert as an action group sends it.
    async fn alert(&self, snapshot: &str, alert: &Value) -> Reply {
        self.post(&format!("/alerts/{snapshot}?code={SECRET}"), "", &alert.to_string()).await
    }

    /// Rows of the queue.
    async fn queued(&self) -> u64 {
        use fleetlogs_engine::schedule::state::numbers::numbers;
        self.store.read(numbers).await.unwrap().queued
    }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    async fn read(stream: &mut TcpStream) -> Self {
        let mut text = Vec::new();
        // A client that is cut off may see a reset after the answer.
        let _ = stream.read_to_end(&mut text).await;
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        assert!(!text.contains(SECRET), "the secret is echoed: {text}");
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// The sample of Azure Monitor's documentation in form, with names of nobody.
fn alert(id: &str, condition: &str) -> Value {
    json!({
        "schemaId": "azureMonitorCommonAlertSchema",
        "data": {
            "essentials": {
                "alertId": format!("/subscriptions/S/providers/Microsoft.AlertsManagement/alerts/{id}"),
                "alertRule": "unusable nodes \u{1b}[2J",
                "severity": "Sev3",
                "signalType": "Metric",
                "monitorCondition": condition,
                "monitoringService": "Platform",
                "alertTargetIDs": ["/subscriptions/S/resourcegroups/g/providers/microsoft.batch/batchaccounts/contoso"],
                "configurationItems": ["contoso"],
                "originAlertId": "3f2d4487_g_microsoft.insights_metricAlerts_unusable nodes",
                "firedDateTime": "2026-11-22T13:58:24.3713213Z",
                "resolvedDateTime": "2026-11-22T14:03:16.2246313Z",
                "description": "",
                "essentialsVersion": "1.0",
                "alertContextVersion": "1.0"
            },
            "alertContext": { "properties": null, "conditionType": "SingleResourceMultipleMetricCriteria" }
        }
    })
}

#[tokio::test]
async fn an_alert_begins_a_run_once_and_others_join_it() {
    let stage = Stage::start().await;
    let first = stage.alert("nightly", &alert("a", "Fired")).await;
    assert_eq!((first.status, first.json()), (202, json!({ "run": 1, "joined": false })));
    let again = stage.alert("nightly", &alert("a", "Fired")).await;
    assert_eq!((again.status, again.json()), (202, json!({ "run": 1, "joined": true })));
    let other = stage.alert("nightly", &alert("b", "Fired")).await;
    assert_eq!((other.status, other.json()), (202, json!({ "run": 1, "joined": true })));
    let elsewhere = stage.alert("incident", &alert("a", "Fired")).await;
    assert_eq!((elsewhere.status, elsewhere.json()), (202, json!({ "run": 2, "joined": false })));
    assert_eq!(stage.queued().await, 2);
    let metrics = stage.get("/metrics").await.body;
    for line in ["queued\"} 2", "repeated\"} 1", "joined\"} 1"] {
        assert!(metrics.contains(&format!("fleetlogs_alerts_total{{result=\"{line}\n")), "{metrics}");
    }
    assert!(metrics.contains("fleetlogs_queue_length 2\n"), "{metrics}");
}

#[tokio::test]
async fn what_is_over_begins_nothing() {
    let stage = Stage::start().await;
    let resolved = stage.alert("nightly", &alert("a", "Resolved")).await;
    assert_eq!(resolved.status, 200);
    assert!(resolved.json()["ignored"].as_str().unwrap().contains("resolved"));
    assert_eq!(stage.queued().await, 0);
}

#[tokio::test]
async fn the_secret_opens_and_nothing_else_does() {
    let stage = Stage::start().await;
    let body = alert("a", "Fired").to_string();
    let bearer = format!("authorization: Bearer {SECRET}\r\n");
    assert_eq!(stage.post("/alerts/nightly", &bearer, &body).await.status, 202);
    for (target, header) in [
        ("/alerts/nightly", ""),
        ("/alerts/nightly?code=wrong", ""),
        ("/alerts/nightly", "authorization: Bearer wrong\r\n"),
        // A client without the secret does not even learn which snapshots exist.
        ("/alerts/nowhere?code=wrong", ""),
    ] {
        let started = Instant::now();
        let reply = stage.post(target, header, &body).await;
        assert_eq!(reply.status, 401, "{target}");
        assert!(reply.head.contains("www-authenticate: bearer"), "{}", reply.head);
        assert!(started.elapsed() >= Duration::from_millis(300), "it can be tried too fast");
    }
    let unknown = stage.post(&format!("/alerts/nowhere?code={SECRET}"), "", &body).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(stage.queued().await, 1);
}

#[tokio::test]
async fn without_a_secret_no_alert_is_taken() {
    let stage = Stage::with(None, None, Health::default()).await;
    assert_eq!(stage.alert("nightly", &alert("a", "Fired")).await.status, 403);
    assert_eq!(stage.post("/alerts/nightly?code=", "", "{}").await.status, 403);
    assert_eq!((stage.get("/healthz").await.status, stage.queued().await), (200, 0));
}

#[tokio::test]
async fn what_is_no_alert_is_refused_with_a_reason() {
    let stage = Stage::start().await;
    let target = format!("/alerts/nightly?code={SECRET}");
    let text = stage.post(&target, "content-type: text/plain\r\n", "fired!").await;
    assert_eq!((text.status, &text.json()["error"]), (400, &json!("the body is not JSON")));
    let other = stage.post(&target, "", "{\"schemaId\":\"AzureMonitorMetricAlert\"}").await;
    assert!(other.status == 400 && other.body.contains("common alert schema"), "{}", other.body);
    // The content type is what senders say, and no more.
    let plain = stage.post(&target, "content-type: text/plain\r\n", &alert("a", "Fired").to_string()).await;
    assert_eq!(plain.status, 202);
}

#[tokio::test]
async fn only_what_is_there_is_answered() {
    let stage = Stage::start().await;
    for (method, target, status) in [
        ("GET", "/alerts/nightly", 405),
        ("DELETE", "/alerts/nightly", 405),
        ("POST", "/metrics", 405),
        ("POST", "/healthz", 405),
        ("GET", "/", 404),
        ("GET", "/alerts", 404),
        ("GET", "/metrics/../secret", 404),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n\r\n");
        let reply = stage.send(&request).await;
        assert_eq!(reply.status, status, "{method} {target}");
        assert_eq!(status == 405, reply.head.contains("allow: "), "{method} {target}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read_on() {
    let stage = Stage::start().await;
    let head = format!("POST /alerts/nightly?code={SECRET} HTTP/1.1\r\nhost: here\r\n");
    // Announced, and never sent.
    let announced = stage.send(&format!("{head}content-length: 300000\r\n\r\n")).await;
    assert_eq!(announced.status, 413);
    // Not announced: it comes in pieces, without end.
    let mut stream = stage.connect().await;
    stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 4096, " ".repeat(4096));
    let (mut reading, mut writing) = stream.split();
    let sent = async {
        let mut sent = 0;
        while sent < 64 * 1024 * 1024 && writing.write_all(chunk.as_bytes()).await.is_ok() {
            sent += chunk.len();
        }
        sent
    };
    let mut answer = vec![0; 12];
    let (sent, _) = tokio::join!(sent, reading.read_exact(&mut answer));
    assert!(sent < 16 * 1024 * 1024, "{sent} bytes were taken");
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413");
    assert_eq!(stage.queued().await, 0);
}

#[tokio::test]
async fn a_standby_asks_to_try_again() {
    let stage = Stage::start().await;
    stage.state.send_replace(None);
    let reply = stage.alert("nightly", &alert("a", "Fired")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.head.contains("retry-after: 30"), "{}", reply.head);
    assert_eq!(stage.get("/healthz").await.json(), json!({ "status": "ok", "role": "standby" }));
    assert_eq!(stage.get("/healthz/active").await.status, 503);
    assert!(stage.get("/metrics").await.body.contains("fleetlogs_schedule_owner 0\n"));
    // It becomes the owner, and the sender tries again.
    stage.state.send_replace(Some(stage.store.clone()));
    assert_eq!(stage.alert("nightly", &alert("a", "Fired")).await.status, 202);
    assert_eq!(stage.get("/healthz").await.json(), json!({ "status": "ok", "role": "active" }));
    assert_eq!(stage.get("/healthz/active").await.status, 200);
}

/// A home that another machine has taken over.
struct LostHome;

impl StateHome for LostHome {
    fn acquire(&self) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async { Err(HomeError::Held) })
    }

    fn renew(&self) -> Answer<'_, ()> {
        Box::pin(async { Err(HomeError::Lost) })
    }

    fn publish(&self, _: Vec<u8>) -> Answer<'_, ()> {
        Box::pin(async { Err(HomeError::Lost) })
    }

    fn release(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn read(&self) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async { Ok(None) })
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(60)
    }
}

#[tokio::test]
async fn an_alert_counts_only_when_the_shared_state_has_it() {
    let stage = Stage::with(Some(SECRET), Some(Arc::new(LostHome)), Health::default()).await;
    for _ in 0..2 {
        // Also the repetition, which this machine knows already.
        let reply = stage.alert("nightly", &alert("a", "Fired")).await;
        assert_eq!(reply.status, 503);
        assert!(reply.head.contains("retry-after: 30"), "{}", reply.head);
    }
}

#[tokio::test]
async fn a_daemon_that_does_not_move_is_not_healthy() {
    let health = Health::within(Duration::from_secs(1));
    let stage = Stage::with(None, None, health.clone()).await;
    assert_eq!(stage.get("/healthz").await.status, 200);
    sleep(Duration::from_millis(1100)).await;
    let stuck = stage.get("/healthz").await;
    assert_eq!((stuck.status, &stuck.json()["status"]), (503, &json!("stuck")));
    health.beat();
    assert_eq!(stage.get("/healthz").await.status, 200);
}

/// Connects again and again, and says nothing.
async fn be_silent(address: SocketAddr) {
    let mut byte = [0];
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = stream.read(&mut byte).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_keep_nobody_out() {
    let stage = Stage::start().await;
    let mut silent = JoinSet::new();
    for _ in 0..200 {
        silent.spawn(be_silent(stage.address));
    }
    sleep(Duration::from_millis(300)).await;
    for _ in 0..50 {
        let started = Instant::now();
        assert_eq!(stage.get("/healthz").await.status, 200);
        let waited = started.elapsed();
        // Somebody who is silent has this long.
        assert!(waited < HEAD, "{waited:?}");
    }
    assert_eq!(stage.alert("nightly", &alert("a", "Fired")).await.status, 202);
}

#[tokio::test]
async fn who_knows_the_secret_is_not_cut_off_for_others() {
    let stage = Stage::start().await;
    let body = alert("a", "Fired").to_string();
    let mut sender = stage.connect().await;
    let head = format!("POST /alerts/nightly?code={SECRET} HTTP/1.1\r\nhost: here\r\n");
    let length = body.len();
    sender.write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes()).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    let mut silent = Vec::new();
    for _ in 0..=CONNECTIONS {
        silent.push(stage.connect().await);
    }
    // The two oldest of those who say nothing have made room.
    for stream in &mut silent[..2] {
        assert_eq!(timeout(Duration::from_secs(2), stream.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
    }
    sender.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(Reply::read(&mut sender).await.status, 202);
    // There is room by now, and the youngest has nothing to fear.
    let last = silent.last_mut().unwrap();
    last.write_all(b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    assert_eq!(Reply::read(last).await.status, 200);
}

#[tokio::test]
async fn slow_senders_are_cut_off() {
    let stage = Stage::start().await;
    let started = Instant::now();
    let mut stream = stage.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
    Reply::read(&mut stream).await;
    let waited = started.elapsed();
    assert!(waited > HEAD / 2 && waited < FAR, "{waited:?}");
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up() {
    let stage = Stage::start().await;
    let head =
        format!("POST /alerts/nightly?code={SECRET} HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\n");
    let started = Instant::now();
    let reply = stage.send(&format!("{head}{{")).await;
    assert_eq!(reply.status, 408);
    assert!(started.elapsed() < FAR);
}

#[tokio::test]
async fn one_connection_is_one_request() {
    let stage = Stage::start().await;
    let request = "GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n";
    let reply = stage.send(&request.repeat(3)).await;
    assert_eq!(reply.body.matches("\"status\"").count(), 1, "{}", reply.body);
}

#[tokio::test]
async fn it_ends_when_told_to_and_answers_what_is_there() {
    let mut stage = Stage::start().await;
    let body = alert("a", "Fired").to_string();
    let head = format!("POST /alerts/nightly?code={SECRET} HTTP/1.1\r\nhost: here\r\n");
    let mut stream = stage.connect().await;
    stream.write_all(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes()).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    stage.stop.take().unwrap().send(()).unwrap();
    sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(stage.address).await.is_err(), "it still listens");
    stream.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(Reply::read(&mut stream).await.status, 202);
    timeout(Duration::from_secs(10), &mut stage.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_told() {
    let stage = Stage::start().await;
    let settings = ListenerSettings { address: stage.address, secret: None };
    let again =
        Listener::bind(&settings, [], stage.state.subscribe(), Metrics::new(), Health::default()).await;
    let error = again.err().expect("it is in use").describe();
    assert!(error.contains("cannot listen on 127.0.0.1:") && error.contains("help: "), "{error}");
}
