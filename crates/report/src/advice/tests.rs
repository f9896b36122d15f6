use fleetlogs_model::outcome::Shortfall;

use super::*;
use crate::cause::STORAGE_BLOCKED;
use crate::testing::{ended, small_plan};

const COMMANDS: Commands<'static> =
    Commands { run: Some("runs/r"), config: Some("fleetlogs.toml"), shared_out_at: None };
const RESUME: Option<&str> = Some("fleetlogs resume runs/r");
const RETRY_FAILED: Option<&str> = Some("fleetlogs resume runs/r --retry failed");
const RETRY_INCOMPLETE: Option<&str> = Some("fleetlogs resume runs/r --retry incomplete");

fn cause(outcome: Outcome, reason: &str) -> Cause {
    Cause {
        outcome,
        reason: reason.into(),
        code: None,
        shortfall: None,
        account: AccountName::new("contoso"),
        pools: vec![PoolId::new("render")],
        nodes: 7,
        examples: vec![],
    }
}

fn failed(code: &str, reason: &str) -> Cause {
    Cause { code: Some(code.into()), ..cause(Outcome::Failed, &format!("403 {code}: {reason}")) }
}

fn incomplete(shortfall: Shortfall, reason: &str) -> Cause {
    Cause { shortfall: Some(shortfall), ..cause(Outcome::Incomplete, reason) }
}

fn blocked(pool: &str) -> Cause {
    Cause { pools: vec![PoolId::new(pool)], ..incomplete(Shortfall::NothingArrived, STORAGE_BLOCKED) }
}

fn situation(causes: &[Cause]) -> Situation<'_> {
    Situation {
        ending: Ending::OfItself,
        is_over: true,
        reason: None,
        unverified: None,
        accepted: 0,
        causes,
        unlisted: vec![],
        several_accounts: false,
        commands: COMMANDS,
    }
}

/// What the steps say: text and command.
fn said(steps: &[Step]) -> Vec<(String, Option<&str>)> {
    steps.iter().map(|step| (step.text(), step.command())).collect()
}

