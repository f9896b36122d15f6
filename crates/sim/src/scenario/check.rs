//! Checks that a scenario that could be parsed also makes sense.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::blob::is_container_name;

use super::account::{AccountScenario, AuthMode};
use super::clock::ClockShift;
use super::document::{Scenario, ScenarioError, StorageScenario};
use super::fault::{Fault, FaultKind, StorageFault, StorageOperation};
use super::job::JobScenario;
use super::pool::{Life, NodeState, PoolScenario};

type CheckResult = Result<(), ScenarioError>;

fn ensure(good: bool, key: &str, problem: &str) -> CheckResult {
    if good {
        return Ok(());
    }
    Err(ScenarioError::Meaning { key: key.to_owned(), problem: problem.to_owned() })
}

fn is_share(share: f64) -> bool {
    (0.0..=1.0).contains(&share)
}

fn is_account_name(name: &str) -> bool {
    (3..=24).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Longer than any job, and short enough to calculate with.
const LONGEST_JOB: Duration = Duration::from_secs(10 * 365 * 86_400);

const BATCH_ID: &str = "must be 1 to 64 letters, digits, hyphens and underscores";

/// Whether Batch accepts `id` for a pool or job.
fn is_batch_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether `text` is a GUID in its usual form, with hyphens.
fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// Whether `id` is the resource id of a user-assigned identity. Azure compares such ids without regard to case.
fn is_identity(id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    id.starts_with("/subscriptions/")
        && id
            .rsplit_once("/userassignedidentities/")
            .is_some_and(|(_, name)| !name.is_empty() && !name.contains('/'))
}

fn check_shifts(shifts: &[ClockShift], path: &str) -> CheckResult {
    for (index, shift) in shifts.iter().enumerate() {
        let path = format!("{path}clock_shift[{index}]");
        let good = shift.at.is_some() != shift.after_uploads.is_some();
        ensure(good, &path, "give either `at` or `after_uploads`")?;
    }
    Ok(())
}

fn check_key(key: Option<&str>, path: &str) -> CheckResult {
    let Some(text) = key else { return Ok(()) };
    let good = BASE64_STANDARD.decode(text).is_ok_and(|bytes| !bytes.is_empty());
    ensure(good, path, "must be Base64 and not empty")
}

impl Scenario {
    pub(super) fn check(&self) -> CheckResult {
        check_shifts(&self.clock_shifts, "")?;
        self.storage.check()?;
        ensure(!self.accounts.is_empty(), "account", "at least one `[[account]]` is needed")?;
        for (index, account) in self.accounts.iter().enumerate() {
            let path = format!("account[{index}]");
            let first = self.accounts.iter().position(|other| other.name == account.name);
            ensure(first == Some(index), &format!("{path}.name"), "two accounts have this name")?;
            account.check(&path)?;
        }
        Ok(())
    }
}

impl StorageScenario {
    fn check(&self) -> CheckResult {
        ensure(
            is_account_name(&self.account),
            "storage.account",
            "must be 3 to 24 lower-case letters and digits",
        )?;
        for (index, name) in self.others.iter().enumerate() {
            let what = "must be 3 to 24 lower-case letters and digits";
            ensure(is_account_name(name), &format!("storage.others[{index}]"), what)?;
        }
        let good = is_container_name(&self.container);
        ensure(
            good,
            "storage.container",
            "must be 3 to 63 lower-case letters and digits, with single hyphens between them",
        )?;
        check_key(self.key.as_deref(), "storage.key")?;
        // Storage gives the times of a key in whole seconds.
        let good = self.delegation_key_lifetime.is_none_or(|span| span.0.as_secs() >= 1);
        ensure(good, "storage.delegation_key_lifetime", "must be 1s or more")?;
        check_shifts(&self.clock_shifts, "storage.")?;
        for (index, fault) in self.faults.iter().enumerate() {
            fault.check(&format!("storage.fault[{index}]"))?;
        }
        for (index, fault) in self.read_faults.iter().enumerate() {
            ensure(fault.first > 0, &format!("storage.read_fault[{index}].first"), "must be 1 or more")?;
        }
        Ok(())
    }
}

impl StorageFault {
    fn check(&self, path: &str) -> CheckResult {
        let good = self.on == StorageOperation::List || !self.kind.is_of_lists();
        ensure(good, &format!("{path}.on"), "this kind is for `list` only")?;
        let good = !self.kind.needs_text() || self.text.is_some();
        ensure(good, &format!("{path}.text"), "this kind needs a `text`")
    }
}

impl AccountScenario {
    fn check(&self, path: &str) -> CheckResult {
        ensure(
            is_account_name(&self.name),
            &format!("{path}.name"),
            "must be 3 to 24 lower-case letters and digits",
        )?;
        check_key(self.key.as_deref(), &format!("{path}.key"))?;
        check_shifts(&self.clock_shifts, &format!("{path}."))?;
        ensure(
            self.capacity.is_none_or(|c| c.is_finite() && c > 0.0),
            &format!("{path}.capacity"),
            "must be a number of calls per second above 0",
        )?;
        for (index, change) in self.capacity_change.iter().enumerate() {
            let good = change.capacity.is_finite() && change.capacity > 0.0;
            ensure(
                good,
                &format!("{path}.capacity_change[{index}].capacity"),
                "must be a number of calls per second above 0",
            )?;
        }
        let good = [AuthMode::SharedKey, AuthMode::Entra].iter().any(|mode| self.accepts(*mode));
        ensure(
            good,
            &format!("{path}.auth"),
            "no client could authenticate: allow `shared-key` or `entra` (with user subscription mode, `entra`)",
        )?;
        let good = is_guid(&self.subscription);
        ensure(good, &format!("{path}.subscription"), "must be a subscription id (a GUID)")?;
        ensure((1..=1000).contains(&self.page_size), &format!("{path}.page_size"), "must be from 1 to 1000")?;
        for (index, pool) in self.pools.iter().enumerate() {
            let path = format!("{path}.pool[{index}]");
            let first = self.pools.iter().position(|other| other.id.eq_ignore_ascii_case(&pool.id));
            ensure(
                first == Some(index),
                &format!("{path}.id"),
                "two pools have this id (ids are compared without case)",
            )?;
            ensure(self.is_id(&pool.id), &format!("{path}.id"), BATCH_ID)?;
            pool.check(&path)?;
        }
        for (index, job) in self.jobs.iter().enumerate() {
            let path = format!("{path}.job[{index}]");
            let first = self.jobs.iter().position(|other| other.id.eq_ignore_ascii_case(&job.id));
            ensure(
                first == Some(index),
                &format!("{path}.id"),
                "two jobs have this id (ids are compared without case)",
            )?;
            self.check_job(job, &path)?;
        }
        for (index, fault) in self.faults.iter().enumerate() {
            self.check_fault(fault, &format!("{path}.fault[{index}]"))?;
        }
        for (index, fault) in self.arrival_faults.iter().enumerate() {
            let path = format!("{path}.arrival_fault[{index}]");
            ensure(is_share(fault.share), &format!("{path}.share"), "must be from 0 to 1")?;
            self.check_pool_name(fault.pool.as_deref(), &path)?;
        }
        Ok(())
    }

    fn check_fault(&self, fault: &Fault, path: &str) -> CheckResult {
        ensure(is_share(fault.share), &format!("{path}.share"), "must be from 0 to 1")?;
        self.check_pool_name(fault.pool.as_deref(), path)?;
        let of_code = fault.kind == FaultKind::Code;
        let flood = fault.kind == FaultKind::Flood;
        ensure(!flood || fault.size.is_some(), &format!("{path}.size"), "kind `flood` needs a `size`")?;
        let bent = fault.kind == FaultKind::Directory;
        let what = "kind `directory` needs a `directory`";
        ensure(!bent || fault.directory.is_some(), &format!("{path}.directory"), what)?;
        let promise = fault.kind == FaultKind::Promise;
        ensure(!promise || fault.files.is_some(), &format!("{path}.files"), "kind `promise` needs `files`")?;
        ensure(!of_code || fault.code.is_some(), &format!("{path}.code"), "kind `code` needs a `code`")?;
        ensure(
            !of_code || fault.status.is_some(),
            &format!("{path}.status"),
            "kind `code` needs a `status`",
        )?;
        let good = fault.status.is_none_or(|status| (400..=599).contains(&status));
        ensure(good, &format!("{path}.status"), "must be from 400 to 599")
    }

    fn check_job(&self, job: &JobScenario, path: &str) -> CheckResult {
        // Jobs of a schedule are called `{schedule}:job-1`.
        let good = self.any_ids || is_batch_id(&job.id.replace(':', "-"));
        ensure(
            good && !job.id.is_empty(),
            &format!("{path}.id"),
            "must be 1 to 64 letters, digits, hyphens, underscores and colons",
        )?;
        self.check_pool_name(Some(&job.pool), path)?;
        let there = self.pools.iter().find(|pool| pool.id == job.pool).map_or(0, |pool| pool.nodes);
        let nodes = job.nodes.unwrap_or(there);
        let good = (1..=there).contains(&nodes);
        ensure(good, &format!("{path}.nodes"), "must be from 1 to the number of nodes in the pool")?;
        let good = (1..=nodes).contains(&job.instances);
        ensure(good, &format!("{path}.instances"), "must be from 1 to the number of nodes of the job")?;
        for (key, span) in [("started", job.started), ("lasted", job.lasted)] {
            ensure(span.0 <= LONGEST_JOB, &format!("{path}.{key}"), "must be ten years or less")?;
        }
        ensure(job.gone <= job.tasks, &format!("{path}.gone"), "must not be more than `tasks`")?;
        ensure(job.failed <= job.tasks, &format!("{path}.failed"), "must not be more than `tasks`")
    }

    /// Whether the account can have a pool or job with this id.
    fn is_id(&self, id: &str) -> bool {
        if self.any_ids { !id.is_empty() } else { is_batch_id(id) }
    }

    fn check_pool_name(&self, name: Option<&str>, path: &str) -> CheckResult {
        let good = name.is_none_or(|name| self.pools.iter().any(|pool| pool.id == name));
        ensure(good, &format!("{path}.pool"), "the account has no pool with this id")
    }
}

impl PoolScenario {
    fn check(&self, path: &str) -> CheckResult {
        for (key, nodes) in [
            ("spot", self.spot),
            ("scheduling_disabled", self.scheduling_disabled),
            ("shrinking", self.shrinking.unwrap_or(0)),
        ] {
            ensure(nodes <= self.nodes, &format!("{path}.{key}"), "must not be more than `nodes`")?;
        }
        let good = self.resize_error.as_ref().is_none_or(|code| !code.is_empty());
        ensure(good, &format!("{path}.resize_error"), "must be an error code such as \"AllocationFailed\"")?;
        for (index, id) in self.identities.iter().enumerate() {
            let path = format!("{path}.identities[{index}]");
            let what = "must be a resource id: /subscriptions/…/userAssignedIdentities/NAME";
            ensure(is_identity(id), &path, what)?;
            let first = self.identities.iter().position(|other| other.eq_ignore_ascii_case(id));
            ensure(
                first == Some(index),
                &path,
                "this identity is listed twice (ids are compared without case)",
            )?;
        }
        ensure(is_share(self.unknown_state), &format!("{path}.unknown_state"), "must be from 0 to 1")?;
        let sum: f64 = self.states.values().sum();
        // Shares such as 0.7 + 0.2 + 0.1 do not add up to exactly 1 in binary.
        let good = self.states.values().all(|share| is_share(*share)) && sum <= 1.000_001;
        ensure(good, &format!("{path}.states"), "shares must be from 0 to 1 and add up to 1 at most")?;
        ensure(
            !self.states.contains_key(&NodeState::Gone),
            &format!("{path}.states"),
            "a node cannot begin as `gone`",
        )?;
        for (index, life) in self.lives.iter().enumerate() {
            let path = format!("{path}.life[{index}]");
            ensure(
                life.nodes.is_none() || life.share.is_none(),
                &path,
                "give either `nodes` or `share`, not both",
            )?;
            ensure(life.share.is_none_or(is_share), &format!("{path}.share"), "must be from 0 to 1")?;
            life.check_end(&path)?;
        }
        Ok(())
    }
}

impl Life {
    fn check_end(&self, path: &str) -> CheckResult {
        let ends = [self.back_after, self.recovers_after, self.gone_after];
        ensure(
            ends.into_iter().flatten().count() <= 1,
            path,
            "only one of `back_after`, `recovers_after` and `gone_after` can be given",
        )?;
        let Some(every) = self.every else {
            return ensure(self.times.is_none(), &format!("{path}.times"), "needs `every`");
        };
        let lasts = self.back_after.or(self.recovers_after);
        let good = every.0 > Duration::ZERO && lasts.is_some_and(|lasts| lasts < every);
        let what = "needs `back_after` or `recovers_after`, and must be longer";
        ensure(good, &format!("{path}.every"), what)?;
        ensure(self.times != Some(0), &format!("{path}.times"), "must be 1 or more")
    }
}
