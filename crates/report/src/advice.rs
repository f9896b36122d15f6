//! What to do next: one function from the situation of a run to a list of steps. Terminal, summary, page, ticket,
//! notification and `--json` show the same list; docs/design/advice.md has the rules.

mod remedy;

use fleetlogs_model::ids::{AccountName, PoolId};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::{Outcome, RunOutcome};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::shell_word::quoted;
use fleetlogs_model::stop_cause::{StopCause, Unverified};
use serde::{Serialize, Serializer};

use self::remedy::{Remedy, remedy_of};
use crate::cause::{Cause, Findings, folded};
use crate::phrase::Phrase;
use crate::run_facts::RunFacts;

/// Pools of an account that a command names; beyond that it is for the whole account.
const MOST_POOLS_IN_COMMAND: usize = 10;

/// What to do, and the command to run then, with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is for.
    pub(crate) about: Vec<Topic>,
    /// One sentence without its full stop.
    #[serde(serialize_with = "as_plain_text")]
    pub(crate) text: Phrase,
    /// The command, as a shell takes it.
    pub(crate) command: Option<String>,
}

impl Step {
    /// The sentence without markup.
    #[must_use]
    pub fn text(&self) -> String {
        self.text.plain()
    }

    /// The command, as a shell takes it.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }
}

fn as_plain_text<S: Serializer>(text: &Phrase, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text.plain())
}

/// What a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Nodes with this outcome.
    Outcome(Outcome),
    /// Accounts and pools that could not be listed.
    Accounts,
}

impl Topic {
    /// The outcome's name, or `accounts`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Outcome(outcome) => outcome.as_str(),
            Self::Accounts => "accounts",
        }
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a command needs to name, as a shell takes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Commands<'a> {
    /// The run; none if no command can resume it.
    pub run: Option<&'a str>,
    /// The config that the run was started with; none if it is not in a file.
    pub config: Option<&'a str>,
    /// The URL of a run that is shared out to several workers; none for any other run.
    pub shared_out_at: Option<&'a str>,
}

impl Commands<'_> {
    /// The command that does what is outstanding in a run.
    #[must_use]
    pub fn continues(&self, run: &str) -> String {
        let command = if self.shared_out_at.is_some() { "fan-in" } else { "resume" };
        format!("fleetlogs {command} {run}")
    }

    /// The command that resumes one partition of a run that is shared out.
    fn resumes_partition(&self, url: &str, account: &AccountName) -> String {
        let partition = format!("{url}/p/{account}");
        let config = self.config.map(|config| format!(" --config {config}")).unwrap_or_default();
        format!("fleetlogs resume {}{config}", quoted(&partition))
    }
}

/// How a run came to its end, as far as that decides what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There was nothing more to do for it, or its budget or an account was spent: its nodes tell what to do.
    OfItself,
    /// It was cut short. Whatever its nodes say, the rest comes first.
    CutShort(Option<StopCause>),
}

impl Ending {
    pub(crate) fn of(facts: &RunFacts) -> Self {
        match facts.stop_cause {
            _ if !facts.outcome.is_resumable() => Self::OfItself,
            _ if facts.is_killed => Self::CutShort(None),
            Some(StopCause::BudgetSpent) => Self::OfItself,
            Some(cause) => Self::CutShort(Some(cause)),
            // The journal of an earlier version, or an account that was given up.
            None if facts.outcome == RunOutcome::BudgetSpent => Self::OfItself,
            None => Self::CutShort(None),
        }
    }
}

/// An account, or pools of it, that could not be listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unlisted<'a> {
    pub(crate) account: &'a AccountName,
    /// None if the whole account could not be listed.
    pub(crate) pools: Option<&'a [PoolId]>,
    pub(crate) why: &'a str,
}

/// All that decides what to do next.
#[derive(Clone, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) ending: Ending,
    /// Whether its last process ended it: of a run that is shared out, no partition has to be taken any more.
    pub(crate) is_over: bool,
    /// Why the run ended early, in words.
    pub(crate) reason: Option<&'a str>,
    /// Why arrival was not verified; none if it was.
    pub(crate) unverified: Option<Unverified>,
    /// Nodes whose files nobody looked for.
    pub(crate) accepted: u64,
    /// Why nodes were not collected, the most frequent first.
    pub(crate) causes: &'a [Cause],
    pub(crate) unlisted: Vec<Unlisted<'a>>,
    /// Whether an account has to be named to be known.
    pub(crate) several_accounts: bool,
    pub(crate) commands: Commands<'a>,
}

