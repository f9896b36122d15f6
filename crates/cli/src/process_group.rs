//! Programs that this one starts, each with all that it starts in turn, so that nothing is left behind.

use parking_lot::Mutex;

/// Groups that run now, by the ids of their leaders.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Ends every program that still runs, with all that it started: nobody waits for it any more.
pub(crate) fn end_all() {
    for group in RUNNING.lock().drain(..) {
        end(group);
    }
}

/// A program that was started as the leader of a process group of its own. It ends with this value.
#[derive(Debug)]
pub(crate) struct ProcessGroup(u32);

impl ProcessGroup {
    /// Of the program with this process id.
    pub(crate) fn of(leader: u32) -> Self {
        RUNNING.lock().push(leader);
        Self(leader)
    }

    /// Ends the program, and all that it started.
    pub(crate) fn end(&self) {
        end(self.0);
    }

    /// The program has ended by itself. What it left in the background goes on.
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
        self.end();
        self.forget();
    }
}

#[cfg(unix)]
fn end(group: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn end(_: u32) {}
