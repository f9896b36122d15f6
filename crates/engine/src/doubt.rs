//! What became of a call whose answer was lost: the container is searched for a directory of that node made since
//! the call.
//!
//! Both ages that decide it, that of the call and that of a directory, are measured on the clocks of services
//! (`intent.rs`). What was in the container before, and what other calls of the run are known to have
//! made, is not it (`doubt/claims.rs`).

pub(crate) mod claims;
pub(crate) mod listing;
pub(crate) mod naming;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::event::Event;
use fleetlogs_model::ids::{AccountIndex, NodeIndex};
use fleetlogs_model::service::{BatchService, BlobPage, LogStore};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use self::claims::{Claims, Shown, directory_key};
use self::listing::{Searcher, SeenNode, Sought, each_page};
use self::naming::Naming;
use crate::intent::{Age, Intent, Now};
use crate::run::Run;
use crate::stop::Stop;
use crate::sweep::Outlook;

/// Creation times have a resolution of one second, and so have dates.
const TOLERANCE: time::Duration = time::Duration::seconds(2);

/// Pages of the listing before the first call, at most.
const PAGES_BEFORE: u64 = 10;

/// How long that listing may take, and how long a service may take to tell its time.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of the directories of one account.
#[derive(Debug)]
pub(crate) struct AccountDirectories {
    pub(crate) naming: Naming,
    /// Those that have an owner, of all accounts.
    pub(crate) claims: Arc<Claims>,
    /// Those that were there before the first call of this process.
    before: OnceCell<Shown>,
}

impl AccountDirectories {
    pub(crate) fn new(naming: Naming, claims: Arc<Claims>) -> Self {
        Self { naming, claims, before: OnceCell::new() }
    }

    /// Lists what is there before the first call, once. An account with much in the container is listed in part.
    pub(crate) async fn look_before<S: LogStore>(&self, store: &S) {
        let list = || async {
            let mut shown = Shown::default();
            let see = |page: &BlobPage| {
                let directories = page.blobs.iter().filter_map(|blob| self.naming.directory(&blob.name));
                shown.directories.extend(directories.map(|directory| directory_key(directory.path)));
            };
            let prefix = self.naming.account_prefix();
            let listed = timeout(PATIENCE, each_page(store, &prefix, PAGES_BEFORE, &mut 0, see)).await;
            shown.is_whole = matches!(listed, Ok(Ok(true)));
            shown
        };
        self.before.get_or_init(list).await;
    }

    /// What the container has of a call.
    pub(crate) fn judge(
        &self,
        lost: &LostCall<'_>,
        seen: &BTreeMap<Box<str>, Option<time::Duration>>,
    ) -> Finding {
        let before = self.before.get().filter(|_| lost.first.is_ours());
        let Age { trusted, longest, moved, .. } = lost.age;
        let mut found = Vec::new();
        for (directory, age) in seen {
            let has_owner = self.claims.owner(directory).is_some();
            if has_owner || before.is_some_and(|before| before.has(directory)) {
                continue;
            }
            let is_within = |call: Duration| {
                let call = time::Duration::try_from(call).unwrap_or(time::Duration::MAX);
                age.is_some_and(|age| age.saturating_sub(TOLERANCE) <= call)
            };
            let is_new = before.is_some_and(|before| before.is_whole);
            let appeared = lost.shown.is_some_and(|shown| !shown.has(directory));
            if is_within(trusted) || appeared || (is_within(longest) && is_new) {
                found.push((age.unwrap_or(time::Duration::ZERO), directory));
            }
        }
        // The youngest first.
        found.sort();
        let mut directories = found.into_iter().map(|(_, directory)| directory.clone());
        match directories.next() {
            Some(directory) => Finding::Found { directory, others: directories.collect() },
            None if !self.naming.is_known() => Finding::Unknown(Why::Naming),
            // Otherwise all clocks agree on the age of the call.
            None if moved => Finding::Unknown(Why::Clock),
            None => Finding::Absent,
        }
    }