/// What is done at the end of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Then {
    /// The run is resumed, and nodes with this outcome are called again.
    Resume(Option<Outcome>),
    /// A run of its own for what could not be listed.
    Run,
    /// There is nothing to be done.
    Nothing,
}

/// What one trouble asks for.
#[derive(Clone, Debug)]
struct Part {
    about: Vec<Topic>,
    remedy: Remedy,
    accounts: Vec<AccountName>,
    pools: Vec<PoolId>,
    then: Then,
}

impl Part {
    fn plain(about: Topic, remedy: Remedy, then: Then) -> Self {
        Self { about: vec![about], remedy, accounts: vec![], pools: vec![], then }
    }
}

/// Pools that could not be listed, by account; [`Situation`] borrows them.
fn unlisted_pools(plan: &Plan) -> Vec<Vec<PoolId>> {
    let of = |name: &AccountName| {
        plan.unlisted_pools().filter(|left| left.account == *name).map(|left| left.pool.clone()).collect()
    };
    plan.accounts.iter().map(|account| of(&account.name)).collect()
}

/// What to do next, and what to do about each cause.
#[derive(Clone, Debug)]
pub struct Advice {
    /// The steps, in order.
    pub next: Vec<Step>,
    /// Why nodes were not collected, the most frequent first, each with what to do about it.
    pub causes: Vec<(Cause, Option<Step>)>,
    /// Accounts that could not be listed, or only in part; those with the same reason together.
    pub(crate) not_listed: Vec<NotListed>,
}

/// Accounts that could not be listed for the same reason, and what to do about them.
#[derive(Clone, Debug)]
pub(crate) struct NotListed {
    pub(crate) accounts: Vec<AccountName>,
    /// Whether none of their pools could be listed.
    pub(crate) whole: bool,
    pub(crate) why: String,
    pub(crate) step: Step,
}

impl Advice {
    /// The advice after a run.
    #[must_use]
    pub fn after(
        plan: &Plan,
        facts: &RunFacts,
        ledger: &Ledger,
        findings: &Findings,
        commands: Commands<'_>,
    ) -> Self {
        let (causes, pools) = (findings.causes(), unlisted_pools(plan));
        let situation = Situation::of(plan, facts, ledger, &causes, &pools, commands);
        let (next, steps, not_listed) =
            (situation.next_steps(), situation.steps_of_causes(), situation.not_listed());
        Self { next, causes: causes.into_iter().zip(steps).collect(), not_listed }
    }
}

impl<'a> Situation<'a> {
    fn of(
        plan: &'a Plan,
        facts: &'a RunFacts,
        ledger: &Ledger,
        causes: &'a [Cause],
        pools: &'a [Vec<PoolId>],
        commands: Commands<'a>,
    ) -> Self {
        let unlisted = plan.accounts.iter().zip(pools).filter_map(|(account, pools)| {
            let unlisted = |pools, why: &'a str| Unlisted { account: &account.name, pools, why };
            match (&account.unlisted, &account.missing) {
                (Some(why), _) => Some(unlisted(None, why)),
                (None, Some(why)) => Some(unlisted(Some(&**pools), why)),
                (None, None) => None,
            }
        });
        Self {
            ending: Ending::of(facts),
            is_over: facts.is_over,
            reason: facts.reason.as_deref(),
            unverified: (!facts.verification).then(|| facts.unverified.unwrap_or(Unverified::Other)),
            accepted: ledger.outcomes().get(Outcome::Accepted),
            causes,
            unlisted: unlisted.collect(),
            several_accounts: plan.accounts.len() > 1,
            commands,
        }
    }

    /// What to do next, in order. Empty only if nothing is missing.
    pub(crate) fn next_steps(&self) -> Vec<Step> {
        if let Ending::CutShort(_) = self.ending {
            let mut about: Vec<Topic> = vec![];
            for cause in self.causes.iter().filter(|cause| is_outstanding(cause.outcome)) {
                let topic = Topic::Outcome(cause.outcome);
                if !about.contains(&topic) {
                    about.push(topic);
                }
            }
            let mut part =
                Part::plain(Topic::Outcome(Outcome::NotSent), self.before_resuming(), Then::Resume(None));
            for cause in self.causes.iter().filter(|cause| is_outstanding(cause.outcome)) {
                add_new(&mut part.accounts, std::slice::from_ref(&cause.account));
            }
            let mut steps = self.steps(vec![part], false);
            for step in &mut steps {
                step.about.clone_from(&about);
            }
            return steps;
        }
        let mut parts: Vec<Part> =
            self.causes.iter().map(|cause| self.part(cause)).filter(Part::is_some).collect();
        if let Some(why) = self.unverified.filter(|_| self.accepted > 0) {
            let about = Topic::Outcome(Outcome::Accepted);
            parts.push(Part::plain(about, Remedy::LetList(why), Then::Resume(None)));
        }
        let changed = parts.iter().any(|part| part.remedy.changes_config());
        parts.extend(self.unlisted.iter().map(|unlisted| of_unlisted(*unlisted)));
        // That nothing can be done is worth saying only where it is all there is to say.
        if parts.iter().any(|part| part.then != Then::Nothing) {
            parts.retain(|part| part.then != Then::Nothing);
        }
        self.steps(parts, changed)
    }

