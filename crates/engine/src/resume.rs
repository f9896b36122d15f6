//! What is left to do in a run: everything, if the plan is fresh; otherwise what its journal says is outstanding.
//!
//! A call whose intent is on record without a result was lost with its process: it is in doubt, and the container is
//! asked before the call is repeated. Decisions that the journal holds are not made again. Pure but for the time.

use std::collections::HashMap;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::ledger::{Ledger, NodeStatus};
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::transition::NodeEvent;

use crate::intent::Intent;
use crate::queue::{Step, Work};
use crate::retry::Tries;

/// What is left to do.
#[derive(Debug, Default)]
pub struct Outstanding {
    /// Nodes that were not called yet, in plan order.
    pub(crate) fresh: Vec<NodeIndex>,
    /// Nodes to be called again, or asked about, in plan order.
    pub(crate) work: Vec<Work>,
    /// Nodes whose files are awaited.
    pub(crate) awaited: Vec<AwaitedUpload>,
    /// Calls that were in flight when their process ended; to be recorded as in doubt.
    pub(crate) lost: Vec<(NodeIndex, u32)>,
    /// Nodes whose call was repeated, with the first call: they may have more than one directory since then.
    pub(crate) repeated: Vec<(NodeIndex, Intent)>,
    /// How many files nodes promised in calls that earlier processes made.
    pub(crate) promises: Vec<(NodeIndex, u32)>,
    /// One recorded directory of each account and pool, from which the naming is learned.
    pub(crate) directories: Vec<(NodeIndex, Box<str>)>,
}

/// An upload that was accepted and not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AwaitedUpload {
    pub(crate) node: NodeIndex,
    pub(crate) directory: Box<str>,
    /// None if the number of promised files was lost with the call's answer.
    pub(crate) files: Option<u32>,
    /// Whether it holds an upload slot: slots of an earlier process ended with that process.
    pub(crate) slot: bool,
}

impl Outstanding {
    /// Every node of a plan.
    #[must_use]
    pub fn all(plan: &Plan) -> Self {
        Self { fresh: plan.indexed().map(|(node, _)| node).collect(), ..Self::default() }
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes() == 0
    }

    /// How many nodes still need something.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.fresh.len() + self.work.len() + self.awaited.len()
    }
}

/// Folds a journal into what is outstanding.
#[derive(Debug)]
pub struct Replay {
    ledger: Ledger,
    /// Only of nodes that had an event.
    nodes: HashMap<NodeIndex, Past>,
    contradictions: Contradictions,
}

/// Events that cannot have happened where the journal has them. It was changed, or a defect wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contradictions {
    /// How many there are.
    pub count: u64,
    /// The first of them: the position of its node, and what is wrong.
    pub first: Option<(NodeIndex, String)>,
}

impl Contradictions {
    /// Looks at the next event, before it is applied.
    pub(crate) fn look_at(&mut self, recorded: &Recorded, ledger: &Ledger) {
        let (Some(node), Some(event)) = (recorded.node, NodeEvent::of(&recorded.event)) else { return };
        let status = ledger.status(node);
        let Some(why) = status.refuses(event) else { return };
        self.count += 1;
        self.first.get_or_insert_with(|| (node, format!("{event:?} cannot follow {status:?}: {why}")));
    }
}

/// What happened to a node so far, as far as resume needs it.
#[derive(Debug, Default)]
struct Past {
    attempt: u32,
    tries: Tries,
    /// Whether the last call's answer was lost.
    in_doubt: bool,
    /// First intent since the node's last accepted call.
    first_intent: Option<Intent>,
    last_intent: Option<Intent>,
    /// First intent of a call that was repeated, until the container was searched for a directory from it.
    repeated: Option<Intent>,
    /// Directories of this node that are known, the last one last.
    directories: Vec<Box<str>>,
    files: Option<u32>,
    /// The most files that the node promised in any of its calls.
    promised: Option<u32>,
}

