//! The routes of the listener. The query of a request can hold the secret, so no part of a request's target is shown or
//! logged.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fleetlogs_azure::safe;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::schedule::state::alerts::{self, AlertReceipt};
use fleetlogs_engine::schedule::state::numbers::numbers;
use fleetlogs_engine::schedule::state::{JobId, Store};
use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::secret::Secret;
use fleetlogs_report::for_terminal;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::alert::{Alert, FiredAlert};
use super::health::Health;
use super::key::Key;
use super::trust::Trust;
use crate::daemon::metrics::{self, AlertResult, Metrics};

/// The most bytes of an alert. Azure Monitor sends some 5 KB.
const LONGEST_BODY: usize = 256 * 1024;

/// How long the body of a request may take to arrive.
const BODY: Duration = Duration::from_secs(20);

/// Delay of the answer to a wrong secret: trying all secrets would take longer than a lifetime.
const DELAY: Duration = Duration::from_millis(300);

/// How long `/metrics` waits for the state, which may be being published at that moment.
const LOOK: Duration = Duration::from_secs(1);

/// Seconds after which a sender should retry, if this machine is not the owner or cannot record the alert.
const AGAIN: &str = "30";

/// The shortest time between two warnings.
const SELDOM: Duration = Duration::from_secs(60);

/// The longest text of an alert in the log, in characters.
pub(super) const LONGEST_SHOWN: usize = 200;

type Answer = Response<Full<Bytes>>;

pub(super) struct Service {
    key: Option<Key>,
    snapshots: BTreeSet<SnapshotName>,
    state: watch::Receiver<Option<Store>>,
    metrics: Metrics,
    health: Health,
    /// When the last refused sender was logged, so that repeated attempts do not fill the log.
    warned: Mutex<Option<Instant>>,
}

impl Service {
    pub(super) fn new(
        secret: Option<&Secret>,
        snapshots: impl IntoIterator<Item = SnapshotName>,
        state: watch::Receiver<Option<Store>>,
        metrics: Metrics,
        health: Health,
    ) -> Self {
        let (key, snapshots) = (secret.map(Key::new), snapshots.into_iter().collect());
        Self { key, snapshots, state, metrics, health, warned: Mutex::default() }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>, trust: &Trust) -> Answer {
        let is_look = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" if is_look => self.health(false),
            "/healthz/active" if is_look => self.health(true),
            "/metrics" if is_look => self.metrics().await,
            "/healthz" | "/healthz/active" | "/metrics" => not_allowed("GET, HEAD"),
            path => match path.strip_prefix("/alerts/").map(SnapshotName::new) {
                Some(_) if request.method() != Method::POST => not_allowed("POST"),
                Some(snapshot) => self.alert(&snapshot, request, trust).await,
                None => error(StatusCode::NOT_FOUND, "no such path"),
            },
        }
    }

    /// `must_own` is for load balancers in front of several machines: they must send alerts to the owner.
    fn health(&self, must_own: bool) -> Answer {
        if let Some(silence) = self.health.silent_for() {
            let reason = format!("the schedule made no progress for {} seconds", silence.as_secs());
            return json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "stuck", "reason": reason }));
        }
        let is_owner = self.state.borrow().is_some();
        let role = if is_owner { "active" } else { "standby" };
        let status = if must_own && !is_owner { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        json(status, &json!({ "status": "ok", "role": role }))
    }

    async fn metrics(&self) -> Answer {
        let store = self.state.borrow().clone();
        match store {
            None => self.metrics.state(None),
            // If it does not answer, the last numbers are shown.
            Some(store) => {
                if let Ok(Ok(numbers)) = timeout(LOOK, store.read(numbers)).await {
                    self.metrics.state(Some(&numbers));
                }
            }
        }
        let text = self.metrics.text(Clock::System.now());
        with(StatusCode::OK, metrics::CONTENT_TYPE, text)
    }

    async fn alert(&self, snapshot: &SnapshotName, request: Request<Incoming>, trust: &Trust) -> Answer {
        let (result, answer) = self.alert_answered(snapshot, request, trust).await;
        self.metrics.alert(result);
        answer
    }

    /// The secret is checked first: a sender without it learns nothing.
    async fn alert_answered(
        &self,
        snapshot: &SnapshotName,
        request: Request<Incoming>,
        trust: &Trust,
    ) -> (AlertResult, Answer) {
        let Some(key) = &self.key else {
            self.warn_seldom("an alert was refused: [schedule.listener] has no `secret`");
            let answer = error(StatusCode::FORBIDDEN, "alerts are not accepted: the config has no secret");
            return (AlertResult::Refused, answer);
        };
        if !key.is_known(request.headers(), request.uri().query()) {
            self.warn_seldom("an alert was refused: its secret is missing or wrong");
            sleep(DELAY).await;
            let answer = error(StatusCode::UNAUTHORIZED, "the secret is missing or wrong");
            return (AlertResult::Refused, and(answer, WWW_AUTHENTICATE, "Bearer"));
        }
        trust.gain();
        if !self.snapshots.contains(snapshot) {
            tracing::warn!("an alert was refused: the config has no snapshot with the name in its URL");
            let answer = error(StatusCode::NOT_FOUND, "the config has no snapshot of this name");
            return (AlertResult::Invalid, answer);
        }
        match body(request).await.and_then(|body| Alert::read(&body).map_err(bad)) {
            Ok(Alert::Fired(fired)) => self.record_alert(snapshot, &fired).await,
            Ok(Alert::Resolved) => {
                let ignored = json!({ "ignored": "it is resolved; only fired alerts start a run" });
                (AlertResult::Resolved, json(StatusCode::OK, &ignored))
            }
            Err((status, reason)) => {
                tracing::warn!(snapshot = snapshot.as_str(), "an alert was refused: {reason}");
                (AlertResult::Invalid, error(status, reason))
            }
        }
    }

    /// Records an alert and its run, durably.
    async fn record_alert(&self, snapshot: &SnapshotName, alert: &FiredAlert) -> (AlertResult, Answer) {
        let store = self.state.borrow().clone();
        let Some(store) = store else {
            return (AlertResult::Failed, later("this machine does not own the schedule"));
        };
        let now = Clock::System.now();
        let taken = store.change(|state| alerts::take_alert(state, &alert.id, alert.at, snapshot, now)).await;
        let (result, run) = match taken {
            Ok(AlertReceipt::New(run)) => (AlertResult::Queued, Some(run)),
            Ok(AlertReceipt::Joined(run)) => (AlertResult::Joined, Some(run)),
            Ok(AlertReceipt::Known(run)) => (AlertResult::Repeated, run),
            Err(error) => {
                tracing::warn!(snapshot = snapshot.as_str(), "an alert could not be recorded: {error}");
                return (AlertResult::Failed, later("the alert could not be recorded"));
            }
        };
        let (rule, severity) = (shown(&alert.rule), shown(&alert.severity));
        let run = run.map(|JobId(run)| run);
        tracing::info!(snapshot = snapshot.as_str(), ?rule, ?severity, run, ?result, "alert");
        let joined = result != AlertResult::Queued;
        (result, json(StatusCode::ACCEPTED, &json!({ "run": run, "joined": joined })))
    }

    fn warn_seldom(&self, text: &str) {
        let mut warned = self.warned.lock();
        if warned.is_none_or(|at| at.elapsed() > SELDOM) {
            *warned = Some(Instant::now());
            tracing::warn!("{text}");
        }
    }
}

