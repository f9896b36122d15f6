//! Transitions that happen seldom: nodes that are retried after they had ended, and what is found out about them later.

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::fingerprint::Fingerprint;
use fleetlogs_model::ids::{NodeId, NodeIndex};
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::service::{Node, NodeState};
use uuid::Uuid;

use crate::testing::{Answer, Bench, End, NOW, ScriptedAccount, fails};

fn requested(attempt: u32) -> Event {
    Event::UploadRequested { attempt, client_request_id: Uuid::nil(), service_ahead_ms: None }
}

fn accepted(node: u32, files: u32) -> Event {
    let directory = format!("contoso-0123456789ABCDEF/pool/n{node}/earlier").into();
    Event::UploadAccepted { attempt: 1, directory, files: Some(files), request_id: None }
}

fn lost() -> Failure {
    Failure::new(FailureClass::InDoubt, "connection reset")
}

fn failed(class: FailureClass) -> Event {
    Event::UploadFailed { attempt: 1, cause: Failure::new(class, "scripted") }
}

fn incomplete() -> Event {
    Event::FilesIncomplete { files: 1, bytes: 1, reason: "scripted".into(), shortfall: None }
}

/// What an earlier process recorded of a node that ended.
fn ended(node: u32, outcome: Outcome) -> Vec<Recorded> {
    let events = match outcome {
        Outcome::Verified => {
            let verified = Event::FilesVerified { files: 4, bytes: 4, fingerprint: None, proof: None };
            vec![requested(1), accepted(node, 4), verified]
        }
        Outcome::Adopted => {
            let directory = format!("contoso-0123456789ABCDEF/pool/n{node}/earlier").into();
            vec![
                requested(1),
                Event::UploadInDoubt { attempt: 1, cause: lost() },
                Event::UploadAdopted { attempt: 1, directory, others: vec![] },
                Event::FilesAdopted {
                    files: 4,
                    bytes: 4,
                    fingerprint: Fingerprint::default(),
                    reason: "scripted".into(),
                },
            ]
        }
        Outcome::Incomplete => vec![requested(1), accepted(node, 4), incomplete()],
        Outcome::Empty => vec![requested(1), accepted(node, 0)],
        Outcome::Failed => vec![requested(1), failed(FailureClass::Refused)],
        Outcome::Gone => vec![requested(1), failed(FailureClass::Gone)],
        Outcome::Accepted | Outcome::InDoubt | Outcome::NotSent => unreachable!("the node had not ended"),
    };
    events.into_iter().map(|event| Recorded { at: NOW, node: Some(NodeIndex(node)), event }).collect()
}

/// All outcomes that can be retried.
const RETRIED: [Outcome; 5] =
    [Outcome::Failed, Outcome::Adopted, Outcome::Empty, Outcome::Incomplete, Outcome::Gone];

/// A run that is resumed after its nodes had ended with these outcomes.
fn resumed(account: ScriptedAccount, ended_with: &[Outcome], retried: &[Outcome], fresh: u32) -> Bench {
    let nodes = u32::try_from(ended_with.len()).unwrap() + fresh;
    let mut bench = Bench::over([(account, nodes)]);
    bench.past = (0..).zip(ended_with).flat_map(|(node, outcome)| ended(node, *outcome)).collect();
    bench.retried = retried.into();
    bench
}

fn outcomes(end: &End) -> Vec<Outcome> {
    (0..end.histories.len()).map(|node| end.outcome(node)).collect()
}

