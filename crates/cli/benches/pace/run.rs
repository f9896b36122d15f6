//! A run of the program, as its events tell of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::numbers::earliest;
use crate::scenes::Scene;
use crate::server::Server;

pub(crate) const CONCURRENCY: usize = 64;

/// A run that goes on.
pub(crate) struct Running {
    child: Child,
    events: PathBuf,
}

impl Running {
    /// Starts `program` in a directory of its own.
    pub(crate) fn start(program: &Path, scene: &Scene, server: &Server, name: usize) -> Self {
        let written = server.config();
        // Its own settings of speed give way to the bench's.
        let accounts = written.find("\n[[account]]").expect("an account");
        let speed = written.find("\n[deadlines]").expect("settings of speed");
        let written = format!("{}{}", &written[..speed], &written[accounts..]);
        let dir = server.dir.path().join(format!("run-{name}"));
        std::fs::create_dir(&dir).expect("a directory");
        // Beside the files that it names.
        let config = server.dir.path().join(format!("bench-{name}.toml"));
        let limits = format!("[limits]\nrate = {:.0}\nconcurrency = {CONCURRENCY}\n", scene.ceiling);
        std::fs::write(&config, format!("{limits}[verify]\nenabled = false\n{written}")).expect("the config");
        let events = dir.join("events.jsonl");
        let child = Command::new(program)
            .arg("run")
            .arg(&config)
            .arg("--quiet")
            .arg("--events")
            .arg(&events)
            .current_dir(&dir)
            .spawn()
            .expect("the run starts");
        Self { child, events }
    }

    /// Awaits its end.
    pub(crate) fn end(mut self, serves_since: OffsetDateTime) -> Run {
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "the run ended with {status}");
        Run::read(&self.events, serves_since)
    }
}

/// A refused call that was repeated later.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) at: f64,
    pub(crate) status: u64,
}

/// Times of a run, in seconds from the start of the server.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) requested: Vec<f64>,
    /// The last node's first call.
    pub(crate) last_fresh: f64,
    pub(crate) accepted: Vec<f64>,
    pub(crate) throttled: Vec<Refusal>,
    /// From when until when the run said that the account pauses.
    pub(crate) pauses: Vec<(f64, f64)>,
}

impl Run {
    fn read(events: &Path, serves_since: OffsetDateTime) -> Self {
        let mut run = Self::default();
        for line in std::fs::read_to_string(events).expect("events").lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let at = line["at"].as_str().expect("a time");
            let at = (OffsetDateTime::parse(at, &Rfc3339).expect("a time") - serves_since).as_seconds_f64();
            match line["event"].as_str() {
                Some("upload-requested") => {
                    run.requested.push(at);
                    if line["attempt"] == 1 {
                        run.last_fresh = run.last_fresh.max(at);
                    }
                }
                Some("upload-accepted") => run.accepted.push(at),
                Some("upload-will-retry") if line["cause"]["class"] == "throttled" => {
                    let status = line["cause"]["status"].as_u64().unwrap_or_default();
                    run.throttled.push(Refusal { at, status });
                }
                Some("account-throttled") => {
                    if let Some(pause) = line["pause_ms"].as_u64() {
                        let pause = std::time::Duration::from_millis(pause).as_secs_f64();
                        run.pauses.push((at, at + pause));
                    }
                }
                _ => {}
            }
        }
        run
    }

    pub(crate) fn begin(&self) -> f64 {
        earliest(&self.requested)
    }

    /// The last accepted call.
    pub(crate) fn end(&self) -> f64 {
        self.accepted.iter().copied().fold(0.0, f64::max)
    }
}
