//! The last lines on the terminal, as they are seen.

use std::convert::Infallible;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::FailureClass;
use fleetlogs_model::ids::{AccountName, NodeIndex};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::planned::PlannedNode;
use proptest::prelude::*;

use super::*;
use crate::reports::find;
use crate::testing::{
    accepted, ended, failure, folded, incomplete, interrupted, plan_of, planned, recorded, requested,
    small_plan, small_run, verified,
};
use crate::width::columns;

const DIR: &str = "runs/20261122T093000Z-4f2a";
const FILES: [&str; 4] = ["report.html", "manifest.json", "nodes.csv", "summary.md"];

/// A run that ended.
struct Ended {
    plan: Plan,
    facts: RunFacts,
    ledger: Ledger,
    findings: Findings,
}

impl Ended {
    fn new(plan: Plan, facts: RunFacts, events: &[Recorded]) -> Self {
        let (ledger, histories) = folded(&plan, events);
        let histories = histories.into_iter().map(Ok::<_, Infallible>);
        let findings = find(&plan, &facts, &ledger, histories).unwrap();
        Self { plan, facts, ledger, findings }
    }

    fn small() -> Self {
        Self::new(small_plan(), interrupted("SIGINT"), &small_run())
    }

    fn summary(&self) -> Summary<'_> {
        let Self { plan, facts, ledger, findings } = self;
        let commands = Commands { run: Some(DIR), config: Some("fleetlogs.toml"), shared_out_at: None };
        Summary { plan, facts, ledger, findings, dir: Path::new(DIR), commands }
    }

    fn seen(&self, width: impl Into<Option<usize>>) -> String {
        let width = width.into();
        let look = Look { width, height: width.map(|_| 60), ..Look::default() };
        self.summary().terminal(&look, &FILES, Examples::WhereThereIsRoom)
    }
}

/// As long as the service's own: a hash, a time and a letter.
fn long_id(number: u32) -> String {
    format!("tvmps_{}{number:04}_d", "0123456789abcdef".repeat(4).split_at(60).0)
}

/// A fleet where one pool cannot reach its storage, a few nodes are gone, and one account cannot be listed.
fn blocked() -> Ended {
    let mut nodes: Vec<PlannedNode> =
        (0..212).map(|n| planned("fabrikam", "isolated-vnet", &long_id(n))).collect();
    nodes.extend((0..300).map(|n| planned("fabrikam", "simulate", &long_id(n))));
    nodes.extend((0..90).map(|n| planned("contoso", "Render-Linux", &long_id(n))));
    let mut plan = plan_of(nodes);
    plan.accounts.extend(small_plan().accounts.pop());
    let mut events = vec![];
    for node in 0..602 {
        events.push(recorded(node, 1, requested(1)));
        let gone = failure(FailureClass::Gone, 404, "NodeNotFound", "The specified node does not exist.");
        let end = match node {
            600.. => Event::UploadFailed { attempt: 1, cause: gone },
            _ => accepted(1, &format!("d/{node}"), 4),
        };
        events.push(recorded(node, 2, end));
        match node {
            0..212 => events.push(recorded(node, 99, incomplete(0, 4))),
            212 => events.push(recorded(node, 99, incomplete(3, 4))),
            213..600 => events.push(recorded(node, 60, verified(4, 4_096))),
            _ => {}
        }
    }
    Ended::new(plan, ended(RunOutcome::Partial), &events)
}

