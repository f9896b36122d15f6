//! Programs that fleetlogs starts, each in a process group of its own, so that none of their processes is left behind.

use parking_lot::Mutex;

/// The running groups, by the process ids of their leaders.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Kills every program that still runs, with every process that it started.
pub(crate) fn kill_all() {
    for group in RUNNING.lock().drain(..) {
        kill_group(group);
    }
}

/// A program that leads a process group of its own. Dropping this value kills the group.
#[derive(Debug)]
pub(crate) struct ProcessGroup(u32);

impl ProcessGroup {
    /// The group of the program with this process id.
    pub(crate) fn of(leader: u32) -> Self {
        RUNNING.lock().push(leader);
        Self(leader)
    }

    /// Kills the program, and every process that it started.
    pub(crate) fn kill(&self) {
        kill_group(self.0);
    }

    /// Forgets a program that has ended by itself. Processes that it left in the background keep running.
    pub(crate) fn leave(self) {
        self.forget();
        std::mem::forget(self);
    }

    fn forget(&self) {
        RUNNING.lock().retain(|running| *running != self.0);
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
        self.forget();
    }
}

#[cfg(unix)]
fn kill_group(group: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // The group may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill_group(_: u32) {}
