//! Jobs: the list and a single one.

use super::command;
use super::envelope::SuccessReply;
use super::errors::BatchError;
use super::filter::{FilterValue, FilteredList};
use super::json::{Json, Selected};
use super::paging::Position;
use super::request::Call;
use super::select::Select;
use crate::clock::batch_etag;
use crate::fleet::Job;
use crate::scenario::Fault;

impl Call<'_> {
    /// `GET /jobs`.
    pub(super) fn list_jobs(&self, fault: Option<&Fault>) -> Result<SuccessReply, BatchError> {
        let (size, position) = (self.page_size()?, self.position()?);
        let filter = self.filter(FilteredList::Jobs)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let mut json = Json::document(&base, "jobs", 1024);
        let (mut given, mut next) = (0, None);
        json.list("value", |json| {
            for (place, job) in (0_u32..).zip(&self.account.jobs).skip(position.place as usize) {
                if !filter.holds(|name| self.job_value(job, name)) {
                    continue;
                }
                if given == size {
                    next = Some(Position { place, after_empty: false });
                    break;
                }
                given += 1;
                json.item(|json| self.job_members(&mut Selected { json, select: &select }, &base, job));
            }
            Self::push_flood(json, fault);
        });
        self.push_link(&mut json, position, next, fault);
        Ok(SuccessReply::body(json.finish()))
    }

    /// `GET /jobs/{job}`.
    pub(super) fn get_job(&self, id: &str) -> Result<SuccessReply, BatchError> {
        let job = self.find_job(id)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let mut json = Json::document(&base, "jobs/@Element", 1024);
        self.job_members(&mut Selected { json: &mut json, select: &select }, &base, job);
        Ok(SuccessReply { body: json.finish(), modified: Some(self.job_changed(job)) })
    }

    pub(super) fn find_job(&self, id: &str) -> Result<&Job, BatchError> {
        let jobs = &self.account.jobs;
        jobs.iter().find(|job| job.scenario.id.eq_ignore_ascii_case(id)).ok_or_else(BatchError::job_not_found)
    }

    /// When the job was created, and when it ends.
    pub(super) fn job_times(&self, job: &Job) -> (time::OffsetDateTime, time::OffsetDateTime) {
        let started = self.world.clock.started_at() - job.scenario.started.0;
        // A job exists before its first task.
        (started - time::Duration::minutes(1), started + job.scenario.lasted.0)
    }

    /// When the job was last changed; a job changes when its state does.
    fn job_changed(&self, job: &Job) -> time::OffsetDateTime {
        let (made, ends) = self.job_times(job);
        if job.is_over(self.now) { ends } else { made }
    }

    fn job_value<'a>(&self, job: &'a Job, name: &str) -> Option<FilterValue<'a>> {
        let (made, ends) = self.job_times(job);
        let over = job.is_over(self.now);
        match name {
            "id" => Some(FilterValue::text(job.scenario.id.as_str())),
            "state" => Some(FilterValue::text(job_state(over))),
            "stateTransitionTime" | "lastModified" => Some(FilterValue::Time(self.job_changed(job))),
            "creationTime" | "executionInfo/startTime" => Some(FilterValue::Time(made)),
            "executionInfo/endTime" => over.then_some(FilterValue::Time(ends)),
            "executionInfo/poolId" => Some(FilterValue::text(job.scenario.pool.as_str())),
            _ => None,
        }
    }

    fn job_members(&self, out: &mut Selected<'_>, base: &str, job: &Job) {
        let id = &job.scenario.id;
        let (made, ends) = self.job_times(job);
        let over = job.is_over(self.now);
        out.member("id", |json, name| json.text(name, id));
        out.member("url", |json, name| json.text(name, &format!("{base}/jobs/{id}")));
        out.member("eTag", |json, name| json.text(name, &batch_etag(self.job_changed(job))));
        out.member("lastModified", |json, name| json.time(name, self.job_changed(job)));
        out.member("creationTime", |json, name| json.time(name, made));
        out.member("state", |json, name| json.text(name, job_state(over)));
        out.member("stateTransitionTime", |json, name| json.time(name, self.job_changed(job)));
        if over {
            out.member("previousState", |json, name| json.text(name, "active"));
            out.member("previousStateTransitionTime", |json, name| json.time(name, made));
        }
        out.member("priority", |json, name| json.number(name, 0_u32));
        // No limit.
        out.member("maxParallelTasks", |json, name| json.number(name, -1));
        out.member("constraints", |json, name| command::constraints(json, name, None));
        out.member("commonEnvironmentSettings", command::environment);
        out.member("poolInfo", |json, name| {
            json.object(name, |json| json.text("poolId", &job.scenario.pool));
        });
        out.member("executionInfo", |json, name| {
            json.object(name, |json| {
                json.time("startTime", made);
                if over {
                    json.time("endTime", ends);
                }
                json.text("poolId", &job.scenario.pool);
            });
        });
        out.member("onAllTasksComplete", |json, name| json.text(name, "terminatejob"));
        out.member("onTaskFailure", |json, name| json.text(name, "noaction"));
    }
}

fn job_state(over: bool) -> &'static str {
    if over { "completed" } else { "active" }
}
