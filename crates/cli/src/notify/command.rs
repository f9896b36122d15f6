//! Notification by a program that reads the message from its standard input.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fleetlogs_azure::safe;
use fleetlogs_model::duration;
use fleetlogs_report::for_terminal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::message::Message;
use crate::config::secret_variables;
use crate::process_group::ProcessGroup;
use crate::run::RunEnd;

/// The most bytes of its stdout, and of its stderr, that are logged.
const KEPT: u64 = 16 * 1024;

/// How long its output may stay open after its end: a program in the background may hold it open.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// Runs a program. If it does not end in time, kills it and every process that it started.
pub(super) async fn run(
    words: &[String],
    dir: &Path,
    end: &RunEnd,
    message: &Message,
    within: Duration,
) -> Result<(), String> {
    let [program, arguments @ ..] = words else { return Err("there is no program".into()) };
    let mut command = Command::new(program);
    for name in secret_variables() {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .current_dir(dir)
        .env("FLEETLOGS_OUTCOME", end.outcome.as_str())
        .env("FLEETLOGS_RUN_DIR", &end.dir)
        .env("FLEETLOGS_RUN_ID", end.run_id.as_str())
        // Set even if empty, so that the value of this process is not passed on.
        .env("FLEETLOGS_SNAPSHOT", end.snapshot.as_ref().map_or("", |snapshot| snapshot.name.as_str()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // Its own process group, so that all of it can be killed.
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot be run: {error}"))?;
    // Kills it if this function is dropped.
    let group = child.id().map(ProcessGroup::of);
    let mut output = ProgramOutput::default();
    let Ok(ended) = timeout(within, talk(&mut child, &message.body, &mut output)).await else {
        output.log(program);
        return Err(format!("it did not end within {}", duration::text(within)));
    };
    output.log(program);
    let status = ended.map_err(|error| error.to_string())?;
    if let Some(group) = group {
        group.leave();
    }
    if status.success() { Ok(()) } else { Err(format!("it failed ({status})")) }
}

/// Writes the input of a program, reads its output, and waits for its end.
async fn talk(
    child: &mut Child,
    input: &[u8],
    output: &mut ProgramOutput,
) -> std::io::Result<std::process::ExitStatus> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // The program need not read its input.
            let _ = stdin.write_all(input).await;
        }
    };
    let over = Notify::new();
    let end = async {
        let status = child.wait().await;
        over.notify_one();
        status
    };
    let hear = async {
        tokio::select! {
            _ = async { tokio::join!(read(stdout, &mut output.stdout), read(stderr, &mut output.stderr)) } => {}
            () = async { over.notified().await; sleep(OUTPUT_GRACE).await } => {}
        }
    };
    let ((), status, ()) = tokio::join!(feed, end, hear);
    status
}

/// The output of a program, up to the limit.
#[derive(Default)]
struct ProgramOutput {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl ProgramOutput {
    /// Writes it to the log, line by line.
    fn log(&self, program: &str) {
        for text in [&self.stdout, &self.stderr] {
            for line in String::from_utf8_lossy(text).lines().filter(|line| !line.trim().is_empty()) {
                tracing::info!("{program}: {}", for_terminal(&safe(line)));
            }
        }
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, text: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let _ = (&mut pipe).take(KEPT).read_to_end(text).await;
    // The rest is read and dropped: a program that writes to a full pipe would never end.
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
}
