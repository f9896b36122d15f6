//! Serves a call: counts it, checks it, applies a fault, carries it out, answers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, header};
use time::OffsetDateTime;
use uuid::Uuid;

use super::envelope::SuccessReply;
use super::errors::BatchError;
use super::faults;
use super::request::Call;
use super::routes::Route;
use super::upload::LARGEST_BODY;
use crate::clock::micros;
use crate::echo::echo;
use crate::http::{Answer, HangUp, Query, ReplyBody, Service, read_body};
use crate::ledger::{InFlight, NodeKey};
use crate::scenario::{EchoPlace, Fault, FaultKind};
use crate::world::{Account, World};

/// Answers the port of one Batch account.
pub(crate) struct BatchService {
    pub(crate) world: Arc<World>,
    /// Index of the account in the world.
    pub(crate) account: usize,
}

impl Service for BatchService {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        if let Some(answer) = crate::control::answer(&self.world, &request) {
            return Ok(answer);
        }
        let account = &self.world.accounts[self.account];
        let (parts, body) = request.into_parts();
        let mut call = Call {
            world: &self.world,
            account,
            method: &parts.method,
            headers: &parts.headers,
            uri: &parts.uri,
            query: Query::parse(parts.uri.query().unwrap_or("")),
            request_id: Uuid::new_v4(),
            received_at: OffsetDateTime::now_utc(),
            now: self.world.clock.elapsed(),
            after: parts.extensions.get().cloned().unwrap_or_default(),
        };
        let route = Route::find(call.method, call.uri.path());
        let in_flight =
            route.as_ref().ok().and_then(|route| count_call(&self.world, account, route, call.now));
        let body = match &route {
            // Read even if the call will be refused: otherwise the connection could not be used again.
            Ok(Route::Upload { .. }) => read_body(body, LARGEST_BODY).await,
            _ => None,
        };
        if account.faults.echoes() {
            account.heard.lock().hear(call.header("authorization"), body.as_deref());
        }
        wait_latency(account, call.request_id).await;
        call.now = self.world.clock.elapsed();
        let mut answer = match route {
            Ok(route) => call.serve(&route, body.as_ref()).await,
            Err(error) => match call.authenticate_and_count() {
                Ok(()) => Ok(call.error(&error)),
                Err(unauthorized) => Ok(call.error(&unauthorized)),
            },
        };
        if let (Ok(response), Some(in_flight)) = (&mut answer, in_flight) {
            if let Some(wait) = wait_asked_for(response) {
                in_flight.asked_to_wait(self.world.clock.elapsed(), wait);
            }
            response.body_mut().hold(in_flight);
        }
        answer
    }
}

/// Records the call in the ledger when it arrives.
fn count_call(world: &World, account: &Account, route: &Route, now: Duration) -> Option<InFlight> {
    match route {
        Route::ListPools
        | Route::ListNodes { .. }
        | Route::NodeCounts
        | Route::ListJobs
        | Route::ListTasks { .. }
        | Route::ListSubtasks { .. } => {
            account.ledger.list_calls.fetch_add(1, Relaxed);
            None
        }
        Route::GetPool { .. } | Route::GetNode { .. } | Route::GetJob { .. } | Route::GetTask { .. } => {
            account.ledger.get_calls.fetch_add(1, Relaxed);
            None
        }
        Route::Upload { pool, node } => {
            // Also for a node or pool that is gone, because the call named it.
            let node = account.pool(pool).and_then(|(pool_place, pool)| {
                pool.names.place(node).map(|place| NodeKey { pool: pool_place, place })
            });
            world.clock.count_upload();
            Some(account.ledger.upload_call(now, node))
        }
    }
}

/// The `Retry-After` of an answer.
fn wait_asked_for(response: &Response<ReplyBody>) -> Option<Duration> {
    let wait = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    // A date is at least a second ahead.
    Some(Duration::from_secs(wait.parse().unwrap_or(1)))
}

async fn wait_latency(account: &Account, request_id: Uuid) {
    let latency = account.scenario.latency;
    if latency.max.0.is_zero() {
        return;
    }
    let (_, low) = request_id.as_u64_pair();
    let wait = account.roll.number(low).between(micros(latency.min.0), micros(latency.max.0));
    tokio::time::sleep(Duration::from_micros(wait)).await;
}

