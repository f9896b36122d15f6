//! What a message in a chat says of the end of a run: short, in the order in which people read, and made safe.
//!
//! Chats limit the length of messages, so every text has a limit of its own, and the report has the rest. Names and
//! reasons come from the service and are untrusted. Here they become one line without control characters; each form
//! ([`slack`](super::slack), [`teams`](super::teams)) keeps them from being read as markup.

use fleetlogs_model::count::{counted, number};
use fleetlogs_model::outcome::{Outcome, RunOutcome};
use fleetlogs_report::for_terminal;
use serde::Deserialize;

use crate::run::RunEnd;

/// The most bytes of one text, unless it is a command.
const TEXT: usize = 200;

/// The most bytes of a command. Half of a command is worse than none, so a longer one is left out.
const COMMAND: usize = 400;

/// The most causes, accounts that could not be listed included, and the most steps.
const LINES: usize = 4;

/// The message.
pub(super) struct ChatMessage {
    pub(super) outcome: RunOutcome,
    /// `nightly is partial`.
    pub(super) title: String,
    /// The counts, as one sentence.
    pub(super) verdict: String,
    /// Names and values.
    pub(super) facts: Vec<(&'static str, String)>,
    /// Why nodes were not collected, the most frequent reason first.
    pub(super) causes: Vec<String>,
    /// What to do, in order.
    pub(super) steps: Vec<ChatStep>,
}

/// A step to take.
pub(super) struct ChatStep {
    pub(super) text: String,
    pub(super) command: Option<String>,
}

impl ChatMessage {
    pub(super) fn new(end: &RunEnd) -> Self {
        // It is what the run itself has made; without it, the rest is still worth a message.
        let told = ToldInChat::deserialize(&end.document).unwrap_or_default();
        let subject = end.snapshot.as_ref().map_or("the run", |snapshot| snapshot.name.as_str());
        Self {
            outcome: end.outcome,
            title: line(&format!("{subject} is {}", end.outcome)),
            verdict: line(&end.summary),
            facts: facts(end, &told),
            causes: causes(&told),
            steps: told.next.iter().take(LINES).map(ChatStep::of).collect(),
        }
    }
}

impl ChatStep {
    fn of(step: &StepInChat) -> Self {
        let command = step.command.as_deref().map(|command| for_terminal(command).into_owned());
        Self { text: line(&step.text), command: command.filter(|command| command.len() <= COMMAND) }
    }
}

fn facts(end: &RunEnd, told: &ToldInChat) -> Vec<(&'static str, String)> {
    let outcomes: Vec<_> = Outcome::ALL
        .into_iter()
        .filter(|outcome| end.counts.get(*outcome) > 0)
        .map(|outcome| format!("{} {outcome}", number(end.counts.get(outcome))))
        .collect();
    let mut facts = vec![("Run", end.run_id.as_str().to_owned())];
    facts.extend(end.snapshot.as_ref().map(|snapshot| ("Started by", snapshot.trigger.as_str().to_owned())));
    facts.extend((!outcomes.is_empty()).then(|| ("Nodes", outcomes.join(", "))));
    facts.extend(end.reason.clone().map(|reason| ("Ended early", reason)));
    facts.extend(told.container.clone().map(|container| ("Logs", container)));
    facts.push(("Reports", end.dir.display().to_string()));
    facts.into_iter().map(|(name, value)| (name, line(&value))).collect()
}

fn causes(told: &ToldInChat) -> Vec<String> {
    let unlisted = told.not_listed.iter().map(|AccountInChat { account, pools, reason }| {
        let what =
            pools.as_ref().map_or_else(String::new, |pools| format!(", {}", counted(pools.len(), "pool")));
        line(&format!("{account}{what} not listed: {reason}"))
    });
    let causes = told.causes.iter().map(|cause| {
        let CauseInChat { outcome, reason, nodes, account, pools } = cause;
        let pools = if pools.is_empty() { String::new() } else { format!(", {}", pools.join(", ")) };
        // A limit for each part: a long name does not take the room of the reason.
        let place = cut(&format!("{account}{pools}"), TEXT / 2);
        line(&format!("{} {outcome} in {place}: {reason}", counted(*nodes, "node")))
    });
    let all = told.not_listed.len() + told.causes.len() + told.more_causes;
    let mut lines: Vec<_> = unlisted.chain(causes).take(LINES).collect();
    if all > lines.len() {
        lines.push(format!("{} more", number((all - lines.len()) as u64)));
    }
    lines
}

/// One line without control characters, and not too long.
fn line(text: &str) -> String {
    cut(&for_terminal(text), TEXT)
}

/// A text of this many bytes at most, and three for the mark that something is missing.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// What a message takes from the document of `--json`.
#[derive(Default, Deserialize)]
struct ToldInChat {
    container: Option<String>,
    #[serde(default)]
    not_listed: Vec<AccountInChat>,
    #[serde(default)]
    causes: Vec<CauseInChat>,
    #[serde(default)]
    more_causes: usize,
    #[serde(default)]
    next: Vec<StepInChat>,
}

#[derive(Deserialize)]
struct AccountInChat {
    account: String,
    pools: Option<Vec<String>>,
    reason: String,
}

#[derive(Deserialize)]
struct CauseInChat {
    outcome: String,
    reason: String,
    nodes: u64,
    account: String,
    pools: Vec<String>,
}

#[derive(Deserialize)]
struct StepInChat {
    text: String,
    command: Option<String>,
}

#[cfg(test)]
pub(super) mod tests {
    use fleetlogs_model::ids::{RunId, SnapshotName};
    use fleetlogs_model::outcome::OutcomeCounts;
    use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;

