//! What the tests of this crate share: small plans, events in few words, and a run made of them.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::evidence::{NodeEvidence, NodeFacts};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::{AccountName, NodeId, NodeIndex, NodeRef, PoolId, RunId};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::plan::{LeftOut, LeftOutReason, PLAN_SCHEMA, Plan, PlannedAccount};
use fleetlogs_model::planned::{PlannedNode, PlannedPool, Priority};
use fleetlogs_model::service::{NodeError, NodeState, RecentTask, StartTaskResult};
use fleetlogs_model::window::Window;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::run_facts::RunFacts;

pub(crate) const START: OffsetDateTime = datetime!(2026-11-22 09:30:00 UTC);

pub(crate) fn at(seconds: i64) -> OffsetDateTime {
    START + Duration::seconds(seconds)
}

pub(crate) fn planned(account: &str, pool: &str, node: &str) -> PlannedNode {
    let place = PlannedPool::bare(AccountName::new(account), PoolId::new(pool));
    let facts = NodeFacts { state: Some(NodeState::Idle), dedicated: Some(true), ..NodeFacts::default() };
    PlannedNode {
        evidence: NodeEvidence {
            allocation_time: Some(at(-86_400)),
            facts: facts.into(),
            ..NodeEvidence::default()
        },
        ..PlannedNode::bare(place.into(), NodeId::new(node))
    }
}

/// A node of which everything is known.
pub(crate) fn richly_planned(account: &str, pool: &str, node: &str) -> PlannedNode {
    let place = PlannedPool {
        os: Some("batch.node.ubuntu 22.04".into()),
        vm_size: Some("standard_d4s_v5".into()),
        allocation_state: Some("steady".into()),
        current_nodes: 2,
        target_nodes: Some(3),
        resize_errors: vec![NodeError {
            code: "AccountCoreQuotaReached".into(),
            message: "the quota of the account is used up".into(),
        }],
        ..PlannedPool::bare(AccountName::new(account), PoolId::new(pool))
    };
    let facts = NodeFacts {
        state: Some(NodeState::StartTaskFailed),
        dedicated: Some(true),
        scheduling_enabled: Some(true),
        agent_version: Some("1.11.9".into()),
        image: None,
        errors: vec![NodeError { code: "DiskFull".into(), message: "no space left".into() }],
        start_task: Some(StartTaskResult {
            state: Some("completed".into()),
            result: Some("failure".into()),
            exit_code: Some(1),
        }),
    };
    let task = RecentTask {
        job: "nightly".into(),
        task: "frame-7".into(),
        started: Some(at(-1_800)),
        ended: Some(at(-1_740)),
        exit_code: Some(137),
    };
    PlannedNode {
        priority: Priority::HasErrors,
        evidence: NodeEvidence {
            state_since: Some(datetime!(2026-11-22 10:00:00 +1)),
            last_boot_time: Some(at(-3_600)),
            allocation_time: Some(at(-86_400)),
            recent_tasks: [task].into(),
            facts: facts.into(),
        },
        ..PlannedNode::bare(place.into(), NodeId::new(node))
    }
}

/// A plan of these nodes; its accounts are those of the nodes.
pub(crate) fn plan_of(nodes: Vec<PlannedNode>) -> Plan {
    let mut accounts: Vec<PlannedAccount> = vec![];
    for node in &nodes {
        match accounts.iter_mut().find(|account| account.name == *node.account()) {
            Some(account) => account.nodes += 1,
            None => accounts.push(PlannedAccount {
                name: node.account().clone(),
                endpoint: format!("https://{}.westeurope.batch.azure.com", node.account()),
                api_version: "2024-07-01.20.0".into(),
                pools: 2,
                nodes: 1,
                list_calls: 3,
                unlisted: None,
                missing: None,
            }),
        }
    }
    let mut pools: Vec<Arc<PlannedPool>> = vec![];
    for node in &nodes {
        if pools.iter().all(|pool| (&pool.account, &pool.pool) != (node.account(), node.pool())) {
            pools.push(node.place.clone());
        }
    }
    Plan {
        schema: PLAN_SCHEMA.into(),
        run_id: RunId::new(START, 0x4f2a),
        tool_version: "0.1.0".into(),
        created_at: START,
        config_digest: "9f86d081884c7d65".into(),
        snapshot: None,
        window: Window { start: at(-7_200), end: START },
        destination: "https://logs.blob.core.windows.net/batch".into(),
        accounts,
        pools,
        nodes: nodes.into_iter().collect(),
        left_out: vec![],
    }
}