impl Call<'_> {
    fn authenticate_and_count(&self) -> Result<(), BatchError> {
        self.authenticate().inspect_err(|_| {
            self.account.ledger.unauthorized.fetch_add(1, Relaxed);
        })
    }

    async fn serve(&self, route: &Route, body: Option<&Bytes>) -> Answer {
        if let Err(error) = self.authenticate_and_count().and_then(|()| self.check_query()) {
            return Ok(self.error(&error));
        }
        if !self.account.bucket.lock().take(self.now) {
            let error = BatchError::too_many_requests().after(self.account.scenario.retry_after);
            return Ok(self.refuse(&error));
        }
        match self.account.faults.strike(route, self.uri.path(), self.place(route), self.now) {
            None => Ok(self.response(self.carry_out(route, body, None))),
            Some(fault) => self.go_wrong(fault, route, body).await,
        }
    }

    fn carry_out(
        &self,
        route: &Route,
        body: Option<&Bytes>,
        fault: Option<&Fault>,
    ) -> Result<SuccessReply, BatchError> {
        match route {
            Route::ListPools => self.list_pools(fault),
            Route::GetPool { pool } => self.get_pool(pool, fault),
            Route::ListNodes { pool } => self.list_nodes(pool, fault),
            Route::GetNode { pool, node } => self.get_node(pool, node, fault),
            Route::NodeCounts => self.node_counts(),
            Route::ListJobs => self.list_jobs(fault),
            Route::GetJob { job } => self.get_job(job),
            Route::ListTasks { job } => self.list_tasks(job, fault),
            Route::GetTask { job, task } => self.get_task(job, task),
            Route::ListSubtasks { job, task } => self.list_subtasks(job, task),
            Route::Upload { pool, node } => self.upload(pool, node, body, fault),
        }
    }

    /// The position of the node that the call names.
    fn place(&self, route: &Route) -> Option<u32> {
        let (Route::GetNode { pool, node } | Route::Upload { pool, node }) = route else { return None };
        self.account.pool(pool)?.1.names.place(node)
    }

    /// What the account was sent.
    pub(super) fn what_was_sent(&self, fault: &Fault) -> String {
        echo(&self.account.heard.lock().secrets(), fault.spelling)
    }

    /// The same, if a good answer is to repeat it.
    pub(super) fn echo_of_answer(&self, fault: Option<&Fault>) -> Option<String> {
        fault.filter(|fault| faults::echoes_in_answer(fault)).map(|fault| self.what_was_sent(fault))
    }

    fn response(&self, result: Result<SuccessReply, BatchError>) -> Response<ReplyBody> {
        match result {
            Ok(good) => self.good(good),
            Err(error) => self.refuse(&error),
        }
    }

    fn refuse(&self, error: &BatchError) -> Response<ReplyBody> {
        if matches!(error.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            self.account.ledger.throttled.fetch_add(1, Relaxed);
        }
        self.error(error)
    }

    /// Serves a call to which a fault applies.
    async fn go_wrong(&self, fault: &Fault, route: &Route, body: Option<&Bytes>) -> Answer {
        let result = if faults::is_carried_out(fault) {
            match self.carry_out(route, body, Some(fault)) {
                Ok(good) => Some(good),
                // A call that is refused anyway gets no fault in addition.
                Err(error) => return Ok(self.refuse(&error)),
            }
        } else {
            None
        };
        if let Some(mut error) = faults::error_of(fault) {
            if fault.kind == FaultKind::Echo {
                error.message = self.what_was_sent(fault);
            }
            return Ok(self.refuse(&error));
        }
        match fault.kind {
            FaultKind::DropBefore | FaultKind::DropAfter => return Err(HangUp),
            FaultKind::Silent => {
                // hyper drops this future if the client disconnects first.
                tokio::time::sleep(fault.delay.0).await;
                return Err(HangUp);
            }
            FaultKind::NonJson => return Ok(Self::html(StatusCode::OK, "Sign in to the network")),
            FaultKind::BadGateway => return Ok(Self::html(StatusCode::BAD_GATEWAY, "502 Bad Gateway")),
            FaultKind::EmptyBody => return Ok(self.nothing()),
            FaultKind::Echo if fault.into == EchoPlace::Redirect => {
                return Ok(self.redirect(&self.what_was_sent(fault)));
            }
            _ => {}
        }
        let Some(good) = result else { return Err(HangUp) };
        let response = self.good(good);
        if fault.kind == FaultKind::EarlyAnswer {
            self.after.send(self.early_answer(route));
        }
        Ok(match fault.kind {
            FaultKind::Slow => response.map(|body| body.into_trickle(fault.delay.0)),
            FaultKind::Truncated => response.map(ReplyBody::into_broken_off),
            _ => response,
        })
    }
}