impl Past {
    fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::UploadRequested { attempt, service_ahead_ms, .. } => {
                self.attempt = *attempt;
                self.in_doubt = false;
                let intent = Intent::recorded(recorded.at, *service_ahead_ms);
                self.first_intent.get_or_insert(intent);
                self.last_intent = Some(intent);
            }
            Event::UploadAbsent { .. } => self.repeated = self.repeated.or(self.first_intent),
            Event::DirectoriesFound { .. } => self.repeated = None,
            Event::UploadCancelled { attempt } => self.attempt = attempt - 1,
            Event::UploadInDoubt { cause, .. } => {
                self.tries.count(cause.class);
                self.in_doubt = true;
            }
            // A call that is repeated because nobody could tell was counted when it came in doubt.
            Event::UploadWillRetry { .. } if self.in_doubt => {}
            Event::UploadWillRetry { cause, .. } => self.tries.count(cause.class),
            Event::UploadAccepted { directory, files, .. } => {
                self.directories.push(directory.clone());
                self.files = *files;
                self.promised = self.promised.max(*files);
                self.first_intent = None;
            }
            Event::UploadAdopted { directory, .. } => {
                self.directories.push(directory.clone());
                self.files = None;
                self.first_intent = None;
            }
            // The ledger has what these change.
            Event::RunStarted { .. }
            | Event::IdentityChanged { .. }
            | Event::NodeSeenAgain { .. }
            | Event::PoolSeenAgain { .. }
            | Event::NodesAppeared { .. }
            | Event::OrderFollowed { .. }
            | Event::UploadFailed { .. }
            | Event::FilesVerified { .. }
            | Event::FilesAdopted { .. }
            | Event::FilesIncomplete { .. }
            | Event::AccountThrottled { .. }
            | Event::AccountStopped { .. }
            | Event::RunDraining { .. }
            | Event::RunEnded { .. } => {}
        }
    }

    fn work(&self, node: NodeIndex, step: Step) -> Work {
        Work {
            step,
            attempt: self.attempt,
            tries: self.tries,
            first_intent: self.first_intent,
            last_intent: self.last_intent,
            known: self.directories.clone().into(),
            ..Work::new(node)
        }
    }

    /// A new round for a node that had its answer: earlier attempts do not count.
    fn anew(&self, node: NodeIndex) -> Work {
        Work { tries: Tries::default(), first_intent: None, last_intent: None, ..self.work(node, Step::Send) }
    }
}

impl Replay {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { ledger: Ledger::new(plan), nodes: HashMap::new(), contradictions: Contradictions::default() }
    }

    /// Applies the journal's next event.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.contradictions.look_at(recorded, &self.ledger);
        self.ledger.apply(recorded);
        if let Some(node) = recorded.node {
            self.nodes.entry(node).or_default().apply(recorded);
        }
    }

    /// What cannot have happened as the journal has it.
    #[must_use]
    pub fn contradictions(&self) -> &Contradictions {
        &self.contradictions
    }

    /// Where the run stands, and what is outstanding. Nodes that ended with one of the outcomes in `retry` are retried.
    #[must_use]
    pub fn finish(self, plan: &Plan, retry: &[Outcome]) -> (Ledger, Outstanding) {
        let mut outstanding = Outstanding::default();
        let none = Past::default();
        for (node, _) in plan.indexed() {
            let past = self.nodes.get(&node).unwrap_or(&none);
            outstanding.repeated.extend(past.repeated.map(|since| (node, since)));
            outstanding.promises.extend(past.promised.map(|files| (node, files)));
            if let Some(directory) = past.directories.last() {
                outstanding.directories.push((node, directory.clone()));
            }
            let status = self.ledger.status(node);
            match status {
                NodeStatus::Planned => outstanding.fresh.push(node),
                NodeStatus::Waiting => outstanding.work.push(past.work(node, Step::Send)),
                NodeStatus::Requested => {
                    outstanding.lost.push((node, past.attempt));
                    let mut work = past.work(node, Step::AskContainer);
                    work.tries.count(FailureClass::InDoubt);
                    outstanding.work.push(work);
                }
                NodeStatus::InDoubt => outstanding.work.push(past.work(node, Step::AskContainer)),
                NodeStatus::Accepted => {
                    let directory = past.directories.last().cloned();
                    let awaited = directory.map(|directory| AwaitedUpload {
                        node,
                        directory,
                        files: past.files,
                        slot: false,
                    });
                    outstanding.awaited.extend(awaited);
                }
                NodeStatus::Verified
                | NodeStatus::Adopted
                | NodeStatus::Empty
                | NodeStatus::Incomplete
                | NodeStatus::Failed
                | NodeStatus::Gone => {
                    if retry.contains(&status.outcome()) {
                        outstanding.work.push(past.anew(node));
                    }
                }
            }
        }
        (self.ledger, outstanding)
    }
}