    /// All directories that the node got since its first call.
    fn made_since(&self, call: &RepeatedCall, age: Age, seen: SeenNode) -> Vec<Box<str>> {
        let before = self.before.get().filter(|_| call.first.is_ours());
        let trusted = time::Duration::try_from(age.trusted).unwrap_or(time::Duration::MAX);
        let is_since = |directory: &str, age: Option<time::Duration>| {
            let of_another = self.claims.owner(directory).is_some_and(|owner| owner != call.node);
            let was_there = before.is_some_and(|before| before.has(directory));
            !of_another && !was_there && age.is_some_and(|age| age.saturating_sub(TOLERANCE) <= trusted)
        };
        let directories = seen.directories.into_iter();
        directories
            .filter(|(directory, age)| is_since(directory, *age))
            .map(|(directory, _)| directory)
            .collect()
    }
}

/// A call whose answer was lost.
pub(crate) struct LostCall<'call> {
    /// The first call of its round.
    pub(crate) first: &'call Intent,
    pub(crate) age: Age,
    /// What an earlier look of this process, after the call, showed of the node.
    pub(crate) shown: Option<&'call Shown>,
}

/// What the container says about a call in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// No directory of that node was made since the call.
    Absent,
    /// None was found, but that proves nothing.
    Unknown(Why),
    /// The newest directory made since the call, and any others.
    Found {
        /// The newest.
        directory: Box<str>,
        /// The others.
        others: Vec<Box<str>>,
    },
}

/// Why it cannot be told whether there is a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// How the account names its directories is not known yet.
    Naming,
    /// A clock was set since the call.
    Clock,
}

/// Lets a service tell its time: any answer does, and what this one says of the node does not matter.
pub(crate) async fn ask_time<B: BatchService>(run: &Run, service: &B, node: NodeIndex) {
    let planned = run.plan.node(node);
    // Without an answer, the time stays unknown.
    let _ = timeout(PATIENCE, service.get_node(planned.pool(), &planned.node())).await;
}

/// A node whose call was repeated after the settle time, which is a guess: its first call may have left a directory
/// that showed up later.
#[derive(Debug)]
pub struct RepeatedCall {
    pub(crate) node: NodeIndex,
    pub(crate) account: AccountIndex,
    /// Its first call.
    pub(crate) first: Intent,
    /// Whether a clock had moved when it was repeated.
    pub(crate) clock_moved: bool,
    pub(crate) directories: Arc<AccountDirectories>,
}

/// Searches once more for directories of nodes whose call was repeated, and records what is there. Call this when the
/// files have arrived; a run that is told to stop leaves it for later.
pub async fn look_for_duplicates<B: BatchService, S: LogStore>(
    run: &Run,
    services: &[Option<Arc<B>>],
    store: &S,
    repeated: Vec<RepeatedCall>,
) {
    let mut by_account: BTreeMap<AccountIndex, Vec<RepeatedCall>> = BTreeMap::new();
    for call in repeated {
        by_account.entry(call.account).or_default().push(call);
    }
    for (account, calls) in by_account {
        let service = services.get(account.get()).and_then(Option::as_ref);
        tokio::select! {
            () = look_again_for(run, service, store, &calls) => {}
            () = run.stop.reached(Stop::Drain) => return,
        }
    }
}

async fn look_again_for<B: BatchService, S: LogStore>(
    run: &Run,
    service: Option<&Arc<B>>,
    store: &S,
    calls: &[RepeatedCall],
) {
    let Some(first) = calls.first() else { return };
    if let Some(service) = service {
        ask_time(run, &**service, first.node).await;
    }
    let directories = &*first.directories;
    let now = Now::read(run.clock, service.and_then(|service| service.time()));
    let sought = |call: &RepeatedCall| Sought {
        node: call.node,
        at: run.plan.node(call.node).at(),
        is_due: true,
        is_thorough: true,
    };
    let sought: Vec<_> = calls.iter().map(sought).collect();
    let outlook = &mut Outlook::default();
    let searcher = Searcher { store, naming: &directories.naming, outlook, now };
    let (mut sightings, trouble) = searcher.look(&sought).await;
    if let Some(failure) = trouble {
        tracing::warn!(%failure, "cannot search for second directories of nodes whose calls were repeated");
    }
    for call in calls {
        let sighting = sightings.remove(&call.node).unwrap_or_default();
        // The manifest still says that there may be one.
        if !sighting.is_whole || !directories.naming.is_known() {
            continue;
        }
        let age = call.first.age(&now);
        let (unsure, directories) =
            (call.clock_moved || age.moved, directories.made_since(call, age, sighting));
        if run.log.note(Some(call.node), Event::DirectoriesFound { directories, unsure }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