/// What is wrong with a request.
type Problem = (StatusCode, &'static str);

fn bad(reason: &'static str) -> Problem {
    (StatusCode::BAD_REQUEST, reason)
}

/// Reads the body of a request, up to the limit.
async fn body(request: Request<Incoming>) -> Result<Bytes, Problem> {
    const TOO_LONG: Problem = (StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 256 KiB");
    let body = request.into_body();
    if body.size_hint().lower() > LONGEST_BODY as u64 {
        return Err(TOO_LONG);
    }
    match timeout(BODY, Limited::new(body, LONGEST_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(failed)) if failed.is::<LengthLimitError>() => Err(TOO_LONG),
        Ok(Err(_)) => Err(bad("the body is incomplete")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

/// Text of an alert, made safe for the log.
pub(super) fn shown(text: &str) -> String {
    let start: String = text.chars().take(LONGEST_SHOWN).collect();
    for_terminal(&safe(&start)).into_owned()
}

fn later(reason: &str) -> Answer {
    and(error(StatusCode::SERVICE_UNAVAILABLE, reason), RETRY_AFTER, AGAIN)
}

fn not_allowed(methods: &'static str) -> Answer {
    and(error(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here"), ALLOW, methods)
}

fn error(status: StatusCode, reason: &str) -> Answer {
    json(status, &json!({ "error": reason }))
}

fn json(status: StatusCode, document: &Value) -> Answer {
    with(status, "application/json", format!("{document}\n"))
}

fn with(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    and(and(answer, CONTENT_TYPE, content_type), CACHE_CONTROL, "no-store")
}

fn and(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_rule_is_one_harmless_line_in_a_log() {
        assert_eq!(shown("a\u{1b}[2Jb\nfake line"), "a [2Jb fake line");
        assert_eq!(shown("evil\u{202e}txt"), "evil\\u{202e}txt");
        assert_eq!(shown(&"x".repeat(1000)).len(), LONGEST_SHOWN);
        assert_eq!(
            shown("see https://a.example/?sig=SECRET&se=1"),
            "see https://a.example/?sig=<redacted>&se=1"
        );
    }
}