fn owned(steps: &[(&str, Option<&'static str>)]) -> Vec<(String, Option<&'static str>)> {
    steps.iter().map(|(text, command)| ((*text).to_owned(), *command)).collect()
}

#[test]
fn after_a_signal_a_kill_or_a_deadline_the_only_step_is_to_resume() {
    // What a run of thousands of nodes leaves behind when it is stopped in the middle: with one Ctrl-C, calls are
    // awaited; with two, they are in doubt.
    let causes = [
        cause(Outcome::NotSent, "stopped by a signal"),
        cause(Outcome::Accepted, "the run ended before its files were verified"),
        cause(Outcome::InDoubt, "the run ended before the call was answered"),
        blocked("isolated"),
        failed("AuthenticationFailed", "SharedKey is not allowed for this account"),
        cause(Outcome::Gone, "404 NodeNotFound"),
    ];
    let unlisted =
        || vec![Unlisted { account: &causes[0].account, pools: None, why: "403 AuthenticationFailed: no" }];
    for (once_or_twice, cause) in [
        (&causes[..2], Some(StopCause::Signal)),
        (&causes[..], Some(StopCause::Signal)),
        (&causes[..], Some(StopCause::RunDeadline)),
        (&causes[..], Some(StopCause::OwnershipLost)),
        (&causes[..], Some(StopCause::TenureEnded)),
        (&causes[..], Some(StopCause::Schedule)),
        (&causes[..], Some(StopCause::Other)),
        // Killed, or the journal of an earlier version.
        (&causes[..], None),
        // Stopped before anything had happened to a node.
        (&[], Some(StopCause::Signal)),
    ] {
        let situation = Situation {
            ending: Ending::CutShort(cause),
            reason: Some("stopped by a signal"),
            unlisted: unlisted(),
            ..situation(once_or_twice)
        };
        assert_eq!(said(&situation.next_steps()), owned(&[("resume the run", RESUME)]), "{cause:?}");
    }
    let stopped = Situation {
        ending: Ending::CutShort(Some(StopCause::Signal)),
        reason: Some("stopped by a signal"),
        ..situation(&causes)
    };
    let about = serde_json::to_value(&stopped.next_steps()[0].about).unwrap();
    assert_eq!(about, serde_json::json!(["not-sent", "accepted", "in-doubt"]));
    let steps = stopped.steps_of_causes();
    for step in &steps[..3] {
        assert_eq!(step.as_ref().unwrap().text(), "resume the run");
    }
    assert_eq!(
        steps[3].as_ref().unwrap().text(),
        "let the nodes of pool isolated reach the storage account (firewall, private endpoint, DNS); then retry"
    );
}

#[test]
fn what_resuming_needs_first_stands_in_the_same_step() {
    let causes = [cause(Outcome::NotSent, "the container SAS expires")];
    for (cause, text) in [
        (
            StopCause::SasEnds,
            "create a SAS for the container that is valid for longer, and put it in place of the old one; then resume the run",
        ),
        (StopCause::ContainerGone, "create the container again, under the same name; then resume the run"),
        (StopCause::LittleRoom, "free space on the disk of the run directory; then resume the run"),
        (
            StopCause::Journal,
            "make the disk of the run directory writable, with space on it; then resume the run",
        ),
    ] {
        let situation = Situation { ending: Ending::CutShort(Some(cause)), ..situation(&causes) };
        assert_eq!(said(&situation.next_steps()), owned(&[(text, RESUME)]));
    }
}

#[test]
fn each_cause_has_a_step_of_its_own() {
    let no_file = incomplete(Shortfall::NothingArrived, "no file arrived before the verification deadline");
    let part = incomplete(Shortfall::FilesMissing, "3 of 4 files arrived before the verification deadline");
    let changing = incomplete(Shortfall::StillChanging, "the files were still changing");
    let unseen = incomplete(
        Shortfall::NotListed,
        "the container could not be listed: 403 AuthorizationPermissionMismatch: no",
    );
    let foreign =
        incomplete(Shortfall::ForeignDirectory, "the service named a directory that is not this node's");
    let stopped =
        |why: &str| cause(Outcome::NotSent, &format!("nothing more was sent to its account: {why}"));
    for (cause, text, command) in [
        (
            blocked("p"),
            "let the nodes of pool p reach the storage account (firewall, private endpoint, DNS); then retry",
            RETRY_INCOMPLETE,
        ),
        (
            no_file,
            "look at the nodes that sent no file while others of their pool did (disk, restarts, node agent); then retry",
            RETRY_INCOMPLETE,
        ),
        (
            part,
            "look at the nodes that sent only some of their files (network, restarts); then retry",
            RETRY_INCOMPLETE,
        ),
        (incomplete(Shortfall::SeenOnce, "seen only once"), "retry", RETRY_INCOMPLETE),
        (
            changing,
            "raise verify.deadline: files were still being written when it passed; then retry",
            Some("fleetlogs resume runs/r --retry incomplete --accept-changes"),
        ),
        (
            unseen,
            "create a SAS with the permission that is missing; if an identity signed it, give that identity the role \
             Storage Blob Data Contributor on the container; then retry",
            RETRY_INCOMPLETE,
        ),
        (
            foreign,
            "tell support that the service named the directory of another node; then retry",
            RETRY_INCOMPLETE,
        ),
        (cause(Outcome::InDoubt, "the call's answer was lost"), "resume the run", RESUME),
        (
            failed("AuthenticationFailed", "SharedKey is not allowed for this account"),
            "set auth = \"entra\" for contoso: keys are not accepted there; then retry",
            Some("fleetlogs resume runs/r --retry failed --accept-changes"),
        ),
        (failed("NodeNotReady", "wait"), "wait until the nodes are ready; then retry", RETRY_FAILED),
        (failed("Odd", "no"), "deal with what the reason says; then retry", RETRY_FAILED),
        (
            stopped("403 AuthorizationFailure: not authorized"),
            "let this machine through the network rules of the Batch account (public network access), or use a machine \
             that reaches its private endpoint; then resume the run",
            RESUME,
        ),
        (
            stopped("403 AuthenticationFailed: no"),
            "check the role, the key and this machine's clock (the credential is rejected); then resume the run",
            RESUME,
        ),
        (
            cause(Outcome::Gone, "404 NodeNotFound"),
            "nothing can be done: the node, its VM or its pool no longer exists, and its logs went with it",
            None,
        ),
        (
            cause(Outcome::Adopted, "how many is not known"),
            "if support needs every file of the adopted nodes, collect them again: files are there, but nothing proves that they \
             are all",
            Some("fleetlogs resume runs/r --retry adopted"),
        ),
    ] {
        let causes = [cause];
        let situation = situation(&causes);
        let expected = [(text.to_owned(), command)];
        assert_eq!(said(&situation.next_steps()), expected);
        assert_eq!(
            situation.steps_of_causes(),
            situation.next_steps().into_iter().map(Some).collect::<Vec<_>>()
        );
    }
}

#[test]
fn equal_commands_are_one_step() {
    let causes = [
        blocked("isolated"),
        blocked("remote"),
        incomplete(Shortfall::FilesMissing, "3 of 4 files arrived"),
        failed("NodeNotReady", "wait"),
        cause(Outcome::InDoubt, "the call's answer was lost"),
        cause(Outcome::Gone, "404 NodeNotFound"),
    ];
    assert_eq!(
        said(&situation(&causes).next_steps()),
        owned(&[
            (
                "let the nodes of pools isolated, remote reach the storage account (firewall, private endpoint, DNS); look at \
                 the nodes that sent only some of their files (network, restarts); then retry",
                RETRY_INCOMPLETE
            ),
            ("wait until the nodes are ready; then retry", RETRY_FAILED),
        ]),
        "a retry resumes, too, and what cannot be helped is no step"
    );
}

#[test]
fn once_the_config_is_changed_every_resume_accepts_that() {
    let causes = [blocked("isolated"), failed("TooManyRequests", "slow down")];
    let steps = situation(&causes).next_steps();
    let commands: Vec<_> = steps.iter().filter_map(Step::command).collect();
    assert_eq!(
        commands,
        [
            "fleetlogs resume runs/r --retry incomplete --accept-changes",
            "fleetlogs resume runs/r --retry failed --accept-changes"
        ]
    );
}

#[test]
fn an_account_that_was_not_listed_gets_a_run_of_its_own() {
    let refused = "403 AuthenticationFailed: The specified type of authentication SharedKey is not allowed for this account.";
    let (northwind, odd, contoso) =
        (AccountName::new("northwind"), AccountName::new("it's"), AccountName::new("contoso"));
    let pools = [PoolId::new("a"), PoolId::new("b")];
    let whole = |account| Unlisted { account, pools: None, why: refused };
    let some = Unlisted {
        account: &contoso,
        pools: Some(&pools),
        why: "2 pools could not be listed: 500 InternalError: no",
    };
    let situation = Situation {
        unlisted: vec![whole(&northwind), whole(&odd), some],
        several_accounts: true,
        ..situation(&[])
    };
    assert_eq!(
        said(&situation.next_steps()),
        owned(&[
            (
                "set auth = \"entra\" for northwind, it's: keys are not accepted there; then run for northwind, it's",
                Some(r"fleetlogs run fleetlogs.toml --account northwind --account 'it'\''s'")
            ),
            (
                "give support the request ids (ticket.md) if this happens again: the service failed by itself; then run for \
                 pools a, b of contoso",
                Some("fleetlogs run fleetlogs.toml --account contoso --pool a --pool b")
            ),
        ])
    );
    // A config from stdin has no name.
    let nameless = Situation { commands: Commands { config: None, ..COMMANDS }, ..situation };
    assert!(nameless.next_steps().iter().all(|step| step.command.is_none()));
}

#[test]
fn a_run_that_is_shared_out_is_left_to_workers_and_its_partitions_are_resumed_one_by_one() {
    let of = |cause: Cause, account: &str| Cause { account: AccountName::new(account), ..cause };
    let causes = [
        of(cause(Outcome::NotSent, "partition fabrikam: given up"), "fabrikam"),
        of(failed("NodeNotReady", "wait"), "contoso"),
        of(failed("NodeNotReady", "wait"), "tail spin"),
    ];
    let commands = Commands { shared_out_at: Some("https://logs/j/fleetlogs/r"), ..COMMANDS };
    let at_work = Situation {
        ending: Ending::CutShort(None),
        is_over: false,
        several_accounts: true,
        commands,
        ..situation(&causes)
    };
    let fan_in = Some("fleetlogs fan-in runs/r");
    assert_eq!(said(&at_work.next_steps()), owned(&[("let workers do the rest", fan_in)]));

    // One was given up, and nobody takes it any more.
    let given_up = Situation { is_over: true, ..at_work.clone() };
    let resume = Some("fleetlogs resume https://logs/j/fleetlogs/r/p/fabrikam --config fleetlogs.toml");
    assert_eq!(said(&given_up.next_steps()), owned(&[("resume the partition fabrikam", resume)]));

    let retry =
        Some("fleetlogs resume https://logs/j/fleetlogs/r/p/contoso --config fleetlogs.toml --retry failed");
    let over = Situation { ending: Ending::OfItself, causes: &causes[1..], ..given_up };
    assert_eq!(
        said(&over.next_steps()),
        owned(&[(
            "wait until the nodes are ready; then retry these partitions one by one: contoso, tail spin",
            retry
        )])
    );
    let strange = Situation { causes: &causes[2..], ..over.clone() };
    let command = strange.next_steps()[0].command().unwrap().to_owned();
    assert!(command.starts_with("fleetlogs resume 'https://logs/j/fleetlogs/r/p/tail spin' "), "{command}");
    // A resume of one partition does nothing for another one.
    let both = Situation { causes: &causes, ..over };
    assert_eq!(both.next_steps().len(), 2);
}

#[test]
fn nothing_is_advised_that_is_so_already() {
    let causes = [cause(Outcome::InDoubt, "the call's answer was lost")];
    let text = |unverified| {
        let situation = Situation { unverified, accepted: 3, ..situation(&causes) };
        said(&situation.next_steps()).into_iter().map(|(text, _)| text).collect::<Vec<_>>()
    };
    assert_eq!(text(None), ["resume the run"], "the SAS could list");
    let may_not_list = [
        "set destination.verify_url to a SAS with r and l, so that the container is searched for the files; then resume the run",
    ];
    assert_eq!(text(Some(Unverified::NotPermitted)), may_not_list);
    let off =
        ["set verify.enabled = true, so that the container is searched for the files; then resume the run"];
    assert_eq!(text(Some(Unverified::SwitchedOff)), off);
}

#[test]
fn a_fleet_that_ended_with_its_process_gets_a_new_run_for_everything() {
    let causes = [blocked("isolated"), failed("NodeNotReady", "wait")];
    let commands = Commands { run: None, config: Some("config/demo.toml"), shared_out_at: None };
    let demo = Situation { commands, ..situation(&causes) };
    assert_eq!(
        said(&demo.next_steps()),
        owned(&[(
            "let the nodes of pool isolated reach the storage account (firewall, private endpoint, DNS); wait until the \
             nodes are ready; then start a new run",
            Some("fleetlogs run config/demo.toml")
        )])
    );
    let unknown = Situation { commands: Commands::default(), ..situation(&causes) };
    assert!(unknown.next_steps().iter().all(|step| step.command.is_none()));
}

#[test]
fn what_cannot_be_helped_is_said_where_there_is_nothing_else_to_say() {
    let causes = [cause(Outcome::Gone, "404 NodeNotFound")];
    assert!(situation(&causes).next_steps()[0].text().starts_with("nothing can be done"));
    assert_eq!(situation(&[]).next_steps(), []);
}

#[test]
fn the_kind_of_end_is_that_of_the_journal() {
    let of =
        |outcome, stop_cause, is_killed| Ending::of(&RunFacts { stop_cause, is_killed, ..ended(outcome) });
    let signal = Some(StopCause::Signal);
    assert_eq!(of(RunOutcome::Interrupted, signal, false), Ending::CutShort(signal));
    assert_eq!(of(RunOutcome::Interrupted, None, true), Ending::CutShort(None));
    assert_eq!(of(RunOutcome::Interrupted, None, false), Ending::CutShort(None));
    // Everything was collected when the signal came.
    assert_eq!(of(RunOutcome::Complete, signal, false), Ending::OfItself);
    assert_eq!(of(RunOutcome::BudgetSpent, Some(StopCause::BudgetSpent), false), Ending::OfItself);
    assert_eq!(of(RunOutcome::BudgetSpent, None, false), Ending::OfItself);
}

#[test]
fn every_step_can_stand_before_a_colon_and_its_command() {
    let codes = ["", "ServerBusy", "InternalError", "PoolBeingResized", "NodeStateUnusable"];
    let more = ["AuthenticationFailed", "InvalidInput", "AuthorizationFailure", "NodeNotReady"];
    for outcome in Outcome::ALL {
        for code in codes.into_iter().chain(more) {
            for unverified in
                [None, Some(Unverified::SwitchedOff), Some(Unverified::NotPermitted), Some(Unverified::Other)]
            {
                let causes = [Cause { outcome, ..failed(code, "no") }];
                let situation = Situation { unverified, ..situation(&causes) };
                for step in situation.next_steps() {
                    let text = step.text();
                    assert!(text.ends_with(|char: char| char.is_alphanumeric() || char == ')'), "{text}");
                    assert!(!text.contains("RUN") && !text.contains("CONFIG"), "{text}");
                    assert_eq!(step.command.is_none(), outcome == Outcome::Gone, "{step:?}");
                }
            }
        }
    }
}

#[test]
fn names_from_outside_are_names_in_every_medium() {
    let account = AccountName::new("a`b<c>\u{1b}");
    let unlisted = Unlisted { account: &account, pools: None, why: "403 AuthorizationFailure: no" };
    let situation = Situation { unlisted: vec![unlisted], ..situation(&[]) };
    let [step] = &situation.next_steps()[..] else { panic!("one step") };
    assert!(step.text().ends_with("then run for a`b<c>\\u{1b}"), "{}", step.text());
    assert!(
        step.text.markdown().ends_with("then run for a\\`b&lt;c&gt;\\\\u{1b}"),
        "{}",
        step.text.markdown()
    );
    assert!(step.text.html().ends_with("then run for <b>a`b&lt;c&gt;\\u{1b}</b>"), "{}", step.text.html());
    assert_eq!(step.command(), Some("fleetlogs run fleetlogs.toml --account 'a`b<c>\u{1b}'"));
}

#[test]
fn the_unlisted_accounts_are_those_of_the_plan() {
    let plan = small_plan();
    let pools = unlisted_pools(&plan);
    let facts = ended(RunOutcome::Partial);
    let ledger = Ledger::new(&plan);
    let situation = Situation::of(&plan, &facts, &ledger, &[], &pools, COMMANDS);
    assert_eq!(
        said(&situation.next_steps()),
        owned(&[(
            "check the role, the key and this machine's clock (the credential is rejected); then run for tailspin",
            Some("fleetlogs run fleetlogs.toml --account tailspin")
        )])
    );
}