/// Why a call that was in flight when its process ended is in doubt.
pub(crate) fn lost_with_its_process() -> Failure {
    Failure::new(FailureClass::InDoubt, "the process ended before the answer came")
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::*;
    use crate::clock::Clock;
    use crate::intent::Now;
    use crate::testing::{NOW, plan_of};

    fn replay(events: impl IntoIterator<Item = (u32, Event)>, retry: &[Outcome]) -> Outstanding {
        let plan = plan_of(3);
        let mut replay = Replay::new(&plan);
        for (node, event) in events {
            replay.apply(&Recorded { at: NOW, node: Some(NodeIndex(node)), event });
        }
        replay.finish(&plan, retry).1
    }

    fn requested(attempt: u32) -> Event {
        Event::UploadRequested { attempt, client_request_id: Uuid::nil(), service_ahead_ms: Some(-60_000) }
    }

    fn accepted(directory: &str) -> Event {
        Event::UploadAccepted { attempt: 1, directory: directory.into(), files: Some(4), request_id: None }
    }

    fn steps(outstanding: &Outstanding) -> Vec<(u32, Step, u32)> {
        let fresh = outstanding.fresh.iter().map(|node| (node.0, Step::Send, 0));
        let work = outstanding.work.iter().map(|work| (work.node.0, work.step, work.attempt));
        let mut steps: Vec<_> = fresh.chain(work).collect();
        steps.sort_by_key(|(node, ..)| *node);
        steps
    }

    #[test]
    fn an_untouched_run_has_everything_outstanding() {
        let outstanding = replay([], &[]);
        assert_eq!(steps(&outstanding), [(0, Step::Send, 0), (1, Step::Send, 0), (2, Step::Send, 0)]);
    }

    #[test]
    fn an_intent_without_a_result_is_asked_about_first() {
        let outstanding = replay([(0, requested(1)), (1, requested(1)), (1, accepted("d"))], &[]);
        assert_eq!(steps(&outstanding), [(0, Step::AskContainer, 1), (2, Step::Send, 0)]);
        assert_eq!(outstanding.lost, [(NodeIndex(0), 1)]);
        let first = outstanding.work[0].first_intent.unwrap();
        assert_eq!((first.service_ahead_ms(), first.is_ours()), (Some(-60_000), false));
        assert_eq!(
            outstanding.awaited,
            [AwaitedUpload { node: NodeIndex(1), directory: "d".into(), files: Some(4), slot: false }]
        );
    }

    #[test]
    fn a_call_that_is_repeated_because_nobody_can_tell_counts_once() {
        let lost = || Failure::new(FailureClass::InDoubt, "connection reset");
        let doubt = Event::UploadInDoubt { attempt: 1, cause: lost() };
        let again = Event::UploadWillRetry { attempt: 1, cause: lost(), delay_ms: 0 };
        for events in [vec![requested(1), doubt, again.clone()], vec![requested(1), again]] {
            let outstanding = replay(events.into_iter().map(|event| (0, event)), &[]);
            assert_eq!(outstanding.work[0].tries.counted, 1);
        }
    }

    #[test]
    fn a_call_in_doubt_is_as_old_as_its_first_intent_and_its_wait_begins_with_the_last() {
        let plan = plan_of(1);
        let mut replay = Replay::new(&plan);
        let lost = Failure::new(FailureClass::InDoubt, "connection reset");
        let events = [
            (0, requested(1)),
            (1, Event::UploadInDoubt { attempt: 1, cause: lost }),
            (60, Event::UploadAbsent { attempt: 1 }),
            (61, requested(2)),
        ];
        for (second, event) in events {
            let at = NOW + time::Duration::seconds(second);
            replay.apply(&Recorded { at, node: Some(NodeIndex(0)), event });
        }
        let work = &replay.finish(&plan, &[]).1.work[0];
        // A hundred seconds after the first.
        let now = Now::read(Clock::Since(NOW + time::Duration::seconds(100), Instant::now()), None);
        let age = |intent: Option<Intent>| intent.unwrap().age(&now).trusted.as_secs();
        assert_eq!((age(work.first_intent), age(work.last_intent)), (100, 39));
    }

    #[test]
    fn a_new_round_of_a_node_that_failed_begins_without_what_was_before() {
        let cause = |class| Failure::new(class, "no");
        let events = [
            requested(1),
            Event::UploadWillRetry { attempt: 1, cause: cause(FailureClass::Transient), delay_ms: 0 },
            requested(2),
            Event::UploadFailed { attempt: 2, cause: cause(FailureClass::Refused) },
        ];
        let again = replay(events.map(|event| (0, event)), &[Outcome::Failed]);
        let work = &again.work[0];
        assert_eq!((work.step, work.attempt, work.tries.counted), (Step::Send, 2, 0));
        assert!(work.first_intent.is_none() && work.last_intent.is_none());
    }

    #[test]
    fn a_cancelled_call_was_never_sent() {
        let outstanding = replay([(0, requested(1)), (0, Event::UploadCancelled { attempt: 1 })], &[]);
        assert_eq!(steps(&outstanding)[0], (0, Step::Send, 0));
        assert!(outstanding.lost.is_empty());
    }

    #[test]
    fn ended_nodes_are_left_alone_unless_asked_for_and_keep_their_directories() {
        let late = Event::FilesIncomplete { files: 3, bytes: 3, reason: "late".into(), shortfall: None };
        let events = || [(0, requested(1)), (0, accepted("first")), (0, late.clone())];
        assert_eq!(steps(&replay(events(), &[])), [(1, Step::Send, 0), (2, Step::Send, 0)]);
        let again = replay(events(), &[Outcome::Incomplete]);
        assert_eq!(steps(&again)[0], (0, Step::Send, 1));
        assert_eq!(*again.work[0].known, ["first".into()]);
        assert!(
            again.work[0].first_intent.is_none(),
            "a directory of the first round is not one of the second"
        );
    }
}
