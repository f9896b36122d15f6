//! Nodes: the list and a single one.

use super::envelope::Good;
use super::errors::BatchError;
use super::filter::Filtered;
use super::json::{Json, Selected};
use super::paging::{LinkFault, Position};
use super::pools::image;
use super::request::Call;
use super::select::Select;
use crate::fleet::{Moment, Pool, node_address};
use crate::scenario::{AllocationState, NodeState, Os};

/// Rough size of a node in a list, to have the buffer right at once.
const NODE_BYTES: usize = 2048;

impl Call<'_> {
    /// `GET /pools/{pool}/nodes`.
    pub(super) fn list_nodes(&self, id: &str, fault: LinkFault) -> Result<Good, BatchError> {
        let (_, pool) = self.find_pool(id)?;
        let (size, position) = (self.page_size()?, self.position()?);
        let filter = self.filter(Filtered::Nodes)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let left = pool.places().saturating_sub(position.place).min(size) as usize;
        let mut json = Json::document(&base, "nodes", left * NODE_BYTES + 512);
        if Self::is_empty_page(pool, position) {
            json.list("value", |_| {});
            self.push_link(&mut json, position, Some(Position { after_empty: true, ..position }), fault);
            return Ok(Good::body(json.finish()));
        }
        let (mut given, mut next) = (0, None);
        json.list("value", |json| {
            for place in position.place..pool.places() {
                let Some(node) = pool.node(place, self.now) else { continue };
                if !filter.is_empty() && !filter.holds("", node.state.wire()) {
                    continue;
                }
                if given == size {
                    next = Some(Position { place, after_empty: false });
                    break;
                }
                given += 1;
                json.item(|json| {
                    self.node_members(&mut Selected { json, select: &select }, &base, pool, place, node);
                });
            }
        });
        self.push_link(&mut json, position, next, fault);
        Ok(Good::body(json.finish()))
    }

    /// A pool that is resizing gives an empty page with a link now and then, which is legal.
    fn is_empty_page(pool: &Pool, position: Position) -> bool {
        pool.scenario.allocation_state == AllocationState::Resizing
            && !position.after_empty
            && pool.roll.text("empty page").number(u64::from(position.place)).happens(0.4)
    }

    /// `GET /pools/{pool}/nodes/{node}`.
    pub(super) fn get_node(&self, pool: &str, node: &str) -> Result<Good, BatchError> {
        let (_, pool) = self.find_pool(pool)?;
        let (place, moment) = self.find_node(pool, node)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let mut json = Json::document(&base, "nodes/@Element", NODE_BYTES);
        self.node_members(&mut Selected { json: &mut json, select: &select }, &base, pool, place, moment);
        Ok(Good::body(json.finish()))
    }

    pub(super) fn find_node(&self, pool: &Pool, id: &str) -> Result<(u32, Moment), BatchError> {
        let place = pool.names.place(id);
        let found = place.and_then(|place| Some((place, pool.node(place, self.now)?)));
        found.ok_or_else(BatchError::node_not_found)
    }

    fn node_members(&self, out: &mut Selected<'_>, base: &str, pool: &Pool, place: u32, node: Moment) {
        let roll = pool.node_roll(place);
        let dates = pool.dates(place, node, &self.world.clock);
        let up = !node.state.is_before_boot();
        out.member("id", |json, name| json.plain(name, |text| pool.names.push(text, place)));
        out.member("url", |json, name| {
            json.plain(name, |text| {
                text.push_str(base);
                text.push_str("/pools/");
                text.push_str(&pool.scenario.id);
                text.push_str("/nodes/");
                pool.names.push(text, place);
            });
        });
        out.member("state", |json, name| json.text(name, node.state.wire()));
        let scheduling = if node.state == NodeState::Offline { "disabled" } else { "enabled" };
        out.member("schedulingState", |json, name| json.text(name, scheduling));
        out.member("stateTransitionTime", |json, name| json.time(name, dates.changed));
        // Known only once the machine has come up; unusable machines may never have.
        if up && !(node.state == NodeState::Unusable && roll.text("never booted").happens(0.3)) {
            out.member("lastBootTime", |json, name| json.time(name, dates.booted));
        }
        out.member("allocationTime", |json, name| json.time(name, dates.allocated));
        out.member("ipAddress", |json, name| {
            json.text(name, &node_address(place).to_string());
        });
        out.member("affinityId", |json, name| {
            json.plain(name, |text| {
                text.push_str("TVM:");
                pool.names.push(text, place);
            });
        });
        out.member("vmSize", |json, name| json.text(name, &pool.scenario.vm_size));
        let running = u32::from(node.state == NodeState::Running);
        let total = roll.text("tasks").between(0, 400);
        out.member("totalTasksRun", |json, name| json.number(name, total));
        out.member("runningTasksCount", |json, name| json.number(name, running));
        out.member("runningTaskSlotsCount", |json, name| json.number(name, running));
        out.member("totalTasksSucceeded", |json, name| json.number(name, total - total / 20));
        if node.state == NodeState::StartTaskFailed || (up && roll.text("start task").happens(0.5)) {
            Self::start_task(out, dates.booted, node.state);
        }
        if node.state == NodeState::Unusable && pool.tells_errors(place) {
            out.member("errors", |json, name| json.list(name, disk_full));
        }
        out.member("isDedicated", |json, name| json.flag(name, pool.names.is_dedicated(place)));
        out.member("endpointConfiguration", |json, name| {
            json.object(name, |json| json.list("inboundEndpoints", |_| {}));
        });
        if up {
            out.member("nodeAgentInfo", |json, name| {
                json.object(name, |json| {
                    json.text("version", if pool.scenario.os == Os::Windows { "1.12.15" } else { "1.13.2" });
                    json.time("lastUpdateTime", dates.booted);
                });
            });
        }
        out.member("virtualMachineInfo", |json, name| {
            json.object(name, |json| machine_info(json, pool.scenario.os));
        });
        if roll.text("unknown member").happens(0.25) {
            out.member("simulatedOnly", |json, name| {
                json.object(name, |json| json.number("rack", place % 40));
            });
        }
    }

    fn start_task(out: &mut Selected<'_>, booted: time::OffsetDateTime, state: NodeState) {
        let failed = state == NodeState::StartTaskFailed;
        let running = state == NodeState::WaitingForStartTask;
        out.member("startTaskInfo", |json, name| {
            json.object(name, |json| {
                json.text("state", if running { "running" } else { "completed" });
                json.time("startTime", booted);
                if !running {
                    json.time("endTime", booted + time::Duration::milliseconds(4_321));
                    json.number("exitCode", u32::from(failed));
                    json.text("result", if failed { "failure" } else { "success" });
                }
                json.number("retryCount", 0_u32);
            });
        });
    }
}

fn machine_info(json: &mut Json, os: Os) {
    let (publisher, offer, sku, _) = image(os);
    json.object("imageReference", |json| {
        json.text("publisher", publisher);
        json.text("offer", offer);
        json.text("sku", sku);
        json.text("version", "latest");
        json.text("exactVersion", "22.04.202509090");
    });
    json.text("scaleSetVmResourceId", "");
}

/// Node errors say `name` where API errors say `key`.
fn disk_full(json: &mut Json) {
    json.item(|json| {
        json.text("code", "DiskFull");
        json.text("message", "There is not enough disk space on the node");
        json.list("errorDetails", |json| {
            json.item(|json| {
                json.text("name", "Disk");
                json.text("value", "/mnt <less than 1% left>");
            });
        });
    });
}
