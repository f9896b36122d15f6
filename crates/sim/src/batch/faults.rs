//! Decides which fault, if any, applies to a call.

use std::collections::HashMap;
use std::time::Duration;

use hyper::StatusCode;
use parking_lot::Mutex;

use super::errors::BatchError;
use super::routes::Route;
use crate::roll::Roll;
use crate::scenario::{AccountScenario, EchoPlace, Fault, FaultKind, Operation};

/// The faults of one account, and how many calls each path has had.
#[derive(Debug)]
pub(crate) struct AccountFaults {
    faults: Vec<Fault>,
    /// The account's dice.
    roll: Roll,
    ordinals: Ordinals,
}

impl AccountFaults {
    pub(crate) fn new(account: &AccountScenario, roll: Roll) -> Self {
        Self { faults: account.faults.clone(), roll, ordinals: Ordinals::default() }
    }

    /// Whether any of them repeats what clients send.
    pub(crate) fn echoes(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind == FaultKind::Echo)
    }

    /// Whether any of them makes links of its own.
    pub(super) fn bends_links(&self) -> bool {
        self.faults.iter().any(|fault| is_of_lists(fault.kind) || fault.kind == FaultKind::Flood)
    }

    /// The first fault of the scenario that applies to this call.
    /// `place` is the position of the node that the call names.
    pub(super) fn strike(
        &self,
        route: &Route,
        path: &str,
        place: Option<u32>,
        now: Duration,
    ) -> Option<&Fault> {
        if self.faults.is_empty() {
            return None;
        }
        let operation = route.operation();
        let subject = self.roll.number(operation as u64).text(path);
        let ordinal = self.ordinals.next(subject);
        let call = subject.number(u64::from(ordinal));
        self.faults
            .iter()
            .enumerate()
            .find(|(index, fault)| {
                is_about(fault, operation, route.pool(), now)
                    && fault.nodes.is_none_or(|nodes| place.is_some_and(|place| nodes.contains(place)))
                    && fault.first.is_none_or(|first| ordinal < first)
                    && call.number(*index as u64).happens(fault.share)
            })
            .map(|(_, fault)| fault)
    }
}

/// How often each operation was called on each path: the only thing besides the scenario that decides a roll.
///
/// It counts the calls for one path only, and those come one after another. The order in which the calls for
/// different nodes interleave therefore changes nothing.
#[derive(Debug)]
struct Ordinals(Vec<Mutex<HashMap<u64, u32>>>);

impl Default for Ordinals {
    fn default() -> Self {
        Self((0..64).map(|_| Mutex::default()).collect())
    }
}

impl Ordinals {
    /// 0 for the first call.
    fn next(&self, subject: Roll) -> u32 {
        let key = subject.bits();
        let shard = usize::try_from(key % 64).unwrap_or(0);
        let mut counts = self.0[shard].lock();
        let count = counts.entry(key).or_insert(0);
        *count += 1;
        *count - 1
    }
}

fn is_about(fault: &Fault, operation: Operation, pool: Option<&str>, now: Duration) -> bool {
    (fault.on == operation || fault.on == Operation::Any)
        && fault.pool.as_deref().is_none_or(|id| pool.is_some_and(|pool| pool.eq_ignore_ascii_case(id)))
        && fault.from.is_none_or(|from| now >= from.0)
        && fault.until.is_none_or(|until| now < until.0)
        && (!is_of_lists(fault.kind) || is_list(operation))
        && (!is_of_uploads(fault.kind) || operation == Operation::Upload)
}

/// Lists with pages. (The list of node counts does not fail in this way.)
fn is_list(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::ListPools | Operation::ListNodes | Operation::ListJobs | Operation::ListTasks
    )
}

fn is_of_lists(kind: FaultKind) -> bool {
    use FaultKind as K;
    matches!(kind, K::NextLinkLoop | K::NextLinkElsewhere | K::NextLinkTurn | K::NextLinkNew)
}

fn is_of_uploads(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::EarlyAnswer | FaultKind::Directory | FaultKind::Promise)
}

/// Whether a good answer repeats what the account was sent.
pub(super) fn echoes_in_answer(fault: &Fault) -> bool {
    fault.kind == FaultKind::Echo && fault.into == EchoPlace::Answer
}

