//! `--events FILE`: every event as a line of JSON, for programs that watch a run.
//!
//! Unlike in the journal, each line is self-contained: positions in the plan are resolved to names. If the file can no
//! longer be written, the run continues without it.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::files::owner_only_anywhere;
use fleetlogs_model::ids::{AccountName, PoolId, RunId};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;
use serde::Serialize;

#[cfg(unix)]
use crate::event_pipe;
use crate::manifest::{Utc, WindowRecord};

/// Version of the line format. Events and members may be added within it.
pub const EVENT_SCHEMA: &str = "fleetlogs.event/v1";

/// Writes events as lines of JSON.
pub struct EventsFile {
    plan: Arc<Plan>,
    /// Gone after the first error.
    writer: Option<BufWriter<Box<dyn Write + Send>>>,
    sequence: u64,
}

#[derive(Serialize)]
struct EventLine<'a> {
    schema: &'static str,
    /// Counts the lines of this process from 1, so that a reader sees when one is missing.
    seq: u64,
    run_id: &'a RunId,
    at: Utc,
    // Events about a whole account have an `account` member of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a AccountName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'a PoolId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Cow<'a, str>>,
    #[serde(flatten)]
    event: &'a Event,
    /// In the first line of a process: what the run is to do.
    #[serde(flatten)]
    task: Option<Task<'a>>,
}

/// What a run is to do, for a program that does not read the plan.
#[derive(Serialize)]
struct Task<'a> {
    window: WindowRecord,
    /// Planned nodes.
    nodes: usize,
    /// Nodes and whole pools that were skipped.
    left_out: usize,
    accounts: Vec<AccountTask<'a>>,
}

#[derive(Serialize)]
struct AccountTask<'a> {
    name: &'a AccountName,
    /// Planned nodes; null if the account could not be listed.
    nodes: Option<u32>,
}

impl<'a> Task<'a> {
    fn of(plan: &'a Plan) -> Self {
        let accounts = plan.accounts.iter().map(|account| AccountTask {
            name: &account.name,
            nodes: account.unlisted.is_none().then_some(account.nodes),
        });
        Self {
            window: plan.window.into(),
            nodes: plan.nodes.len(),
            left_out: plan.left_out.len(),
            accounts: accounts.collect(),
        }
    }
}

impl EventsFile {
    /// Appends to a file, which may also be a pipe: a resumed run continues the file of the interrupted one.
    pub fn open(path: &Path, plan: Arc<Plan>) -> io::Result<Self> {
        #[cfg(unix)]
        if event_pipe::is_pipe(path) {
            return Ok(Self::to(Box::new(event_pipe::EventPipe::open(path)?), plan));
        }
        let file = owner_only_anywhere().append(true).create(true).open(path)?;
        Ok(Self::to(Box::new(file), plan))
    }

    /// Writes to anything.
    #[must_use]
    pub fn to(writer: Box<dyn Write + Send>, plan: Arc<Plan>) -> Self {
        Self { plan, writer: Some(BufWriter::new(writer)), sequence: 0 }
    }

    fn write(
        plan: &Plan,
        writer: &mut impl Write,
        sequence: &mut u64,
        events: &[Recorded],
    ) -> io::Result<()> {
        for recorded in events {
            *sequence += 1;
            let node = recorded.node.map(|index| plan.node(index));
            let line = EventLine {
                schema: EVENT_SCHEMA,
                seq: *sequence,
                run_id: &plan.run_id,
                at: Utc(recorded.at),
                account: node.map(|node| node.account()),
                pool: node.map(|node| node.pool()),
                node: node.map(|node| node.id()),
                event: &recorded.event,
                task: matches!(recorded.event, Event::RunStarted { .. }).then(|| Task::of(plan)),
            };
            serde_json::to_writer(&mut *writer, &line)?;
            writer.write_all(b"\n")?;
        }
        writer.flush()
    }
}