/// Two accounts, three pools, six nodes; one more account that could not be listed, and two entries left out.
pub(crate) fn small_plan() -> Plan {
    let mut plan = plan_of(vec![
        richly_planned("contoso", "render", "tvm-1"),
        planned("contoso", "render", "tvm-2"),
        planned("contoso", "blocked", "tvm-1"),
        planned("contoso", "blocked", "tvm-2"),
        planned("fabrikam", "web", "tvm-7"),
        planned("fabrikam", "web", "tvm-8"),
    ]);
    plan.accounts.push(PlannedAccount {
        name: AccountName::new("tailspin"),
        endpoint: "https://tailspin.westeurope.batch.azure.com".into(),
        api_version: "2024-07-01.20.0".into(),
        pools: 0,
        nodes: 0,
        list_calls: 1,
        unlisted: Some("403 AuthenticationFailed: the role is missing".into()),
        missing: None,
    });
    let preempted = NodeEvidence {
        state_since: Some(at(-60)),
        facts: Arc::new(NodeFacts { state: Some(NodeState::Preempted), ..NodeFacts::default() }),
        ..NodeEvidence::default()
    };
    plan.left_out = vec![
        LeftOut {
            evidence: Some(preempted.into()),
            ..left_out("contoso", "render", Some("tvm-3"), LeftOutReason::Preempted)
        },
        left_out("contoso", "test", None, LeftOutReason::PoolNotSelected),
    ];
    plan
}

/// What happened in the small plan.
pub(crate) fn small_run() -> Vec<Recorded> {
    let busy = failure(FailureClass::Throttled, 429, "TooManyRequests", "slow down");
    let throttled = Event::AccountThrottled {
        account: AccountName::new("contoso"),
        millirate: 75_000,
        pause_ms: Some(1_000),
    };
    let lost = Failure::new(FailureClass::InDoubt, "connection reset");
    let gone = failure(FailureClass::Gone, 404, "NodeNotFound", "no such node");
    let started = Event::RunStarted {
        tool_version: "0.1.0".into(),
        verification: true,
        arrival_deadline_ms: Some(600_000),
        unverified: None,
        simulated: false,
    };
    vec![
        Recorded { at: at(0), node: None, event: started },
        recorded(0, 1, requested(1)),
        recorded(1, 1, requested(1)),
        recorded(2, 1, requested(1)),
        recorded(3, 2, requested(1)),
        recorded(0, 2, retried(1, busy)),
        Recorded { at: at(2), node: None, event: throttled },
        recorded(1, 2, Event::UploadInDoubt { attempt: 1, cause: lost }),
        recorded(2, 3, accepted(1, "batch-2f/blocked/tvm-1", 4)),
        recorded(3, 3, accepted(1, "batch-2f/blocked/tvm-2", 4)),
        recorded(0, 4, requested(2)),
        recorded(0, 5, accepted(2, "batch-2f/render/tvm-1", 4)),
        recorded(4, 5, requested(1)),
        recorded(4, 6, Event::UploadFailed { attempt: 1, cause: gone }),
        recorded(0, 40, verified(4, 123_456_789)),
        recorded(
            1,
            41,
            Event::UploadAdopted {
                attempt: 1,
                directory: "batch-2f/render/tvm-2-b".into(),
                others: vec!["batch-2f/render/tvm-2-a".into()],
            },
        ),
        recorded(1, 60, verified(3, 1_000)),
        recorded(0, 62, Event::NodeSeenAgain { now: NodeEvidence::default().into() }),
        recorded(2, 120, incomplete(0, 4)),
        recorded(3, 120, incomplete(0, 4)),
        Recorded {
            at: at(125),
            node: None,
            event: Event::RunDraining { reason: "SIGINT".into(), outcome: None, cause: None },
        },
        Recorded { at: at(130), node: None, event: Event::RunEnded { list_calls: 9 } },
    ]
}