/// Whether the call is carried out before it fails.
pub(super) fn is_carried_out(fault: &Fault) -> bool {
    use FaultKind as K;
    let usually = match fault.kind {
        K::TimeoutAccepted
        | K::DropAfter
        | K::Slow
        | K::Truncated
        | K::EmptyBody
        | K::NextLinkLoop
        | K::NextLinkElsewhere
        | K::NextLinkTurn
        | K::NextLinkNew
        | K::EarlyAnswer
        | K::Flood
        | K::Directory
        | K::Promise => true,
        K::Echo => fault.into == EchoPlace::Answer,
        K::Throttle
        | K::ServerBusy
        | K::InternalError
        | K::TimeoutRefused
        | K::DropBefore
        | K::NonJson
        | K::BadGateway
        | K::Code
        | K::PlainMessage
        | K::Silent => false,
    };
    fault.accepted.unwrap_or(usually)
}

/// The Batch error of a fault, if the fault answers with one.
pub(super) fn error_of(fault: &Fault) -> Option<BatchError> {
    let status =
        |default: StatusCode| fault.status.and_then(|s| StatusCode::from_u16(s).ok()).unwrap_or(default);
    let mut error = match fault.kind {
        FaultKind::Throttle => BatchError::too_many_requests(),
        FaultKind::ServerBusy => BatchError::server_busy(),
        FaultKind::InternalError => BatchError::internal(),
        FaultKind::TimeoutAccepted | FaultKind::TimeoutRefused => BatchError::timed_out(),
        FaultKind::Code => {
            let code = fault.code.as_deref().unwrap_or("InternalError");
            BatchError::new(status(StatusCode::CONFLICT), code, "The scenario wants this call to fail.")
        }
        FaultKind::PlainMessage => {
            let code = fault.code.as_deref().unwrap_or("InternalError");
            let mut error =
                BatchError::new(status(StatusCode::INTERNAL_SERVER_ERROR), code, "upstream connect error");
            error.plain = true;
            error
        }
        FaultKind::Echo if fault.into == EchoPlace::Error => {
            let code = fault.code.as_deref().unwrap_or("InvalidPropertyValue");
            BatchError::new(status(StatusCode::BAD_REQUEST), code, "")
        }
        _ => return None,
    };
    if let Some(message) = &fault.message {
        error.message.clone_from(message);
    }
    Some(error.after(fault.retry_after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    const FAULTS: &str = "[[account]]\nname = \"contoso\"\n[[account.pool]]\nid = \"p\"\n\
        [[account.fault]]\non = \"upload\"\nkind = \"throttle\"\nshare = 0.1\n\
        [[account.fault]]\non = \"any\"\nkind = \"slow\"\nshare = 0.1\nfirst = 1\n\
        [[account.fault]]\non = \"list-nodes\"\nkind = \"server-busy\"\nfrom = \"5s\"\nuntil = \"6s\"";

    fn faults() -> AccountFaults {
        let scenario = Scenario::from_toml(FAULTS).expect("valid");
        AccountFaults::new(&scenario.accounts[0], Roll::new(scenario.seed))
    }

    fn upload(node: usize) -> (Route, String) {
        let node = node.to_string();
        let path = format!("/pools/p/nodes/{node}/uploadbatchservicelogs");
        (Route::Upload { pool: "p".into(), node }, path)
    }

    fn kind(faults: &AccountFaults, node: usize) -> Option<FaultKind> {
        let (route, path) = upload(node);
        faults.strike(&route, &path, None, Duration::ZERO).map(|fault| fault.kind)
    }

    #[test]
    fn the_order_of_calls_changes_nothing() {
        let (forward, backward) = (faults(), faults());

        let one: Vec<_> = (0..500).map(|node| (kind(&forward, node), kind(&forward, node))).collect();
        let firsts: Vec<_> = (0..500).rev().map(|node| kind(&backward, node)).collect();
        let seconds: Vec<_> = (0..500).map(|node| kind(&backward, node)).collect();

        let other: Vec<_> = firsts.into_iter().rev().zip(seconds).collect();
        assert_eq!(one, other);
        let struck = one.iter().filter(|(first, _)| *first == Some(FaultKind::Throttle)).count();
        assert!((25..80).contains(&struck), "{struck} of 500");
    }

    #[test]
    fn a_fault_of_the_first_call_spares_the_second() {
        let faults = faults();

        let slow =
            |nodes: usize| (0..nodes).filter(|node| kind(&faults, *node) == Some(FaultKind::Slow)).count();

        assert!(slow(500) > 0);
        assert_eq!(slow(500), 0);
    }

    #[test]
    fn a_fault_strikes_only_in_its_window() {
        let faults = faults();
        let route = Route::ListNodes { pool: "P".into() };
        let busy = |seconds| {
            faults
                .strike(&route, "/pools/P/nodes", None, Duration::from_secs(seconds))
                .is_some_and(|fault| fault.kind == FaultKind::ServerBusy)
        };

        assert!(!busy(4) && busy(5) && !busy(6));
    }
}
