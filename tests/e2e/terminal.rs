//! What people see: the program under a terminal, and beside a pipe.
//!
//! The terminal is a pseudo-terminal that a few lines of Python hold; every byte that is written to it is looked at.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::stage::{Run, Sim, fleetlogs, wait_for};

const COLUMNS: u16 = 80;

/// Two accounts: one is throttled, and one has a pool whose storage is blocked.
const BAD_DAY: &str = include_str!("fleets/throttled_and_blocked.toml");

/// A run of some seconds.
const SLOW: &str = r#"
[[account]]
name = "contoso"
latency = "100ms"
[[account.pool]]
id = "a"
nodes = 120
arrival = "200ms"
"#;

/// The program under a terminal of 80 columns.
fn on_a_terminal(sim: &Sim, options: &[&str]) -> Command {
    let mut command = Command::new("python3");
    let program = fleetlogs();
    for (name, _) in program.get_envs().filter(|(_, value)| value.is_none()) {
        command.env_remove(name);
    }
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/e2e/terminal.py"));
    command.args([&COLUMNS.to_string(), "24"]).args(options).arg(program.get_program());
    command.current_dir(sim.dir.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What was shown, and how it ended; without secrets.
struct Shown {
    code: i32,
    /// Every byte.
    raw: String,
    /// Every text that was ever shown, without codes.
    text: String,
    /// The screen at the end, with what scrolled out of it.
    screen: String,
}

impl Shown {
    fn of(sim: &Sim, child: Child) -> Self {
        let run = Run::of(sim.dir.path(), child.wait_with_output().unwrap());
        let mut terminal = vt100::Parser::new(500, COLUMNS, 0);
        let mut text = String::new();
        // In small pieces, so that no drawing is missed.
        for piece in run.stdout.as_bytes().chunks(64) {
            terminal.process(piece);
            let screen = terminal.screen();
            for row in 0..500 {
                // Text that would not fit goes up to here and on in the next line.
                let last = screen.cell(row, COLUMNS - 1).map(vt100::Cell::contents).unwrap_or_default();
                assert!(last.trim().is_empty(), "a line wraps: {}", screen.contents());
            }
        }
        let mut chars = run.stdout.chars();
        while let Some(char) = chars.next() {
            match char {
                // All that are used end with a letter.
                '\u{1b}' => _ = chars.find(char::is_ascii_alphabetic),
                char => text.push(char),
            }
        }
        let rows: Vec<_> = terminal.screen().rows(0, COLUMNS).map(|row| row.trim_end().to_owned()).collect();
        let screen = rows.join("\n").trim_end().to_owned() + "\n";
        Self { code: run.code, raw: run.stdout, text, screen }
    }

    fn has(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.text.contains(part), "`{part}` is not in {}", self.text);
        }
    }
}

/// The directory of the run, once it is well under way.
fn the_run_dir(sim: &Sim) -> std::path::PathBuf {
    wait_for("some calls", || (sim.upload_calls() > 3).then_some(()));
    std::fs::read_dir(sim.dir.path().join("runs")).unwrap().next().unwrap().unwrap().path()
}