    /// What to do about each cause, in the order of the causes.
    pub(crate) fn steps_of_causes(&self) -> Vec<Option<Step>> {
        let parts: Vec<Part> = self.causes.iter().map(|cause| self.part(cause)).collect();
        let changed = parts.iter().any(|part| part.remedy.changes_config());
        parts.into_iter().map(|part| self.steps(vec![part], changed).pop()).collect()
    }

    /// What to do about the accounts that could not be listed, by reason.
    fn not_listed(&self) -> Vec<NotListed> {
        let mut groups: Vec<Vec<Unlisted<'_>>> = vec![];
        for unlisted in &self.unlisted {
            let alike = |known: &Unlisted<'_>| {
                known.why == unlisted.why && known.pools.is_some() == unlisted.pools.is_some()
            };
            match groups.iter_mut().find(|group| alike(&group[0])) {
                Some(group) => group.push(*unlisted),
                None => groups.push(vec![*unlisted]),
            }
        }
        let not_listed = |group: Vec<Unlisted<'_>>| {
            let (first, accounts) = (*group.first()?, group.iter().map(|of| of.account.clone()).collect());
            let step = self.steps(group.into_iter().map(of_unlisted).collect(), false).pop()?;
            Some(NotListed { accounts, whole: first.pools.is_none(), why: first.why.to_owned(), step })
        };
        groups.into_iter().filter_map(not_listed).collect()
    }

    fn part(&self, cause: &Cause) -> Part {
        let outcome = cause.outcome;
        let with = |remedy, then| Part {
            about: vec![Topic::Outcome(outcome)],
            remedy,
            accounts: vec![cause.account.clone()],
            pools: cause.pools.clone(),
            then,
        };
        match outcome {
            Outcome::Verified | Outcome::Empty => with(Remedy::None, Then::Nothing),
            Outcome::Gone => with(Remedy::Gone, Then::Nothing),
            Outcome::Adopted => with(Remedy::Adopted, Then::Resume(Some(outcome))),
            Outcome::Incomplete | Outcome::Failed => with(remedy_of(cause), Then::Resume(Some(outcome))),
            Outcome::NotSent if self.reason.is_some_and(|reason| folded(reason, "") == cause.reason) => {
                with(self.before_resuming(), Then::Resume(None))
            }
            Outcome::NotSent => with(remedy_of(cause), Then::Resume(None)),
            Outcome::Accepted | Outcome::InDoubt => {
                let remedy = match (self.ending, self.unverified) {
                    (Ending::OfItself, Some(why)) => Remedy::LetList(why),
                    _ => self.before_resuming(),
                };
                with(remedy, Then::Resume(None))
            }
        }
    }

    /// What resuming needs first, by the end of the run.
    fn before_resuming(&self) -> Remedy {
        match self.ending {
            Ending::CutShort(Some(StopCause::SasEnds)) => Remedy::NewSas,
            Ending::CutShort(Some(StopCause::ContainerGone)) => Remedy::ContainerAgain,
            Ending::CutShort(Some(StopCause::Journal)) => Remedy::WritableDisk,
            Ending::CutShort(Some(StopCause::LittleRoom)) => Remedy::FreeSpace,
            Ending::CutShort(
                Some(
                    StopCause::Signal
                    | StopCause::OwnershipLost
                    | StopCause::TenureEnded
                    | StopCause::RunDeadline
                    | StopCause::BudgetSpent
                    | StopCause::Schedule
                    | StopCause::Other,
                )
                | None,
            )
            | Ending::OfItself => Remedy::None,
        }
    }

    /// Folds the parts into steps: equal commands are one step. `changed` says whether a step changes the config, after
    /// which every resume has to accept that.
    fn steps(&self, parts: Vec<Part>, changed: bool) -> Vec<Step> {
        let mut groups: Vec<Vec<Part>> = vec![];
        for part in parts {
            match groups.iter_mut().find(|group| self.is_one_step(&group[0], &part)) {
                Some(group) => merge(group, part),
                None => groups.push(vec![part]),
            }
        }
        // Every resume does what is outstanding, so that one for nothing else is one too many.
        let is_plain = |group: &[Part]| {
            group[0].then == Then::Resume(None) && group.iter().all(|part| part.remedy == Remedy::None)
        };
        let resumes = groups.iter().filter(|group| matches!(group[0].then, Then::Resume(_))).count();
        // One of a partition does nothing for the others.
        let covers_all = resumes > 1 && self.commands.shared_out_at.is_none();
        if let Some(at) = groups.iter().position(|group| is_plain(group)).filter(|_| covers_all) {
            let plain = groups.remove(at);
            if let Some(other) = groups.iter_mut().find(|group| matches!(group[0].then, Then::Resume(_))) {
                other.extend(plain);
            }
        }
        groups.into_iter().filter_map(|group| self.step(&group, changed)).collect()
    }

    fn is_one_step(&self, one: &Part, other: &Part) -> bool {
        match (&one.then, &other.then) {
            // A fleet that ended with its process needs a new run for everything.
            (Then::Nothing, Then::Nothing) => true,
            (Then::Nothing, _) | (_, Then::Nothing) => false,
            _ if self.commands.run.is_none() => true,
            (Then::Run, Then::Run) => {
                one.remedy == other.remedy && one.pools.is_empty() == other.pools.is_empty()
            }
            (one, other) => one == other,
        }
    }

    fn step(&self, group: &[Part], changed: bool) -> Option<Step> {
        let (first, then) = (group.first()?, &group.first()?.then);
        let mut about: Vec<Topic> = vec![];
        for part in group {
            add_new(&mut about, &part.about);
        }
        let clauses = group.iter().filter_map(|part| part.remedy.clause(&part.place(self.several_accounts)));
        let (end, command) = match (then, self.commands.shared_out_at) {
            (Then::Resume(retry), Some(url)) if retry.is_some() || self.is_over => {
                self.end_of_partitions(group, *retry, url, changed)
            }
            _ => self.end(first, changed),
        };
        let mut text = Phrase::default();
        for (at, clause) in clauses.enumerate() {
            text = if at > 0 { text.text("; ") } else { text }.append(clause);
        }
        let says_it = group.iter().all(|part| part.remedy == Remedy::Adopted) && self.commands.run.is_some();
        if !says_it && *then != Then::Nothing {
            text = if text.is_empty() { end } else { text.text("; then ").append(end) };
        }
        (!text.is_empty()).then_some(Step { about, text, command })
    }

    /// The last words of a step, and its command.
    fn end(&self, part: &Part, changed: bool) -> (Phrase, Option<String>) {
        let config = self.commands.config;
        match (&part.then, self.commands.run) {
            (Then::Nothing, _) => (Phrase::default(), None),
            (Then::Run, Some(_)) => {
                let mut end = Phrase::new("run for ");
                let mut command = config.map(|config| format!("fleetlogs run {config}"));
                let mut option = |name: &str, value: &str| {
                    if let Some(command) = &mut command {
                        command.extend([" --", name, " ", &quoted(value)]);
                    }
                };
                part.accounts.iter().for_each(|account| option("account", account.as_str()));
                if part.pools.len() <= MOST_POOLS_IN_COMMAND
                    && part.accounts.len() == 1
                    && !part.pools.is_empty()
                {
                    part.pools.iter().for_each(|pool| option("pool", pool.as_str()));
                    let noun = if part.pools.len() == 1 { "pool " } else { "pools " };
                    end = end.text(noun).names(part.pools.iter().map(PoolId::as_str)).text(" of ");
                }
                (end.names(part.accounts.iter().map(AccountName::as_str)), command)
            }
            (Then::Resume(retry), Some(run)) => {
                let option = retry.map(|outcome| format!(" --retry {outcome}")).unwrap_or_default();
                let accept = if changed { " --accept-changes" } else { "" };
                let command = self.commands.continues(run);
                if self.commands.shared_out_at.is_some() {
                    return (Phrase::new("let workers do the rest"), Some(command));
                }
                let end = if retry.is_some() { "retry" } else { "resume the run" };
                (Phrase::new(end), Some(format!("{command}{option}{accept}")))
            }
            (Then::Resume(_) | Then::Run, None) => {
                (Phrase::new("start a new run"), config.map(|config| format!("fleetlogs run {config}")))
            }
        }
    }
}

