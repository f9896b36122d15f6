//! Jobs: where and when the tasks of a job ran, and how they ended. Pure and without memory: everything follows from
//! the scenario and the number of the task.

use std::time::Duration;

use crate::clock::{micros, microseconds};
use crate::roll::Roll;
use crate::scenario::JobScenario;

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) scenario: JobScenario,
    /// Position of its pool in the account.
    pub(crate) pool: u16,
    /// Number of nodes that share the tasks.
    nodes: u32,
    /// Number of nodes in the pool; higher positions are nodes that have left it.
    pool_nodes: u32,
    pub(crate) roll: Roll,
}

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    Active,
    Running,
    Completed,
}

impl TaskState {
    /// The spelling in lists.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Running => "running",
            Self::Completed => "completed",
        }
    }
}

/// When a task starts and ends, relative to the start of the simulator; most times are before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TaskRun {
    pub(crate) start: time::Duration,
    pub(crate) end: time::Duration,
    pub(crate) failed: bool,
}

impl TaskRun {
    pub(crate) fn state(&self, now: Duration) -> TaskState {
        if now < self.start {
            TaskState::Active
        } else if now < self.end {
            TaskState::Running
        } else {
            TaskState::Completed
        }
    }
}

impl Job {
    pub(crate) fn new(scenario: &JobScenario, pool: u16, pool_nodes: u32, account: Roll) -> Self {
        Self {
            pool,
            nodes: scenario.nodes.unwrap_or(pool_nodes).max(1),
            pool_nodes,
            roll: account.text("job").text(&scenario.id),
            scenario: scenario.clone(),
        }
    }

    pub(crate) fn tasks(&self) -> u32 {
        self.scenario.tasks
    }

    /// The id of the task with this number.
    pub(crate) fn task_id(number: u32) -> String {
        format!("task-{number:04}")
    }

    /// The number of the task `id`, compared without case.
    pub(crate) fn task(&self, id: &str) -> Option<u32> {
        let digits = id.get(5..).filter(|_| id[..5].eq_ignore_ascii_case("task-"))?;
        let number = digits.parse().ok().filter(|number| *number < self.tasks())?;
        Self::task_id(number).eq_ignore_ascii_case(id).then_some(number)
    }

    /// The position of the node where an instance of a task runs; instance 0 is the primary one.
    ///
    /// Positions beyond the pool stand for nodes that have left it.
    pub(crate) fn place(&self, task: u32, instance: u32) -> u32 {
        if task < self.scenario.gone && instance == 0 {
            return self.pool_nodes.saturating_add(task);
        }
        let turn = u64::from(task) * u64::from(self.scenario.instances) + u64::from(instance);
        u32::try_from(turn % u64::from(self.nodes)).unwrap_or(0)
    }

    /// Start, end and result of a task. The first one starts with the job, and the last one ends with it.
    pub(crate) fn run(&self, task: u32) -> TaskRun {
        let before = time::Duration::try_from(self.scenario.started.0).unwrap_or_default();
        let lasted = micros(self.scenario.lasted.0);
        let last = self.tasks().saturating_sub(1);
        let roll = self.roll.text("run").number(u64::from(task));
        let start = if task == 0 { 0 } else { roll.text("start").between(0, lasted) };
        let end = if task == last { lasted } else { roll.text("end").between(start, lasted) };
        let failed = task >= self.tasks().saturating_sub(self.scenario.failed);
        TaskRun { start: microseconds(start) - before, end: microseconds(end) - before, failed }
    }

    /// Whether all tasks have ended.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        let before = self.scenario.started.0;
        now + before >= self.scenario.lasted.0
    }

    /// The instances of tasks that run on the node at `place`, each as task and instance.
    pub(crate) fn on_node(&self, place: u32) -> Vec<(u32, u32)> {
        let instances = u64::from(self.scenario.instances);
        if place >= self.nodes {
            return Vec::new();
        }
        let turns = u64::from(place)..u64::from(self.tasks()) * instances;
        turns
            .step_by(self.nodes as usize)
            .filter_map(|turn| {
                Some((u32::try_from(turn / instances).ok()?, u32::try_from(turn % instances).ok()?))
            })
            .filter(|(task, instance)| self.place(*task, *instance) == place)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn job(lines: &str) -> Job {
        let text = format!(
            r#"
            [[account]]
            name = "contoso"
            [[account.pool]]
            id = "p"
            nodes = 12
            [[account.job]]
            id = "j"
            pool = "p"
            {lines}
            "#
        );
        let scenario = Scenario::from_toml(&text).expect("valid");
        Job::new(&scenario.accounts[0].jobs[0], 0, 12, Roll::new(1))
    }

    #[test]
    fn tasks_take_the_first_nodes_in_turn_and_some_of_them_are_gone() {
        let job = job("tasks = 8\nnodes = 5\ngone = 2");

        let places: Vec<u32> = (0..8).map(|task| job.place(task, 0)).collect();

        assert_eq!(places, [12, 13, 2, 3, 4, 0, 1, 2]);
        assert_eq!(job.on_node(2), [(2, 0), (7, 0)]);
        assert_eq!((job.on_node(0), job.on_node(5)), (vec![(5, 0)], Vec::new()));
    }

    #[test]
    fn the_instances_of_a_task_are_on_different_nodes() {
        let job = job("tasks = 5\nnodes = 4\ninstances = 3");

        for task in 0..5 {
            let places: std::collections::BTreeSet<u32> = (0..3).map(|i| job.place(task, i)).collect();
            assert_eq!(places.len(), 3);
        }
    }

    #[test]
    fn a_job_begins_and_ends_when_the_scenario_says() {
        let job = job(r#"
            tasks = 30
            started = "1h"
            lasted = "2h"
            failed = 3
        "#);
        let runs: Vec<TaskRun> = (0..30).map(|task| job.run(task)).collect();

        assert_eq!(runs.iter().map(|run| run.start).min(), Some(time::Duration::hours(-1)));
        assert_eq!(runs.iter().map(|run| run.end).max(), Some(time::Duration::hours(1)));
        assert!(runs.iter().all(|run| run.start <= run.end));
        assert_eq!(runs.iter().filter(|run| run.failed).count(), 3);
        assert!(!job.is_over(Duration::ZERO) && job.is_over(Duration::from_secs(3600)));
    }

    #[test]
    fn a_task_is_found_by_its_id_only() {
        let job = job("tasks = 3");

        assert_eq!(job.task("Task-0002"), Some(2));
        for id in ["task-0003", "task-2", "task-+002", "task", "täsk-0001"] {
            assert_eq!(job.task(id), None, "{id}");
        }
    }
}
