//! The simulator as a process of its own, which every benchmark calls.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A simulator that serves a scenario; it ends with this.
pub(crate) struct Server {
    child: Child,
    /// What it wrote when it began to serve.
    ready: Value,
    /// Where its scenario, its ready document and its config are.
    pub(crate) dir: tempfile::TempDir,
}

impl Server {
    /// Starts it, and waits until it serves.
    pub(crate) fn start(scenario: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("scenario.toml");
        std::fs::write(&path, scenario).expect("a scenario");
        let ready = dir.path().join("ready.json");
        let child = Command::new(env!("CARGO_BIN_EXE_fleetlogs"))
            .arg("sim")
            .arg(&path)
            .arg("--ready")
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .expect("the simulator starts");
        while !ready.exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        Self { child, ready: read_json(&ready), dir }
    }

    /// A text of the ready document.
    pub(crate) fn text(&self, pointer: &str) -> String {
        self.ready.pointer(pointer).and_then(Value::as_str).expect("a text").to_owned()
    }

    /// The config that it wrote for itself.
    pub(crate) fn config(&self) -> String {
        std::fs::read_to_string(self.text("/config")).expect("the config")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a file that is one JSON document.
pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}