impl Situation<'_> {
    /// The same for partitions of a run that is shared out, which are resumed one by one. The command is that of the
    /// first.
    fn end_of_partitions(
        &self,
        group: &[Part],
        retry: Option<Outcome>,
        url: &str,
        changed: bool,
    ) -> (Phrase, Option<String>) {
        let mut accounts = vec![];
        for part in group {
            add_new(&mut accounts, &part.accounts);
        }
        let verb = if retry.is_some() { "retry" } else { "resume" };
        let Some(first) = accounts.first() else { return (Phrase::new(verb), None) };
        let mut command = self.commands.resumes_partition(url, first);
        if let Some(outcome) = retry {
            command.extend([" --retry ", outcome.as_str()]);
        }
        if changed {
            command.push_str(" --accept-changes");
        }
        let end = match accounts.len() {
            1 => Phrase::new(verb).text(" the partition "),
            _ => Phrase::new(verb).text(" these partitions one by one: "),
        };
        (end.names(accounts.iter().map(AccountName::as_str)), Some(command))
    }
}

impl Part {
    fn is_some(&self) -> bool {
        self.then != Then::Nothing || self.remedy != Remedy::None
    }

    fn place(&self, several_accounts: bool) -> remedy::Place<'_> {
        let is_named = several_accounts && self.then != Then::Run;
        remedy::Place { accounts: &self.accounts, pools: &self.pools, is_named }
    }
}

