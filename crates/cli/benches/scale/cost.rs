//! What a command costs: a child process, watched until it ends.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

/// Commands that are over sooner than this, in seconds of processor time, are repeated ...
const QUICK: f64 = 0.5;
/// ... up to this often.
const MOST_REPEATS: u32 = 10;
/// More than the step in which a file system counts time.
const CLOCK_STEP: Duration = Duration::from_millis(20);

/// What a command used. Of a command that was repeated, time, processor time and list calls are means.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// From its start to its end.
    pub(crate) seconds: f64,
    /// Processor time, user and system, in seconds.
    pub(crate) cpu: f64,
    pub(crate) peak_mib: f64,
    /// What it left on disk: the size of all files that it wrote.
    pub(crate) disk_mib: f64,
    /// Requests for a page of anything, to Batch and to storage.
    pub(crate) list_calls: f64,
}

/// What a command used, before its list calls are known.
pub(crate) struct Spent {
    cost: Cost,
    /// How often it ran.
    times: f64,
}

impl Spent {
    /// The cost, with these list calls of all its repeats.
    pub(crate) fn with_list_calls(self, calls: u32) -> Cost {
        Cost { list_calls: f64::from(calls) / self.times, ..self.cost }
    }
}

/// Whether a command may be repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It does something that can be done once only.
    Never,
    /// If it is over too soon to be measured well.
    IfQuick,
}

/// The program, in a directory; what it prints goes to `stdout` there.
pub(crate) fn fleetlogs(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetlogs"));
    let printed = File::create(dir.join("stdout")).expect("a file");
    command.args(arguments).current_dir(dir).stdout(printed);
    command
}

/// Runs the program, which must succeed, and measures it.
pub(crate) fn cost_of(dir: &Path, arguments: &[&str], repeat: Repeat) -> Spent {
    // What was written before is older than this.
    std::thread::sleep(CLOCK_STEP);
    let began = SystemTime::now().checked_sub(CLOCK_STEP / 2).expect("a time after 1970");
    let (cpu_before, mut seconds, mut peak_kib, mut times) = (cpu_of_children(), 0.0, 0, 0_u32);
    loop {
        let started = Instant::now();
        let mut child = fleetlogs(dir, arguments).spawn().expect("the program starts");
        let (status, peak) = watch(&mut child);
        seconds += started.elapsed().as_secs_f64();
        assert!(status.success(), "`fleetlogs {}` ended with {status}", arguments.join(" "));
        peak_kib = peak_kib.max(peak);
        times += 1;
        let cpu = cpu_of_children() - cpu_before;
        if repeat == Repeat::Never || cpu >= QUICK || times == MOST_REPEATS {
            let times = f64::from(times);
            let cost = Cost {
                seconds: seconds / times,
                cpu: cpu / times,
                peak_mib: mib(peak_kib * 1024),
                disk_mib: mib(written_since(dir, began)),
                list_calls: 0.0,
            };
            return Spent { cost, times };
        }
    }
}

/// Waits for a child. Returns its peak memory in KiB as well, which nobody knows after its end.
fn watch(child: &mut Child) -> (ExitStatus, u64) {
    let started = Instant::now();
    let mut peak_kib = 0;
    loop {
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
            peak_kib = peak_kib.max(peak.unwrap_or(0));
        }
        if let Some(status) = child.try_wait().expect("a child") {
            return (status, peak_kib);
        }
        let pause = if started.elapsed() < Duration::from_secs(1) { 1 } else { 5 };
        std::thread::sleep(Duration::from_millis(pause));
    }
}

/// Processor time of all children that ended and were waited for, in seconds. It is exact to a hundredth, and an error
/// does not add up with the children. Its unit is a hundredth of a second on every Linux there is.
fn cpu_of_children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc, which only Linux has");
    // The second member, the program's name, may hold spaces.
    let (_, after_name) = stat.rsplit_once(") ").expect("a line of members");
    let ticks = after_name.split(' ').skip(13).take(2).map(|member| member.parse::<u32>().expect("a number"));
    f64::from(ticks.sum::<u32>()) / 100.0
}

/// The size of all files below a directory that were written since a moment, except what the program printed.
fn written_since(dir: &Path, moment: SystemTime) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let about = entry.metadata().expect("what is known of a file");
        if about.is_dir() {
            bytes += written_since(&entry.path(), moment);
        } else if entry.file_name() != "stdout" && about.modified().expect("a time") >= moment {
            bytes += about.len();
        }
    }
    bytes
}

pub(crate) fn mib(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
