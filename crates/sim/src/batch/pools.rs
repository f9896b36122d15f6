//! Pools: the list, a single one, and the node counts.

use std::collections::BTreeMap;

use super::command;
use super::envelope::SuccessReply;
use super::errors::BatchError;
use super::filter::{Filter, FilterValue, FilteredList};
use super::image::{agent, image};
use super::json::{Json, Selected};
use super::paging::Position;
use super::request::Call;
use super::select::Select;
use crate::clock::batch_etag;
use crate::fleet::Pool;
use crate::scenario::{AllocationState, Fault, NodeState};

impl Call<'_> {
    /// `GET /pools`.
    pub(super) fn list_pools(&self, fault: Option<&Fault>) -> Result<SuccessReply, BatchError> {
        let (size, position) = (self.page_size()?, self.position()?);
        let filter = self.filter(FilteredList::Pools)?;
        let select = Select::parse(self.query.get("$select"));
        let matches =
            |pool: &Pool| pool.is_there(self.now) && filter.holds(|name| self.pool_value(pool, name));
        let base = self.base();
        let mut json = Json::document(&base, "pools", 1024);
        let (mut given, mut next) = (0, None);
        json.list("value", |json| {
            for (place, pool) in (0_u32..).zip(&self.account.pools).skip(position.place as usize) {
                if !matches(pool) {
                    continue;
                }
                if given == size {
                    next = Some(Position { place, after_empty: false });
                    break;
                }
                given += 1;
                json.item(|json| {
                    self.pool_members(&mut Selected { json, select: &select }, &base, pool, fault);
                });
            }
            Self::push_flood(json, fault);
        });
        self.push_link(&mut json, position, next, fault);
        Ok(SuccessReply::body(json.finish()))
    }

    pub(super) fn filter(&self, list: FilteredList) -> Result<Filter, BatchError> {
        let text = self.query.get("$filter");
        Filter::parse(text, list)
            .map_err(|reason| BatchError::query_value("$filter", text.unwrap_or(""), &reason))
    }

    /// `GET /pools/{pool}`.
    pub(super) fn get_pool(&self, id: &str, fault: Option<&Fault>) -> Result<SuccessReply, BatchError> {
        let (_, pool) = self.find_pool(id)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let mut json = Json::document(&base, "pools/@Element", 2048);
        self.pool_members(&mut Selected { json: &mut json, select: &select }, &base, pool, fault);
        Ok(SuccessReply { body: json.finish(), modified: Some(self.pool_changed(pool).1) })
    }

    pub(super) fn find_pool(&self, id: &str) -> Result<(u16, &Pool), BatchError> {
        self.account
            .pool(id)
            .filter(|(_, pool)| pool.is_there(self.now))
            .ok_or_else(BatchError::pool_not_found)
    }

    /// The value of a pool's property for a filter.
    fn pool_value<'a>(&self, pool: &'a Pool, name: &str) -> Option<FilterValue<'a>> {
        Some(match name {
            "id" => FilterValue::text(pool.scenario.id.as_str()),
            "state" => FilterValue::text(pool_state(pool, self.now)),
            "allocationState" => FilterValue::text(allocation_state(pool)),
            "vmSize" => FilterValue::text(pool.scenario.vm_size.as_str()),
            "enableAutoScale" => FilterValue::Flag(pool.scenario.auto_scale),
            "enableInterNodeCommunication" => FilterValue::Flag(false),
            "allocationStateTransitionTime" | "creationTime" => FilterValue::Time(self.pool_changed(pool).0),
            "stateTransitionTime" | "lastModified" => FilterValue::Time(self.pool_changed(pool).1),
            _ => return None,
        })
    }

    /// When the pool was created, and when its state last changed.
    fn pool_changed(&self, pool: &Pool) -> (time::OffsetDateTime, time::OffsetDateTime) {
        let micros = pool.roll.text("changed").between(1_000_000, 40 * 86_400_000_000);
        let age = time::Duration::microseconds(i64::try_from(micros).unwrap_or(0));
        let made = self.world.clock.started_at() - time::Duration::days(10) - pool.least_age - age;
        let deleting = pool.scenario.deleting_at.filter(|at| self.now >= at.0);
        (made, deleting.map_or(made, |at| self.world.clock.date_at(at.0)))
    }

    fn pool_members(&self, out: &mut Selected<'_>, base: &str, pool: &Pool, fault: Option<&Fault>) {
        let scenario = &pool.scenario;
        let (made, changed) = self.pool_changed(pool);
        let (dedicated, spot) = pool.present(self.now);
        out.member("id", |json, name| json.text(name, &scenario.id));
        out.member("url", |json, name| json.text(name, &format!("{base}/pools/{}", scenario.id)));
        out.member("eTag", |json, name| json.text(name, &batch_etag(changed)));
        out.member("lastModified", |json, name| json.time(name, changed));
        out.member("creationTime", |json, name| json.time(name, made));
        out.member("state", |json, name| json.text(name, pool_state(pool, self.now)));
        out.member("stateTransitionTime", |json, name| json.time(name, changed));
        out.member("allocationState", |json, name| json.text(name, allocation_state(pool)));
        out.member("allocationStateTransitionTime", |json, name| json.time(name, made));
        out.member("vmSize", |json, name| json.text(name, &scenario.vm_size));
        out.member("resizeTimeout", |json, name| json.text(name, "PT15M"));
        let target = target_size(pool, self.now);
        out.member("currentDedicatedNodes", |json, name| json.number(name, dedicated));
        out.member("targetDedicatedNodes", |json, name| json.number(name, target.0));
        out.member("currentLowPriorityNodes", |json, name| json.number(name, spot));
        out.member("targetLowPriorityNodes", |json, name| json.number(name, target.1));
        let echo = self.echo_of_answer(fault);
        if scenario.resize_error.is_some() || echo.is_some() {
            out.member("resizeErrors", |json, name| {
                json.list(name, |json| {
                    if let Some(code) = &scenario.resize_error {
                        resize_error(json, code, &scenario.resize_message);
                    }
                    if let Some(echo) = &echo {
                        resize_error(json, "AllocationFailed", echo);
                    }
                });
            });
        }
        out.member("enableAutoScale", |json, name| json.flag(name, scenario.auto_scale));
        if scenario.auto_scale {
            out.member("autoScaleFormula", |json, name| {
                json.text(name, &format!("$TargetDedicatedNodes = {dedicated};"));
            });
            out.member("autoScaleEvaluationInterval", |json, name| json.text(name, "PT15M"));
        }
        out.member("enableInterNodeCommunication", |json, name| json.flag(name, false));
        out.member("startTask", |json, name| command::start_task(json, name, scenario.os));
        if !scenario.metadata.is_empty() {
            out.member("metadata", |json, name| {
                json.list(name, |json| {
                    for (name, value) in &scenario.metadata {
                        json.item(|json| {
                            json.text("name", name);
                            json.text("value", value);
                        });
                    }
                });
            });
        }
        out.member("taskSlotsPerNode", |json, name| json.number(name, 1_u32));
        out.member("taskSchedulingPolicy", |json, name| {
            json.object(name, |json| {
                json.text("nodeFillType", "Spread");
                // Newer than most clients.
                json.text("jobDefaultOrder", "none");
            });
        });
        out.member("virtualMachineConfiguration", |json, name| {
            json.object(name, |json| write_machine(json, pool));
        });
        out.member("upgradePolicy", |json, name| json.object(name, |json| json.text("mode", "manual")));
        if !scenario.identities.is_empty() {
            out.member("identity", |json, name| {
                json.object(name, |json| {
                    json.text("type", "UserAssigned");
                    json.list("userAssignedIdentities", |json| {
                        for id in &scenario.identities {
                            json.item(|json| json.text("resourceId", id));
                        }
                    });
                });
            });
        }
        out.member("simulatedOnly", |json, name| {
            // No documentation lists this member: clients must ignore members that they do not know.
            json.object(name, |json| json.flag("tolerated", true));
        });
    }

    /// `GET /nodecounts`.
    pub(super) fn node_counts(&self) -> Result<SuccessReply, BatchError> {
        let (size, position) = (self.page_size()?, self.position()?);
        let filter = self.filter(FilteredList::Counts)?;
        let mut json = Json::document(&self.base(), "poolnodecounts", 1024);
        let (mut given, mut next) = (0, None);
        json.list("value", |json| {
            for (place, pool) in (0_u32..).zip(&self.account.pools).skip(position.place as usize) {
                if !pool.is_there(self.now)
                    || !filter.holds(|name| self.pool_value(pool, if name == "poolId" { "id" } else { name }))
                {
                    continue;
                }
                if given == size {
                    next = Some(Position { place, after_empty: false });
                    break;
                }
                given += 1;
                json.item(|json| self.counts(json, pool));
            }
        });
        self.push_link(&mut json, position, next, None);
        Ok(SuccessReply::body(json.finish()))
    }

    fn counts(&self, json: &mut Json, pool: &Pool) {
        let mut by_kind: [BTreeMap<&str, u32>; 2] = Default::default();
        for place in 0..pool.places() {
            if let Some(node) = pool.node(place, self.now) {
                let kind = usize::from(!pool.names.is_dedicated(place));
                *by_kind[kind].entry(counter(node.state)).or_default() += 1;
            }
        }
        json.text("poolId", &pool.scenario.id);
        for (name, counts) in ["dedicated", "lowPriority"].into_iter().zip(&by_kind) {
            json.object(name, |json| {
                for counter in COUNTERS {
                    json.number(counter, counts.get(counter).copied().unwrap_or(0));
                }
                json.number("total", counts.values().sum::<u32>());
            });
        }
    }
}