/// What to do before a run about accounts and pools that could not be listed, each once.
#[must_use]
pub fn remedies_of_unlisted(plan: &Plan) -> Vec<String> {
    let mut parts: Vec<Part> = vec![];
    for account in plan.accounts.iter().filter(|account| !account.is_whole()) {
        let why = account.unlisted.as_deref().or(account.missing.as_deref()).unwrap_or_default();
        merge(&mut parts, of_unlisted(Unlisted { account: &account.name, pools: None, why }));
    }
    let several = plan.accounts.len() > 1;
    let clause = |part: &Part| {
        let place = remedy::Place { accounts: &part.accounts, pools: &[], is_named: several };
        Some(part.remedy.clause(&place)?.plain())
    };
    parts.iter().filter_map(clause).collect()
}

/// A run of its own for what could not be listed.
fn of_unlisted(unlisted: Unlisted<'_>) -> Part {
    Part {
        about: vec![Topic::Accounts],
        remedy: remedy::of_text(unlisted.why),
        accounts: vec![unlisted.account.clone()],
        pools: unlisted.pools.map(<[PoolId]>::to_vec).unwrap_or_default(),
        then: Then::Run,
    }
}

/// Adds a part to a step. The same remedy for several places is said once.
fn merge(group: &mut Vec<Part>, part: Part) {
    let Some(known) = group.iter_mut().find(|known| known.remedy == part.remedy) else {
        group.push(part);
        return;
    };
    add_new(&mut known.about, &part.about);
    add_new(&mut known.accounts, &part.accounts);
    add_new(&mut known.pools, &part.pools);
}

/// Adds what is not there yet.
fn add_new<T: Clone + PartialEq>(known: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !known.contains(item) {
            known.push(item.clone());
        }
    }
}

/// Whether a plain resume has something to do for nodes with this outcome.
fn is_outstanding(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Accepted | Outcome::InDoubt | Outcome::NotSent => true,
        Outcome::Verified
        | Outcome::Adopted
        | Outcome::Incomplete
        | Outcome::Empty
        | Outcome::Failed
        | Outcome::Gone => false,
    }
}

/// What to do about nodes with this outcome, where nothing else is known of them.
pub(crate) fn after_outcome(outcome: Outcome, unverified: Option<Unverified>, run: &str) -> Option<Step> {
    let cause = Cause {
        outcome,
        reason: String::new(),
        code: None,
        shortfall: None,
        account: AccountName::new(""),
        pools: vec![],
        nodes: 1,
        examples: vec![],
    };
    let situation = Situation {
        ending: Ending::OfItself,
        is_over: true,
        reason: None,
        unverified,
        accepted: 0,
        causes: std::slice::from_ref(&cause),
        unlisted: vec![],
        several_accounts: false,
        commands: Commands { run: Some(run), ..Commands::default() },
    };
    situation.steps_of_causes().pop().flatten()
}

#[cfg(test)]
mod tests;