#[tokio::test(start_paused = true)]
async fn nodes_that_had_ended_are_called_again_when_they_are_retried() {
    let end = resumed(ScriptedAccount::new("contoso"), &RETRIED, &RETRIED, 0).collect().await;
    assert_eq!(outcomes(&end), [Outcome::Verified; 5]);
    assert_eq!(end.account(0).calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn nodes_whose_pool_is_gone_when_they_are_retried_end_without_a_call() {
    let gone = Failure { pool_is_gone: true, ..Failure::new(FailureClass::Gone, "no such pool") };
    let account = ScriptedAccount::new("contoso").answers("n0", [Answer::Fails(gone)]);
    let ended_with = [&[Outcome::Failed][..], &RETRIED].concat();
    let mut bench = resumed(account, &ended_with, &RETRIED, 1);
    // One after another, without intents ahead of the calls.
    (bench.limits.rate, bench.limits.concurrency) = (Some(10.0), 1);
    let end = bench.collect().await;
    assert_eq!(outcomes(&end), [Outcome::Gone; 7]);
    assert_eq!(end.account(0).calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_read_while_it_waits_has_failed() {
    for class in [FailureClass::Refused, FailureClass::Auth] {
        let account = ScriptedAccount::new("contoso").answers("n0", [fails(FailureClass::Wait)]);
        *account.refuses_looks.lock() = Some(Failure::new(class, "scripted"));
        let end = Bench::over([(account, 1)]).collect().await;
        assert_eq!((outcomes(&end), end.account(0).calls()), (vec![Outcome::Failed], 1), "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_calls_are_all_lost_and_leave_nothing_has_failed() {
    let lost = vec![fails(FailureClass::InDoubt); 3];
    let account = ScriptedAccount::new("contoso").answers("n0", lost);
    let end = Bench::over([(account, 2)]).collect().await;
    assert_eq!(outcomes(&end), [Outcome::Failed, Outcome::Verified]);
    let reason = "none of 3 calls was answered, and the container holds no directory from them";
    assert_eq!(end.histories[0].reason.as_deref(), Some(reason));
}

/// Without a container to ask, so that calls whose answers are lost stay in doubt.
async fn look_again(listed: Vec<Node>, ended_with: &[Outcome], retried: &[Outcome]) -> End {
    let lost = vec![fails(FailureClass::InDoubt); 9];
    let account = ScriptedAccount::new("contoso")
        .answers("n0", [fails(FailureClass::Refused)])
        .answers("n1", [fails(FailureClass::Gone)])
        .answers("n2", lost);
    *account.nodes.lock() = listed;
    let mut bench = resumed(account, ended_with, retried, 1);
    bench.can_list = false;
    bench.collect().await
}

#[tokio::test(start_paused = true)]
async fn the_second_look_finds_changes_whatever_the_nodes_ended_with() {
    let rest = [Outcome::Verified, Outcome::Empty];
    for (first, other) in [(Outcome::Incomplete, Outcome::Adopted), (Outcome::Adopted, Outcome::Incomplete)] {
        let ended_with = [&[first; 3][..], &rest, &[other]].concat();
        let expected =
            [&[Outcome::Failed, Outcome::Gone, Outcome::InDoubt][..], &rest, &[other, Outcome::Accepted]];
        let expected = expected.concat();
        let unusable = |node: u32| Node::in_state(NodeId::new(format!("n{node}")), NodeState::Unusable);
        // All are gone; all are unusable now.
        let another = vec![Node::in_state(NodeId::new("another"), NodeState::Idle)];
        for (listed, is_gone) in [(another, true), ((0..7).map(unusable).collect(), false)] {
            let end = look_again(listed, &ended_with, &[first]).await;
            assert_eq!(outcomes(&end), expected);
            let changed = end.heard.iter().filter(|heard| match &heard.event {
                Event::IdentityChanged { now } => is_gone && now.is_none(),
                Event::NodeSeenAgain { now } => !is_gone && now.facts.state == Some(NodeState::Unusable),
                _ => false,
            });
            let nodes: std::collections::BTreeSet<_> = changed.filter_map(|heard| heard.node).collect();
            assert_eq!(nodes, (0..7).map(NodeIndex).collect(), "all had accepted a call");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn directories_of_repeated_calls_are_sought_whatever_the_nodes_ended_with() {
    let again = |answer| [fails(FailureClass::InDoubt), answer];
    let account = ScriptedAccount::new("contoso")
        .answers("n0", again(Answer::Accepts(4)))
        .answers("n1", again(Answer::Short { promised: 4, arrive: 2 }))
        .answers("n2", again(Answer::Accepts(0)))
        .answers("n3", again(fails(FailureClass::Refused)))
        .answers("n4", again(fails(FailureClass::Gone)))
        .answers("n5", again(Answer::ShortUnheard(2)));
    // One more shows how the account names its directories.
    let end = Bench::over([(account, 7)]).collect().await;
    let expected = [
        Outcome::Verified,
        Outcome::Incomplete,
        Outcome::Empty,
        Outcome::Failed,
        Outcome::Gone,
        Outcome::Adopted,
        Outcome::Verified,
    ];
    assert_eq!(outcomes(&end), expected);
    assert_eq!(sought(&end), (0..6).map(NodeIndex).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn directories_of_a_repeated_call_are_sought_for_a_node_that_stays_in_doubt() {
    // The earlier process did not know the service's time, so nothing can tell how old its calls are.
    let doubt = |attempt| Event::UploadInDoubt { attempt, cause: lost() };
    let events = [requested(1), doubt(1), Event::UploadAbsent { attempt: 1 }, requested(2), doubt(2)];
    let mut bench = resumed(ScriptedAccount::new("contoso"), &[Outcome::Verified], &[], 1);
    let of_second = events.map(|event| Recorded { at: NOW, node: Some(NodeIndex(1)), event });
    bench.past.extend(of_second);
    bench.retry.attempts = 2;
    let end = bench.collect().await;
    assert_eq!(outcomes(&end), [Outcome::Verified, Outcome::InDoubt]);
    assert_eq!(end.account(0).calls(), 0);
    assert_eq!(sought(&end), [NodeIndex(1)]);
}

/// The nodes for which directories were sought, in order.
fn sought(end: &End) -> Vec<NodeIndex> {
    let found = end.heard.iter().filter(|heard| matches!(heard.event, Event::DirectoriesFound { .. }));
    let mut nodes: Vec<_> = found.filter_map(|heard| heard.node).collect();
    nodes.sort_unstable();
    nodes
}