const COUNTERS: [&str; 16] = [
    "creating",
    "idle",
    "offline",
    "preempted",
    "rebooting",
    "reimaging",
    "running",
    "starting",
    "startTaskFailed",
    "leavingPool",
    "unknown",
    "unusable",
    "waitingForStartTask",
    "upgradingOS",
    "deallocated",
    "deallocating",
];

/// The counter of a state; unknown states are counted as `unknown`.
fn counter(state: NodeState) -> &'static str {
    match state {
        NodeState::StartTaskFailed => "startTaskFailed",
        NodeState::WaitingForStartTask => "waitingForStartTask",
        NodeState::LeavingPool => "leavingPool",
        NodeState::UpgradingOs => "upgradingOS",
        NodeState::Hibernating | NodeState::Gone => "unknown",
        state => state.wire(),
    }
}

fn pool_state(pool: &Pool, now: std::time::Duration) -> &'static str {
    if pool.is_deleting(now) { "deleting" } else { "active" }
}

fn allocation_state(pool: &Pool) -> &'static str {
    match pool.scenario.allocation_state() {
        AllocationState::Steady => "steady",
        AllocationState::Resizing => "resizing",
        AllocationState::Stopping => "stopping",
    }
}

/// The target size of the pool: dedicated nodes and low-priority nodes.
fn target_size(pool: &Pool, now: std::time::Duration) -> (u32, u32) {
    let scenario = &pool.scenario;
    let (dedicated, spot) = (scenario.nodes - scenario.spot, scenario.spot);
    if pool.is_deleting(now) {
        return (0, 0);
    }
    // The last nodes leave, and the first nodes are the low-priority ones.
    let fewer = scenario.shrinking.unwrap_or(0);
    let more = u32::from(scenario.resize_error.is_some());
    (dedicated.saturating_sub(fewer) + more, spot - fewer.saturating_sub(dedicated))
}

fn resize_error(json: &mut Json, code: &str, message: &str) {
    json.item(|json| {
        json.text("code", code);
        json.text("message", message);
    });
}

fn write_machine(json: &mut Json, pool: &Pool) {
    json.object("imageReference", |json| image(json, &pool.scenario, false));
    json.text("nodeAgentSKUId", agent(pool.scenario.os));
}
