//! The tasks that a node reports: some of deleted jobs, and those of the jobs in the scenario.

use super::json::{Json, Selected};
use super::request::Call;
use crate::fleet::{Job, NodeMoment, Pool, TaskRun, TaskState};
use crate::scenario::NodeState;

/// As many as a node reports.
const RECENT: usize = 10;

/// A task that ran on a node, or is running there.
struct RecentTask {
    job: String,
    task: u32,
    /// 0 for the primary task, which has no `subtaskId`.
    instance: u32,
    run: TaskRun,
}

impl Call<'_> {
    pub(super) fn node_tasks(
        &self,
        out: &mut Selected<'_>,
        base: &str,
        pool: &Pool,
        place: u32,
        node: NodeMoment,
    ) {
        let running = u32::from(node.state == NodeState::Running);
        // The pool got a new machine: what the old one ran is not reported.
        let is_new = node.has_never_booted() || node.allocated.is_some();
        let older = if is_new { 0 } else { pool.node_roll(place).text("tasks").between(0, 400) };
        let mut recent = Vec::new();
        let (mut total, mut failed) = (older, older / 20);
        if !is_new {
            recent.extend(self.older_task(pool, place, older));
            for job in self.jobs_on(pool) {
                for (task, instance) in job.on_node(place) {
                    let run = job.run(task);
                    if run.state(self.now) != TaskState::Active {
                        total += 1;
                        failed += u64::from(run.failed);
                        recent.push(RecentTask { job: job.scenario.id.clone(), task, instance, run });
                    }
                }
            }
        }
        out.member("totalTasksRun", |json, name| json.number(name, total));
        out.member("runningTasksCount", |json, name| json.number(name, running));
        out.member("runningTaskSlotsCount", |json, name| json.number(name, running));
        out.member("totalTasksSucceeded", |json, name| json.number(name, total - failed));
        if !recent.is_empty() {
            recent.sort_by_key(|recent| std::cmp::Reverse(recent.run.start));
            recent.truncate(RECENT);
            out.member("recentTasks", |json, name| {
                json.list(name, |json| {
                    for recent in &recent {
                        json.item(|json| self.recent_task(json, base, recent));
                    }
                });
            });
        }
    }

    fn recent_task(&self, json: &mut Json, base: &str, recent: &RecentTask) {
        let RecentTask { job, task, instance, run } = recent;
        let task = Job::task_id(*task);
        json.text("taskUrl", &format!("{base}/jobs/{job}/tasks/{task}"));
        json.text("jobId", job);
        json.text("taskId", &task);
        if *instance > 0 {
            json.number("subtaskId", *instance);
        }
        json.text("taskState", run.state(self.now).wire());
        let end_times = self.find_job(job).ok().and_then(|job| job.scenario.end_times.as_deref());
        self.execution_info(json, "executionInfo", *run, end_times);
    }

    /// The last task of a job that has been deleted since.
    fn older_task(&self, pool: &Pool, place: u32, older: u64) -> Option<RecentTask> {
        let task = u32::try_from(older.checked_sub(1)?).ok()?;
        let clock = &self.world.clock;
        let begins = NodeMoment { since: None, booted: None, allocated: None, state: NodeState::Idle };
        let start = pool.dates(place, begins, clock).booted + time::Duration::minutes(5) - clock.started_at();
        let run = TaskRun { start, end: start + time::Duration::minutes(7), failed: false };
        Some(RecentTask { job: "deleted-since".to_owned(), task, instance: 0, run })
    }

    fn jobs_on<'a>(&'a self, pool: &'a Pool) -> impl Iterator<Item = &'a Job> {
        self.account.jobs.iter().filter(|job| job.scenario.pool == pool.scenario.id)
    }
}