    /// A run whose texts are all this one, and as many of them as there can be.
    pub(in crate::notify) fn end_with(text: &str) -> RunEnd {
        let step = json!({ "about": [], "text": text, "command": text });
        let cause = json!({
            "outcome": "failed", "reason": text, "nodes": 1_234, "account": text, "pools": [text, text], "step": step,
        });
        let unlisted = json!({ "account": text, "pools": Value::Null, "reason": text });
        let mut counts = OutcomeCounts::default();
        for outcome in Outcome::ALL {
            counts.add_many(outcome, 1_000_000);
        }
        let started_at = datetime!(2026-11-22 02:15 UTC);
        RunEnd {
            run_id: RunId::new(started_at, 7),
            dir: format!("/runs/{text}").into(),
            snapshot: Some(SnapshotRef {
                name: SnapshotName::new("nightly"),
                trigger: Trigger::Cron,
                due: started_at,
            }),
            outcome: RunOutcome::Partial,
            reason: Some(text.to_owned()),
            started_at,
            ended_at: started_at,
            counts,
            throttled: Vec::new(),
            summary: text.to_owned(),
            document: json!({
                "container": text, "not_listed": [unlisted], "causes": vec![cause; 50], "more_causes": 7,
                "next": vec![step; 50],
            }),
        }
    }

    #[test]
    fn a_message_says_what_people_ask_first_and_leaves_the_rest_to_the_report() {
        let ChatMessage { title, facts, causes, steps, .. } = ChatMessage::new(&end_with("a text"));
        assert_eq!(title, "nightly is partial");
        let names: Vec<_> = facts.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["Run", "Started by", "Nodes", "Ended early", "Logs", "Reports"]);
        let cause = "1,234 nodes failed in a text, a text, a text: a text";
        assert_eq!(causes, ["a text not listed: a text", cause, cause, cause, "54 more"]);
        assert_eq!((steps.len(), steps[0].command.as_deref()), (4, Some("a text")));
    }

    #[test]
    fn texts_are_one_line_and_cut_and_half_a_command_is_left_out() {
        let message = ChatMessage::new(&end_with(&"new\nline\u{1b}[1m😀".repeat(60)));
        assert!(message.steps.iter().all(|step| step.command.is_none()));
        let texts = message.facts.into_iter().map(|(_, value)| value).chain(message.causes);
        for text in texts.chain([message.verdict]) {
            assert!(text.len() <= TEXT + 3 && !text.contains(['\n', '\u{1b}']), "{text}");
        }
    }

    #[test]
    fn a_run_without_a_document_is_told_all_the_same() {
        let end = RunEnd { document: Value::Null, snapshot: None, ..end_with("a text") };
        let message = ChatMessage::new(&end);
        assert_eq!((message.title.as_str(), message.causes.len()), ("the run is partial", 0));
    }
}
