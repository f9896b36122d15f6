//! From jobs to nodes: where the tasks of a job ran, and when.
//!
//! A task names the node that it ran on last; multi-instance tasks have subtasks on further nodes. A task that was
//! retried or requeued ran on other nodes before; only those nodes still know, from their recent tasks.

use std::collections::HashMap;

use fleetlogs_model::ids::{NodeId, PoolId};
use fleetlogs_model::service::{RecentTask, Task};
use fleetlogs_model::window::Window;
use globset::GlobSet;
use time::OffsetDateTime;

/// Which tasks of a job are of interest.
#[derive(Clone, Debug)]
pub struct JobFilter {
    /// Id of the job.
    pub id: String,
    /// Ids of tasks, as globs; none for all.
    pub tasks: Option<GlobSet>,
    /// Only tasks that ran at this time or later.
    pub since: Option<OffsetDateTime>,
    /// Only tasks that ran at this time or earlier.
    pub until: Option<OffsetDateTime>,
}

impl JobFilter {
    /// Whether a run of a task is of interest. A run that has not ended lasts until now; one that has not started never
    /// is.
    #[must_use]
    pub fn wants(&self, task: &str, started: Option<OffsetDateTime>, ended: Option<OffsetDateTime>) -> bool {
        let in_time = self.until.is_none_or(|until| started.is_some_and(|started| started <= until))
            && self.since.is_none_or(|since| ended.is_none_or(|ended| ended >= since));
        self.tasks.as_ref().is_none_or(|tasks| tasks.is_match(task)) && in_time
    }
}

/// Where tasks ran: by pool, and by node without regard to case.
#[derive(Debug, Default)]
pub(crate) struct TaskNodes(HashMap<String, HashMap<String, TaskNode>>);

/// A node that tasks ran on.
#[derive(Debug)]
pub(crate) struct TaskNode {
    pub(crate) pool: PoolId,
    pub(crate) node: NodeId,
    /// From the start of the first to the end of the last; none if no task says when it started.
    pub(crate) ran: Option<Window>,
}

/// When tasks ran on a node; the window is none if no task says when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskTimes(pub(crate) Option<Window>);

impl TaskNodes {
    /// Adds a task, for the node that it ran on.
    pub(crate) fn add(&mut self, task: &Task, now: OffsetDateTime) {
        let Some((pool, node)) = &task.ran_on else { return };
        let ran = task.started.map(|start| Window { start, end: task.ended.unwrap_or(now).max(start) });
        let nodes = self.0.entry(pool.as_str().to_ascii_lowercase()).or_default();
        let place = nodes.entry(node.as_str().to_ascii_lowercase()).or_insert_with(|| TaskNode {
            pool: pool.clone(),
            node: node.clone(),
            ran: None,
        });
        place.ran = join(place.ran, ran);
    }

    /// Whether tasks ran in a pool, as far as the tasks say.
    pub(crate) fn in_pool(&self, pool: &PoolId) -> bool {
        self.0.contains_key(&pool.as_str().to_ascii_lowercase())
    }

    /// Removes a node that still exists, and returns when tasks ran on it. `recent` is what the node itself says.
    pub(crate) fn take(
        &mut self,
        pool: &PoolId,
        node: &NodeId,
        recent: &[RecentTask],
        jobs: &[JobFilter],
        now: OffsetDateTime,
    ) -> Option<TaskTimes> {
        let told = self
            .0
            .get_mut(&pool.as_str().to_ascii_lowercase())
            .and_then(|nodes| nodes.remove(&node.as_str().to_ascii_lowercase()));
        let mut found = told.map(|place| TaskTimes(place.ran));
        for run in recent {
            let wanted = jobs.iter().any(|job| {
                job.id.eq_ignore_ascii_case(&run.job) && job.wants(&run.task, run.started, run.ended)
            });
            if wanted {
                let ran = run.started.map(|start| Window { start, end: run.ended.unwrap_or(now).max(start) });
                found = Some(TaskTimes(join(found.and_then(|TaskTimes(ran)| ran), ran)));
            }
        }
        found
    }