/// Facts of a run that ended by itself, with verification.
pub(crate) fn ended(outcome: RunOutcome) -> RunFacts {
    RunFacts {
        outcome,
        reason: None,
        stop_cause: None,
        is_killed: false,
        is_over: true,
        started_at: at(0),
        ended_at: at(130),
        verification: true,
        unverified: None,
        is_simulated: false,
        list_calls: 9,
        seen_again: HashSet::from([(AccountName::new("contoso"), PoolId::new("render"))]),
        appeared: BTreeSet::from([NodeRef {
            account: AccountName::new("contoso"),
            pool: PoolId::new("render"),
            node: NodeId::new("tvm-9"),
        }]),
    }
}

/// Facts of a run that ended early.
pub(crate) fn interrupted(reason: &str) -> RunFacts {
    RunFacts { reason: Some(reason.into()), ..ended(RunOutcome::Interrupted) }
}

/// The ledger and the histories that the events fold into.
pub(crate) fn folded(plan: &Plan, events: &[Recorded]) -> (Ledger, Vec<(NodeIndex, NodeHistory)>) {
    let mut ledger = Ledger::new(plan);
    let mut histories = std::collections::BTreeMap::<NodeIndex, NodeHistory>::new();
    for event in events {
        ledger.apply(event);
        if let Some(node) = event.node {
            histories.entry(node).or_default().apply(event);
        }
    }
    (ledger, histories.into_iter().collect())
}

pub(crate) fn history_of(events: &[Event]) -> NodeHistory {
    let mut history = NodeHistory::default();
    for event in events {
        history.apply(&recorded(0, 0, event.clone()));
    }
    history
}

pub(crate) fn recorded(node: u32, seconds: i64, event: Event) -> Recorded {
    Recorded { at: at(seconds), node: Some(NodeIndex(node)), event }
}

pub(crate) fn requested(attempt: u32) -> Event {
    let client_request_id = Uuid::from_u128(attempt.into());
    Event::UploadRequested { attempt, client_request_id, service_ahead_ms: None }
}

pub(crate) fn accepted(attempt: u32, directory: &str, files: u32) -> Event {
    let request_id = Some(format!("service-{attempt}").into());
    Event::UploadAccepted { attempt, directory: directory.into(), files: Some(files), request_id }
}

pub(crate) fn retried(attempt: u32, cause: Failure) -> Event {
    Event::UploadWillRetry { attempt, cause, delay_ms: 1_000 }
}

pub(crate) fn verified(files: u32, bytes: u64) -> Event {
    Event::FilesVerified { files, bytes, fingerprint: None, proof: None }
}

pub(crate) fn incomplete(files: u32, promised: u32) -> Event {
    let reason = format!("{files} of {promised} files arrived before the deadline").into();
    Event::FilesIncomplete { files, bytes: 0, reason, shortfall: None }
}

pub(crate) fn failure(class: FailureClass, status: u16, code: &str, message: &str) -> Failure {
    Failure {
        status: Some(status),
        code: Some(code.into()),
        request_id: Some("service-1".into()),
        ..Failure::new(class, message)
    }
}

pub(crate) fn left_out(account: &str, pool: &str, node: Option<&str>, reason: LeftOutReason) -> LeftOut {
    LeftOut {
        account: AccountName::new(account),
        pool: PoolId::new(pool),
        node: node.map(NodeId::new),
        reason,
        cause: None,
        evidence: None,
    }
}

/// A writer whose text can be read while somebody else owns it.
#[derive(Clone, Default)]
pub(crate) struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl SharedBuffer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