fn start(sim: &Sim, config: &Path) -> Child {
    let mut command = fleetlogs();
    command.arg("run").arg(config).current_dir(sim.dir.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn bars_notices_and_summary_fit_into_eighty_columns() {
    let sim = Sim::start(BAD_DAY);
    let config = sim.config("limits = { rate = 80, concurrency = 32 }");
    let shown = Shown::of(&sim, on_a_terminal(&sim, &[]).arg("run").arg(&config).spawn().unwrap());
    assert_eq!(shown.code, 3, "{}", shown.screen);
    shown.has(&[
        "contoso: throttled",
        "calling nodes: ",
        "waiting for files: ",
        "nodes of fabrikam so far",
        "! PARTIAL  60 of 272 nodes collected, 212 not",
    ]);
    assert_eq!(shown.screen.matches("nodes of fabrikam so far").count(), 1, "once: {}", shown.screen);
    for line in [
        "storage blocked from pool isolated-vnet: 212 nodes of fabrikam so far\n",
        "      storage blocked from pool isolated-vnet: 212 nodes of fabrikam\n",
        " --retry incomplete\n",
        "/ report.html summary.md ticket.md\n",
        "          nodes.csv manifest.json\n",
    ] {
        assert!(shown.screen.contains(line), "`{line}` is not in {}", shown.screen);
    }
    assert!(!shown.screen.contains("calling nodes"), "the bars are gone: {}", shown.screen);
    let mut last = vt100::Parser::new(24, COLUMNS, 0);
    last.process(shown.raw.as_bytes());
    let last = last.screen().contents();
    assert!(last.contains("! PARTIAL  60 of 272 nodes collected, 212 not"), "it has scrolled away: {last}");
    assert!(shown.raw.contains("\u{1b}[1;33m! PARTIAL"), "it has colours: {:?}", shown.raw);
}

#[test]
fn colours_are_left_out_where_they_are_not_wanted_and_all_codes_in_a_pipe() {
    let sim = Sim::start(SLOW);
    let config = sim.config("");
    let mut command = on_a_terminal(&sim, &[]);
    let shown = Shown::of(&sim, command.env("NO_COLOR", "1").arg("run").arg(&config).spawn().unwrap());
    assert!(shown.text.contains("━"), "bars all the same: {}", shown.text);
    let mut codes = shown.raw.split("\u{1b}[").skip(1);
    let colour = codes.find(|code| code.chars().find(char::is_ascii_alphabetic) == Some('m'));
    assert_eq!(colour, None, "{:?}", shown.raw);

    let piped = sim.run(&config);
    assert!(!piped.stderr.contains('\u{1b}') && !piped.stdout.contains('\u{1b}'), "{}", piped.stderr);
    assert!(piped.stderr.contains("120 of 120 nodes collected"), "{}", piped.stderr);

    let quiet = on_a_terminal(&sim, &[]).args(["--quiet", "run"]).arg(&config).spawn().unwrap();
    assert_eq!(Shown::of(&sim, quiet).raw, "");
}

#[test]
fn a_run_that_is_interrupted_says_so_and_how_to_go_on() {
    let sim = Sim::start(SLOW);
    let config = sim.config("limits = { rate = 10, concurrency = 4 }");
    let interrupted = ["--interrupt-at", " in flight"];
    let child = on_a_terminal(&sim, &interrupted).arg("run").arg(&config).spawn().unwrap();
    let shown = Shown::of(&sim, child);
    assert_eq!(shown.code, 6, "{}", shown.screen);
    shown.has(&["stopped by a signal: waiting ", "Ctrl-C again", " draining", "! INTERRUPTED  "]);
    let drawn =
        shown.screen.lines().filter(|line| line.starts_with("contoso ") || line.contains(" contoso "));
    assert_eq!(drawn.count(), 1, "the picture before ^C stays, nothing of a later one: {}", shown.screen);
    let resume = |line: &str| Some(line.trim().strip_prefix("fleetlogs resume ")?.to_owned());
    let dir = shown.screen.lines().find_map(resume).expect("the command that resumes it");
    let resumed = Shown::of(&sim, on_a_terminal(&sim, &[]).arg("resume").arg(dir).spawn().unwrap());
    assert_eq!(resumed.code, 0, "{}", resumed.screen);
    assert!(resumed.screen.contains("✓ COMPLETE  120 of 120"), "{}", resumed.screen);
}

#[test]
fn who_follows_a_run_sees_it_to_its_end() {
    let sim = Sim::start(BAD_DAY);
    let config = sim.config("limits = { rate = 80, concurrency = 32 }");
    let run = start(&sim, &config);
    let dir = the_run_dir(&sim);
    let follow = on_a_terminal(&sim, &[]).arg("status").arg(&dir).arg("--follow").spawn().unwrap();
    let beside = |options: &[&str]| {
        let mut command = fleetlogs();
        command.arg("status").arg(&dir).args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let (piped, json) = (beside(&["-f"]), beside(&["-f", "--json"]));

    assert_eq!(Run::of(sim.dir.path(), run.wait_with_output().unwrap()).code, 3);
    let shown = Shown::of(&sim, follow);
    assert_eq!(shown.code, 0, "{}", shown.screen);
    shown.has(&[" running", " awaited", "/s "]);
    assert!(shown.screen.starts_with("! PARTIAL  60 of 272 nodes collected, 212 not.\n"), "{}", shown.screen);
    for part in [" ended\n", "60 verified, 212 incomplete", "from pool isolated-vnet: 212 nodes"] {
        assert!(shown.screen.contains(part), "`{part}` is not in {}", shown.screen);
    }

    let piped = Run::of(sim.dir.path(), piped.wait_with_output().unwrap()).stdout;
    assert!(!piped.contains('\u{1b}') && piped.contains("waiting for the files of"), "{piped}");
    assert!(piped.contains("! PARTIAL  60 of 272"), "{piped}");
    let json = Run::of(sim.dir.path(), json.wait_with_output().unwrap()).stdout;
    let documents: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(documents.len() > 2, "{json}");
    assert_eq!(
        (&documents[0]["state"], &documents.last().unwrap()["state"]),
        (&"running".into(), &"ended".into())
    );

    // The same picture once, afterwards.
    let once = Shown::of(&sim, on_a_terminal(&sim, &[]).arg("status").arg(&dir).spawn().unwrap());
    assert_eq!(once.screen, shown.screen);
}

#[test]
fn ctrl_c_ends_the_view_and_not_the_run() {
    let sim = Sim::start(SLOW);
    let config = sim.config("limits = { rate = 30, concurrency = 8 }");
    let run = start(&sim, &config);
    let dir = the_run_dir(&sim);
    let interrupted = ["--interrupt-at", " verified"];
    let follow = on_a_terminal(&sim, &interrupted).arg("status").arg(&dir).arg("--follow").spawn().unwrap();
    let shown = Shown::of(&sim, follow);
    assert_eq!(shown.code, 0, "{}", shown.screen);
    assert_eq!(shown.screen.matches(" running\n").count(), 1, "the last state stays, once: {}", shown.screen);
    assert!(shown.screen.contains("calling nodes: "), "{}", shown.screen);
    let run = Run::of(sim.dir.path(), run.wait_with_output().unwrap());
    assert_eq!((run.code, run.count("verified")), (0, 120), "{}", run.stderr);
}