    /// Nodes that tasks ran on and that no list had.
    pub(crate) fn gone(self) -> Vec<TaskNode> {
        let mut gone: Vec<_> = self.0.into_values().flat_map(HashMap::into_values).collect();
        gone.sort_by(|a, b| (&a.pool, &a.node).cmp(&(&b.pool, &b.node)));
        gone
    }
}

fn join(one: Option<Window>, other: Option<Window>) -> Option<Window> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Window { start: one.start.min(other.start), end: one.end.max(other.end) })
        }
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    fn minutes(minutes: i64) -> OffsetDateTime {
        NOW - time::Duration::minutes(minutes)
    }

    fn task(id: &str, node: &str, started: i64, ended: Option<i64>) -> Task {
        Task {
            id: id.into(),
            ran_on: Some((PoolId::new("Render"), NodeId::new(node))),
            started: Some(minutes(started)),
            ended: ended.map(minutes),
            instances: 1,
        }
    }

    #[test]
    fn a_node_has_the_time_of_all_its_tasks_and_what_is_not_listed_is_gone() {
        let mut places = TaskNodes::default();
        for task in [task("a", "n1", 90, Some(80)), task("b", "N1", 60, Some(50)), task("c", "n2", 30, None)]
        {
            places.add(&task, NOW);
        }
        assert!(places.in_pool(&PoolId::new("render")) && !places.in_pool(&PoolId::new("other")));
        let ran = places.take(&PoolId::new("render"), &NodeId::new("n1"), &[], &[], NOW);
        assert_eq!(ran, Some(TaskTimes(Some(Window { start: minutes(90), end: minutes(50) }))));
        assert_eq!(places.take(&PoolId::new("render"), &NodeId::new("n9"), &[], &[], NOW), None);
        let gone: Vec<_> = places.gone().into_iter().map(|place| (place.node, place.ran)).collect();
        assert_eq!(gone, [(NodeId::new("n2"), Some(Window { start: minutes(30), end: NOW }))]);
    }

    #[test]
    fn a_task_that_was_queued_anew_is_found_on_the_node_it_left() {
        let jobs = [JobFilter { id: "nightly".into(), tasks: None, since: None, until: Some(minutes(60)) }];
        let run = |job: &str, started: i64| RecentTask {
            job: job.into(),
            task: "t".into(),
            started: Some(minutes(started)),
            ended: Some(minutes(started - 5)),
            exit_code: None,
        };
        let mut places = TaskNodes::default();
        let mut take =
            |recent: &[RecentTask]| places.take(&PoolId::new("p"), &NodeId::new("n"), recent, &jobs, NOW);
        assert_eq!(
            take(&[run("Nightly", 70)]),
            Some(TaskTimes(Some(Window { start: minutes(70), end: minutes(65) })))
        );
        assert_eq!(take(&[run("other", 70), run("nightly", 30)]), None);
    }

    #[test]
    fn tasks_are_chosen_by_id_and_by_when_they_ran() {
        let filter = |since: Option<i64>, until: Option<i64>| JobFilter {
            id: "j".into(),
            tasks: None,
            since: since.map(minutes),
            until: until.map(minutes),
        };
        let ran = |filter: &JobFilter| filter.wants("t", Some(minutes(60)), Some(minutes(40)));
        assert!(ran(&filter(None, None)) && ran(&filter(Some(50), None)) && ran(&filter(None, Some(50))));
        assert!(!ran(&filter(Some(30), None)) && !ran(&filter(None, Some(70))));
        assert!(filter(Some(1), None).wants("t", Some(minutes(60)), None), "it still runs");
        assert!(!filter(None, Some(1)).wants("t", None, None), "it has not started");
    }
}