#[test]
fn an_interrupted_run_ends_with_the_command_that_goes_on_with_it() {
    insta::assert_snapshot!(Ended::small().seen(79), @"
    ! INTERRUPTED  2 of 6 nodes collected, 4 not, in 2m 10s; 1 account not listed;
      1 node skipped. The run ended early: SIGINT.

      2 verified
      2 incomplete
        storage blocked from pool blocked: 2 nodes of contoso
          tvm-1, tvm-2
      1 gone
        404 NodeNotFound: no such node: 1 node in pool web of fabrikam
          tvm-7
      1 not-sent
        SIGINT: 1 node in pool web of fabrikam
          tvm-8
      1 account could not be listed
        tailspin: 403 AuthenticationFailed: the role is missing

      logs    7 files, 117.7 MiB, in https://logs.blob.core.windows.net/batch
              1 node with more than one directory
              1 node appeared after the plan was made and not called; manifest.json
              lists them (appeared)
      next    resume the run:
                fleetlogs resume runs/20261122T093000Z-4f2a
      reports runs/20261122T093000Z-4f2a/ report.html manifest.json nodes.csv
              summary.md
    ");
}

#[test]
fn a_blocked_pool_at_eighty_columns() {
    insta::assert_snapshot!(blocked().seen(79), @"
    ! PARTIAL  387 of 602 nodes collected, 215 not, in 2m 10s; 1 account not
      listed.

      387 verified
      213 incomplete
          storage blocked from pool isolated-vnet: 212 nodes of fabrikam
            tvmps_01…ab0000_d, tvmps_01…ab0001_d, tvmps_01…ab0002_d and 209 more
          3 of 4 files arrived before the deadline: 1 node in pool simulate of
            fabrikam
            tvmps_0123456789abcdef0123456789ab…0123456789abcdef0123456789ab0000_d
        2 gone
          404 NodeNotFound: The specified node does not exist: 2 nodes in pool
            Render-Linux of contoso
            tvmps_0123456789…23456789ab0088_d, tvmps_0123456789…23456789ab0089_d
        1 account could not be listed
          tailspin: 403 AuthenticationFailed: the role is missing

      logs    1,551 files, 1.5 MiB, in https://logs.blob.core.windows.net/batch
              1 node appeared after the plan was made and not called; manifest.json
              lists them (appeared)
      next    let the nodes of pool isolated-vnet reach the storage account
              (firewall, private endpoint, DNS); look at the nodes that sent only
              some of their files (network, restarts); then retry:
                fleetlogs resume runs/20261122T093000Z-4f2a --retry incomplete
              check the role, the key and this machine's clock (the credential is
              rejected); then run for tailspin:
                fleetlogs run fleetlogs.toml --account tailspin
      reports runs/20261122T093000Z-4f2a/ report.html manifest.json nodes.csv
              summary.md
    ");
}

#[test]
fn a_blocked_pool_at_a_hundred_columns() {
    insta::assert_snapshot!(blocked().seen(99), @"
    ! PARTIAL  387 of 602 nodes collected, 215 not, in 2m 10s; 1 account not listed.

      387 verified
      213 incomplete
          storage blocked from pool isolated-vnet: 212 nodes of fabrikam
            tvmps_012345…789ab0000_d, tvmps_012345…789ab0001_d, tvmps_012345…789ab0002_d and 209 more
          3 of 4 files arrived before the deadline: 1 node in pool simulate of fabrikam
            tvmps_0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab0000_d
        2 gone
          404 NodeNotFound: The specified node does not exist: 2 nodes in pool Render-Linux of contoso
            tvmps_0123456789abcde…def0123456789ab0088_d, tvmps_0123456789abcde…def0123456789ab0089_d
        1 account could not be listed
          tailspin: 403 AuthenticationFailed: the role is missing

      logs    1,551 files, 1.5 MiB, in https://logs.blob.core.windows.net/batch
              1 node appeared after the plan was made and not called; manifest.json lists them
              (appeared)
      next    let the nodes of pool isolated-vnet reach the storage account (firewall, private
              endpoint, DNS); look at the nodes that sent only some of their files (network, restarts);
              then retry:
                fleetlogs resume runs/20261122T093000Z-4f2a --retry incomplete
              check the role, the key and this machine's clock (the credential is rejected); then run
              for tailspin:
                fleetlogs run fleetlogs.toml --account tailspin
      reports runs/20261122T093000Z-4f2a/ report.html manifest.json nodes.csv summary.md
    ");
}

#[test]
fn a_blocked_pool_at_two_hundred_columns() {
    insta::assert_snapshot!(blocked().seen(199), @"
    ! PARTIAL  387 of 602 nodes collected, 215 not, in 2m 10s; 1 account not listed.

      387 verified
      213 incomplete
          storage blocked from pool isolated-vnet: 212 nodes of fabrikam
            tvmps_0123456789abcdef012345…6789abcdef0123456789ab0000_d, tvmps_0123456789abcdef012345…6789abcdef0123456789ab0001_d, tvmps_0123456789abcdef012345…6789abcdef0123456789ab0002_d and 209 more
          3 of 4 files arrived before the deadline: 1 node in pool simulate of fabrikam
            tvmps_0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab0000_d
        2 gone
          404 NodeNotFound: The specified node does not exist: 2 nodes in pool Render-Linux of contoso
            tvmps_0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab0088_d, tvmps_0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab0089_d
        1 account could not be listed
          tailspin: 403 AuthenticationFailed: the role is missing

      logs    1,551 files, 1.5 MiB, in https://logs.blob.core.windows.net/batch
              1 node appeared after the plan was made and not called; manifest.json lists them (appeared)
      next    let the nodes of pool isolated-vnet reach the storage account (firewall, private endpoint, DNS); look at the nodes that sent only some of their files (network, restarts); then retry:
                fleetlogs resume runs/20261122T093000Z-4f2a --retry incomplete
              check the role, the key and this machine's clock (the credential is rejected); then run for tailspin:
                fleetlogs run fleetlogs.toml --account tailspin
      reports runs/20261122T093000Z-4f2a/ report.html manifest.json nodes.csv summary.md
    ");
}

#[test]
fn in_a_pipe_every_fact_is_on_one_line_and_every_name_whole() {
    let seen = blocked().seen(None);
    assert!(
        seen.contains(&format!("{}, {}, {} and 209 more\n", long_id(0), long_id(1), long_id(2))),
        "{seen}"
    );
    assert!(
        seen.contains(
            "look at the nodes that sent only some of their files (network, restarts); then retry:\n"
        ),
        "{seen}"
    );
    assert!(seen.ends_with(&format!("{DIR}/nodes.csv\n          {DIR}/summary.md\n")), "{seen}");
}

#[test]
fn the_verdict_is_on_the_last_screen_however_low_it_is() {
    let run = blocked();
    let seen = |height, examples| {
        let look = Look { width: Some(79), height: Some(height), ..Look::default() };
        run.summary().terminal(&look, &FILES, examples)
    };
    let named = |text: &str| text.contains("tvmps_");
    let rows = |text: &str| text.lines().count();
    let whole = seen(60, Examples::WhereThereIsRoom);
    assert!(named(&whole));
    // With the shell's prompt below it.
    let exact = rows(&whole) + 1;
    assert_eq!(seen(exact, Examples::WhereThereIsRoom), whole);
    let lower = seen(exact - 1, Examples::WhereThereIsRoom);
    assert!(!named(&lower) && rows(&lower) < rows(&whole), "{lower}");
    assert_eq!(lower.matches("PARTIAL").count(), 1, "{lower}");
    let lowest = seen(10, Examples::WhereThereIsRoom);
    let verdict = "\n\n! PARTIAL  387 of 602 nodes collected, 215 not, in 2m 10s; 1 account not\n  listed.\n";
    assert!(lowest.ends_with(verdict) && !named(&lowest), "{lowest}");
    let verbose = seen(10, Examples::Always);
    assert!(verbose.ends_with(verdict) && named(&verbose), "{verbose}");
}

#[test]
fn a_good_run_has_little_to_say() {
    let plan = plan_of(vec![planned("contoso", "render", "tvm-1")]);
    let events = [
        recorded(0, 1, requested(1)),
        recorded(0, 2, accepted(1, "d", 4)),
        recorded(0, 60, verified(4, 4_096)),
    ];
    let run = Ended::new(plan, ended(RunOutcome::Complete), &events);
    insta::assert_snapshot!(run.seen(79), @"
    ✓ COMPLETE  1 of 1 node collected, in 2m 10s.

      1 verified

      logs    4 files, 4.0 KiB, in https://logs.blob.core.windows.net/batch
              1 node appeared after the plan was made and not called; manifest.json
              lists them (appeared)
      reports runs/20261122T093000Z-4f2a/ report.html manifest.json nodes.csv
              summary.md
    ");
    assert!(run.summary().to_markdown().ends_with("Nothing: every planned node was collected.\n"));
}

#[test]
fn where_nothing_can_go_on_no_command_is_advised() {
    let run = Ended::small();
    let commands = Commands { run: None, config: Some("demo.toml"), shared_out_at: None };
    let summary = Summary { commands, ..run.summary() };
    let seen = summary.terminal(&Look::default(), &FILES, Examples::WhereThereIsRoom);
    assert!(!seen.contains("fleetlogs resume") && !seen.contains("resume the run"), "{seen}");
    assert!(seen.contains("start a new run:\n            fleetlogs run demo.toml\n"), "{seen}");
}

#[test]
fn nothing_collected_says_what_was_in_the_way_for_all_accounts_at_once() {
    let nodes = (0..40).map(|n| planned(&format!("account-{n:02}"), "pool", &format!("tvm-{n}")));
    let plan = plan_of(nodes.collect());
    let refused = failure(
        FailureClass::Auth,
        403,
        "AuthenticationFailed",
        "Server failed to authenticate the request.",
    );
    let mut events = vec![];
    for (node, account) in (0..).zip(&plan.accounts) {
        events.push(recorded(node, 1, requested(1)));
        events.push(recorded(node, 2, Event::UploadFailed { attempt: 1, cause: refused.clone() }));
        let stopped = Event::AccountStopped { account: account.name.clone(), cause: refused.clone() };
        events.push(Recorded { node: None, ..recorded(0, 2, stopped) });
    }
    let run = Ended::new(plan, ended(RunOutcome::NothingCollected), &events);
    insta::assert_snapshot!(run.seen(79), @"
    ✗ NOTHING COLLECTED  0 of 40 nodes collected, 40 not, in 2m 10s.

      40 failed
         403 AuthenticationFailed: Server failed to authenticate the request: 40
           nodes in 40 pools of 40 accounts
           tvm-0, tvm-1, tvm-2 and 37 more
      40 accounts stopped: nothing more was sent
         account-00, account-01, account-02 and 37 more: 403 AuthenticationFailed:
           Server failed to authenticate the request.

      logs    0 files, 0 B, in https://logs.blob.core.windows.net/batch
              1 node appeared after the plan was made and not called; manifest.json
              lists them (appeared)
      next    account-00, account-01, account-02 and 37 more: check the role, the
              key and this machine's clock (the credential is rejected); then
              retry:
                fleetlogs resume runs/20261122T093000Z-4f2a --retry failed
      reports runs/20261122T093000Z-4f2a/ report.html manifest.json nodes.csv
              summary.md
    ");
}

#[test]
fn colours_and_links_change_nothing_but_how_it_looks() {
    let run = blocked();
    let look = Look { width: Some(79), height: Some(60), styled: true, links: true };
    let styled = run.summary().terminal(&look, &FILES, Examples::WhereThereIsRoom);
    assert!(styled.starts_with("\u{1b}[1;33m! PARTIAL\u{1b}[0m  387 of"), "{styled}");
    assert!(
        styled.contains("\u{1b}]8;;file:///") && styled.contains("/report.html\u{1b}\\report.html\u{1b}"),
        "{styled}"
    );
    assert_eq!(plain(&styled), run.seen(79));
}

/// Text without colours and links.
fn plain(styled: &str) -> String {
    let mut plain = String::new();
    let mut parts = styled.split('\u{1b}');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let text = match part.as_bytes().first() {
            Some(b'[') => part.split_once('m').map(|(_, text)| text),
            Some(b'\\') => Some(&part[1..]),
            _ => Some(""),
        };
        plain.push_str(text.unwrap_or_default());
    }
    plain
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_line_is_wider_than_the_terminal_whatever_the_names(
        width in 60_usize..200,
        account in "\\PC{1,60}",
        pools in prop::collection::vec("[\\PC節点🚀\u{1b}\n]{1,90}", 1..6),
        reason in "[\\PC文 \u{1b}\n]{0,400}",
    ) {
        let nodes = (0..24_usize).map(|n| planned(&account, &pools[n % pools.len()], &format!("{n}{}", pools[0])));
        let plan = plan_of(nodes.chain([planned("contoso", "p", "tvm-1")]).collect());
        let mut events = vec![];
        for node in 0..24 {
            let cause = failure(FailureClass::Refused, 409, "Odd", &reason);
            let end = if node % 2 == 0 { Event::UploadFailed { attempt: 1, cause } } else { accepted(1, "d", 4) };
            events.extend([recorded(node, 1, requested(1)), recorded(node, 2, end)]);
            if node % 2 == 1 {
                events.push(recorded(node, 3, incomplete(node % 3, 4)));
            }
        }
        let cause = failure(FailureClass::Auth, 403, "Odd", &reason);
        let stopped = Event::AccountStopped { account: AccountName::new(account.as_str()), cause };
        events.push(Recorded { at: crate::testing::at(4), node: None, event: stopped });
        let run = Ended::new(plan, interrupted(&reason), &events);
        for line in run.seen(width).lines() {
            prop_assert!(columns(line) <= width, "{} of {width}: {line}", columns(line));
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        prop_assert!(run.ledger.status(NodeIndex(0)).outcome() == Outcome::Failed);
    }
}
