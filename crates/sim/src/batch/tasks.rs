//! Tasks: the list of a job, a single one, and the subtasks of a multi-instance task.

use time::OffsetDateTime;

use super::command;
use super::envelope::SuccessReply;
use super::errors::BatchError;
use super::filter::{FilterValue, FilteredList};
use super::json::{Json, Selected};
use super::paging::Position;
use super::request::Call;
use super::select::Select;
use crate::clock::batch_etag;
use crate::fleet::{Job, TaskRun, TaskState};
use crate::scenario::Fault;

/// Rough size of a task in a list, so that the buffer is large enough from the start.
const TASK_BYTES: usize = 2560;

impl Call<'_> {
    /// `GET /jobs/{job}/tasks`.
    pub(super) fn list_tasks(&self, job: &str, fault: Option<&Fault>) -> Result<SuccessReply, BatchError> {
        let job = self.find_job(job)?;
        let (size, position) = (self.page_size()?, self.position()?);
        let filter = self.filter(FilteredList::Tasks)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let left = job.tasks().saturating_sub(position.place).min(size) as usize;
        let mut json = Json::document(&base, "tasks", left * TASK_BYTES + 512);
        let (mut given, mut next) = (0, None);
        json.list("value", |json| {
            for task in position.place..job.tasks() {
                if !filter.holds(|name| self.task_value(job, task, name)) {
                    continue;
                }
                if given == size {
                    next = Some(Position { place: task, after_empty: false });
                    break;
                }
                given += 1;
                json.item(|json| {
                    self.task_members(&mut Selected { json, select: &select }, &base, job, task);
                });
            }
            Self::push_flood(json, fault);
        });
        self.push_link(&mut json, position, next, fault);
        Ok(SuccessReply::body(json.finish()))
    }

    /// `GET /jobs/{job}/tasks/{task}`.
    pub(super) fn get_task(&self, job: &str, task: &str) -> Result<SuccessReply, BatchError> {
        let job = self.find_job(job)?;
        let task = job.task(task).ok_or_else(BatchError::task_not_found)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let mut json = Json::document(&base, "tasks/@Element", TASK_BYTES);
        self.task_members(&mut Selected { json: &mut json, select: &select }, &base, job, task);
        Ok(SuccessReply { body: json.finish(), modified: Some(self.changed(job, job.run(task))) })
    }

    /// `GET /jobs/{job}/tasks/{task}/subtasksinfo`: all subtasks at once, without the primary task.
    pub(super) fn list_subtasks(&self, job: &str, task: &str) -> Result<SuccessReply, BatchError> {
        let job = self.find_job(job)?;
        let task = job.task(task).ok_or_else(BatchError::task_not_found)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let run = job.run(task);
        let state = run.state(self.now);
        let mut json = Json::document(&base, "subtaskinfo", 1024);
        json.list("value", |json| {
            // A task without a node has no subtasks either.
            let instances = if state == TaskState::Active { 1 } else { job.scenario.instances };
            for instance in 1..instances {
                json.item(|json| {
                    let out = &mut Selected { json, select: &select };
                    out.member("id", |json, name| json.number(name, instance));
                    out.member("nodeInfo", |json, name| {
                        self.node_info(json, name, &base, job, task, instance);
                    });
                    self.push_run(out, run, job.scenario.end_times.as_deref());
                    out.member("state", |json, name| json.text(name, state.wire()));
                });
            }
        });
        Ok(SuccessReply::body(json.finish()))
    }

    fn task_value(&self, job: &Job, task: u32, name: &str) -> Option<FilterValue<'static>> {
        if name == "id" {
            return Some(FilterValue::text(Job::task_id(task)));
        }
        let run = job.run(task);
        let state = run.state(self.now);
        let (started, ended) = (state != TaskState::Active, state == TaskState::Completed);
        match name {
            "state" => Some(FilterValue::text(state.wire())),
            "stateTransitionTime" | "lastModified" => Some(FilterValue::Time(self.changed(job, run))),
            "creationTime" => Some(FilterValue::Time(self.job_times(job).0)),
            "executionInfo/startTime" => started.then(|| FilterValue::Time(self.at(run.start))),
            "executionInfo/endTime" => ended.then(|| FilterValue::Time(self.at(run.end))),
            "executionInfo/exitCode" => ended.then(|| FilterValue::Number(i64::from(run.failed))),
            "executionInfo/result" => ended.then(|| FilterValue::text(task_result(run))),
            _ => None,
        }
    }

    fn task_members(&self, out: &mut Selected<'_>, base: &str, job: &Job, task: u32) {
        let (job_id, id) = (&job.scenario.id, Job::task_id(task));
        let run = job.run(task);
        let state = run.state(self.now);
        let made = self.job_times(job).0;
        out.member("id", |json, name| json.text(name, &id));
        out.member("url", |json, name| json.text(name, &format!("{base}/jobs/{job_id}/tasks/{id}")));
        out.member("eTag", |json, name| json.text(name, &batch_etag(self.changed(job, run))));
        out.member("creationTime", |json, name| json.time(name, made));
        out.member("lastModified", |json, name| json.time(name, self.changed(job, run)));
        out.member("state", |json, name| json.text(name, state.wire()));
        out.member("stateTransitionTime", |json, name| json.time(name, self.changed(job, run)));
        let (previous, since) = match state {
            TaskState::Active => (None, made),
            TaskState::Running => (Some("active"), made),
            TaskState::Completed => (Some("running"), self.at(run.start)),
        };
        if let Some(previous) = previous {
            out.member("previousState", |json, name| json.text(name, previous));
            out.member("previousStateTransitionTime", |json, name| json.time(name, since));
        }
        let os = self.account.pools[usize::from(job.pool)].scenario.os;
        for name in command::MEMBERS {
            out.member(name, |json, name| command::member(json, name, os));
        }
        out.member("userIdentity", |json, name| command::user(json, name, "nonadmin"));
        out.member("constraints", |json, name| command::constraints(json, name, Some("P7D")));
        out.member("requiredSlots", |json, name| json.number(name, 1_u32));
        if job.scenario.instances > 1 {
            out.member("multiInstanceSettings", |json, name| {
                json.object(name, |json| {
                    json.number("numberOfInstances", job.scenario.instances);
                    command::member(json, "coordinationCommandLine", os);
                });
            });
        }
        out.member("executionInfo", |json, name| {
            self.execution_info(json, name, run, job.scenario.end_times.as_deref());
        });
        if state != TaskState::Active {
            out.member("nodeInfo", |json, name| self.node_info(json, name, base, job, task, 0));
        }
    }

    /// `executionInfo` of a task, here and in the `recentTasks` of a node.
    pub(super) fn execution_info(&self, json: &mut Json, name: &str, run: TaskRun, end_times: Option<&str>) {
        json.object(name, |json| {
            self.push_run(&mut Selected { json, select: &Select::default() }, run, end_times);
            json.number("retryCount", 0_u32);
            json.number("requeueCount", 0_u32);
        });
    }

    /// The known members of a run; `end_times` stands for its end: `startTime`, `endTime`, `exitCode`, `result` and `failureInfo`.
    fn push_run(&self, out: &mut Selected<'_>, run: TaskRun, end_times: Option<&str>) {
        let state = run.state(self.now);
        if state != TaskState::Active {
            out.member("startTime", |json, name| json.time(name, self.at(run.start)));
        }
        if state == TaskState::Completed {
            out.member("endTime", |json, name| match end_times {
                Some(text) => json.text(name, text),
                None => json.time(name, self.at(run.end)),
            });
            out.member("exitCode", |json, name| json.number(name, u32::from(run.failed)));
            out.member("result", |json, name| json.text(name, task_result(run)));
            if run.failed {
                out.member("failureInfo", |json, name| json.object(name, failure_info));
            }
        }
    }

    fn node_info(&self, json: &mut Json, name: &str, base: &str, job: &Job, task: u32, instance: u32) {
        let pool = &self.account.pools[usize::from(job.pool)];
        let node = pool.names.id(job.place(task, instance));
        let pool_id = &pool.scenario.id;
        let url = format!("{base}/pools/{pool_id}/nodes/{node}");
        let directory = format!("workitems/{}/job-1/{}", job.scenario.id, Job::task_id(task));
        json.object(name, |json| {
            json.text("affinityId", &format!("TVM:{node}"));
            json.text("nodeUrl", &url);
            json.text("poolId", pool_id);
            json.text("nodeId", &node);
            json.text("taskRootDirectory", &directory);
            json.text("taskRootDirectoryUrl", &format!("{url}/files/{directory}"));
        });
    }

    /// When the task entered its state.
    fn changed(&self, job: &Job, run: TaskRun) -> OffsetDateTime {
        match run.state(self.now) {
            TaskState::Active => self.job_times(job).0,
            TaskState::Running => self.at(run.start),
            TaskState::Completed => self.at(run.end),
        }
    }

    fn at(&self, since_start: time::Duration) -> OffsetDateTime {
        self.world.clock.started_at() + since_start
    }
}

fn task_result(run: TaskRun) -> &'static str {
    if run.failed { "failure" } else { "success" }
}

fn failure_info(json: &mut Json) {
    json.text("category", "usererror");
    json.text("code", "FailureExitCode");
    json.text("message", "The task exited with an exit code representing a failure");
    json.list("details", |json| {
        json.item(|json| {
            json.text("name", "Message");
            json.text("value", "The task exited with an exit code representing a failure");
        });
    });
}