impl EventSink for EventsFile {
    fn hear(&mut self, events: &[Recorded], _ledger: &Ledger) {
        let Some(writer) = &mut self.writer else { return };
        if let Err(error) = Self::write(&self.plan, writer, &mut self.sequence, events) {
            tracing::warn!(%error, "cannot write to the events file any longer; the run continues without it");
            // Not dropped, because dropping would try to write the rest once more.
            if let Some(writer) = self.writer.take() {
                let _ = writer.into_parts();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fleetlogs_model::failure::FailureClass;
    use fleetlogs_model::ids::NodeIndex;

    use super::*;
    use crate::testing::{self, SharedBuffer, at, failure, recorded, requested};

    #[test]
    fn every_line_can_be_understood_alone() {
        let plan = Arc::new(testing::small_plan());
        let buffer = SharedBuffer::default();
        let mut file = EventsFile::to(Box::new(buffer.clone()), plan.clone());
        let busy = failure(FailureClass::Throttled, 429, "TooManyRequests", "busy");
        let throttled = Event::AccountThrottled {
            account: AccountName::new("contoso"),
            millirate: 75_000,
            pause_ms: Some(1000),
        };
        let started = Event::RunStarted {
            tool_version: "0.1.0".into(),
            verification: true,
            arrival_deadline_ms: Some(120_000),
            unverified: None,
            simulated: false,
        };
        file.hear(&[Recorded { at: at(0), node: None, event: started }], &Ledger::new(&plan));
        file.hear(&[recorded(0, 1, requested(1))], &Ledger::new(&plan));
        file.hear(
            &[
                recorded(0, 2, Event::UploadWillRetry { attempt: 1, cause: busy, delay_ms: 1000 }),
                Recorded { at: at(2), node: None, event: throttled },
            ],
            &Ledger::new(&plan),
        );

        insta::assert_snapshot!(buffer.text(), @r#"
        {"schema":"fleetlogs.event/v1","seq":1,"run_id":"20261122T093000Z-4f2a","at":"2026-11-22T09:30:00.000Z","event":"run-started","tool_version":"0.1.0","verification":true,"arrival_deadline_ms":120000,"window":{"start":"2026-11-22T07:30:00.000Z","end":"2026-11-22T09:30:00.000Z"},"nodes":6,"left_out":2,"accounts":[{"name":"contoso","nodes":4},{"name":"fabrikam","nodes":2},{"name":"tailspin","nodes":null}]}
        {"schema":"fleetlogs.event/v1","seq":2,"run_id":"20261122T093000Z-4f2a","at":"2026-11-22T09:30:01.000Z","account":"contoso","pool":"render","node":"tvm-1","event":"upload-requested","attempt":1,"client_request_id":"00000000-0000-0000-0000-000000000001"}
        {"schema":"fleetlogs.event/v1","seq":3,"run_id":"20261122T093000Z-4f2a","at":"2026-11-22T09:30:02.000Z","account":"contoso","pool":"render","node":"tvm-1","event":"upload-will-retry","attempt":1,"cause":{"class":"throttled","status":429,"code":"TooManyRequests","message":"busy","request_id":"service-1"},"delay_ms":1000}
        {"schema":"fleetlogs.event/v1","seq":4,"run_id":"20261122T093000Z-4f2a","at":"2026-11-22T09:30:02.000Z","event":"account-throttled","account":"contoso","millirate":75000,"pause_ms":1000}
        "#);
    }

    #[test]
    fn after_an_error_it_is_silent_and_harmless() {
        struct Broken(Arc<AtomicUsize>);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0.fetch_add(1, Ordering::Relaxed);
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let plan = Arc::new(testing::small_plan());
        let writes = Arc::new(AtomicUsize::new(0));
        let mut file = EventsFile::to(Box::new(Broken(writes.clone())), plan.clone());
        for _ in 0..3 {
            let event = Recorded { at: at(0), node: Some(NodeIndex(0)), event: requested(1) };
            file.hear(&[event], &Ledger::new(&plan));
        }
        drop(file);
        assert_eq!(writes.load(Ordering::Relaxed), 1);
    }
}
