//! A storage account in memory for tests of the store: blobs, leases and append blobs, over real HTTP, with faults.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::sas::SasUrl;
use parking_lot::Mutex;

use super::BlobRunStore;
use crate::http::http_client;
use crate::sas_source::SasSource;
use crate::test_server::{Reply, SeenRequest, TestServer};

pub(super) const DIR: &str = "fleetlogs/20261122T093000Z-0000";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is carried out, and the connection breaks off before the answer.
    AnswerLost,
    /// The connection breaks off, and nothing is carried out.
    RequestLost,
    /// The connection breaks off; the request is carried out when the next one with the same action arrives, before that
    /// one.
    Late,
    /// It is refused with this status and code.
    Refused(&'static str, &'static str),
}

#[derive(Clone, Default)]
pub(super) struct StoredBlob {
    pub(super) content: Vec<u8>,
    pub(super) lease: Option<String>,
    lease_ran_out: bool,
    metadata: HashMap<String, String>,
    blocks: u32,
}

#[derive(Default)]
pub(super) struct StorageState {
    pub(super) blobs: BTreeMap<String, StoredBlob>,
    /// For the next requests with this action, such as `append`.
    faults: HashMap<&'static str, VecDeque<Fault>>,
    late: Option<SeenRequest>,
    /// The actions of all requests, in order.
    actions: Vec<&'static str>,
    /// An append blob takes no more.
    pub(super) block_limit: Option<u32>,
}

pub(super) struct FakeStorage {
    server: TestServer,
    state: Arc<Mutex<StorageState>>,
}

impl FakeStorage {
    pub(super) async fn start() -> Self {
        let state = Arc::new(Mutex::new(StorageState::default()));
        let shared = state.clone();
        let server = TestServer::start_seeing(move |_, seen| shared.lock().answer(seen)).await;
        Self { server, state }
    }

    /// The store of a run, as one process has it.
    pub(super) fn store(&self) -> BlobRunStore {
        let (http, source) = self.access();
        BlobRunStore::new(http, source, DIR.into(), Duration::from_secs(60))
    }

    pub(super) fn access(&self) -> (reqwest::Client, SasSource) {
        self.access_with("rcwl")
    }

    /// With a SAS of these permissions.
    pub(super) fn access_with(&self, permissions: &str) -> (reqwest::Client, SasSource) {
        let url = format!(
            "http://127.0.0.1:{}/acct/state?sp={permissions}&sr=c&se=2036-01-01&sig=TOPSECRET%2B%3D",
            self.server.port()
        );
        let sas = SasUrl::parse(&url).unwrap();
        let source: SasSource = Arc::new(move || {
            let sas = sas.clone();
            Box::pin(async move { Ok(sas) })
        });
        (http_client(1).unwrap(), source)
    }

    pub(super) fn state(&self) -> parking_lot::MutexGuard<'_, StorageState> {
        self.state.lock()
    }

    /// What becomes of the next requests with this action.
    pub(super) fn fail(&self, action: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().faults.entry(action).or_default().extend(faults);
    }

    /// How many requests with this action arrived.
    pub(super) fn count(&self, action: &str) -> usize {
        self.state.lock().actions.iter().filter(|seen| **seen == action).count()
    }

    /// The content of a blob of the run.
    pub(super) fn text(&self, blob: &str) -> String {
        let content = self.state.lock().blobs[&format!("{DIR}/{blob}")].content.clone();
        String::from_utf8(content).unwrap()
    }

    /// Changes a blob of the run.
    pub(super) fn change(&self, blob: &str, change: impl FnOnce(&mut StoredBlob)) {
        change(self.state.lock().blobs.get_mut(&format!("{DIR}/{blob}")).unwrap());
    }

    /// Ends all leases, as if their holders had been silent for too long.
    pub(super) fn end_leases(&self) {
        let run_out = |blob: &mut StoredBlob| blob.lease_ran_out |= blob.lease.take().is_some();
        self.state.lock().blobs.values_mut().for_each(run_out);
    }
}

fn action(seen: &SeenRequest) -> &'static str {
    let line = seen.line();
    match line.split(' ').next().unwrap() {
        "HEAD" => "facts",
        "GET" => "range",
        "DELETE" => "delete",
        _ if line.contains("comp=lease") => match seen.header("x-ms-lease-action").unwrap() {
            "acquire" => "acquire",
            "renew" => "renew",
            "release" => "release",
            _ => "break",
        },
        _ if line.contains("comp=appendblock") => "append",
        _ if line.contains("comp=blocklist") => "commit",
        _ if line.contains("comp=block") => "stage",
        _ => "put",
    }
}

fn refused(status: &str, code: &str) -> Reply {
    Reply::with_headers(status, &format!("x-ms-error-code: {code}\r\n"), "")
}

fn done(status: &str, headers: &str) -> Reply {
    Reply::with_headers(status, &format!("etag: \"0x1\"\r\n{headers}"), "")
}

impl StorageState {
    fn answer(&mut self, seen: &SeenRequest) -> Reply {
        let action = action(seen);
        self.actions.push(action);
        if action == "append"
            && let Some(late) = self.late.take()
        {
            self.carry_out("append", &late);
        }
        match self.faults.get_mut(action).and_then(VecDeque::pop_front) {
            None => self.carry_out(action, seen),
            Some(Fault::AnswerLost) => {
                self.carry_out(action, seen);
                Reply::Reset
            }
            Some(Fault::RequestLost) => Reply::Reset,
            Some(Fault::Late) => {
                self.late = Some(seen.clone());
                Reply::Reset
            }
            Some(Fault::Refused(status, code)) => refused(status, code),
        }
    }

    fn carry_out(&mut self, action: &str, seen: &SeenRequest) -> Reply {
        let path = seen.line().split([' ', '?']).nth(1).unwrap();
        let name = path.strip_prefix("/acct/state/").unwrap().to_owned();
        let given = seen.header("x-ms-lease-id").map(str::to_owned);
        let block_limit = self.block_limit;
        if action == "put" {
            let there = self.blobs.get(&name);
            if there.is_some() && seen.header("if-none-match") == Some("*") {
                return refused("409 Conflict", "BlobAlreadyExists");
            }
            if let Some(refusal) = there.and_then(|there| of_lease(there, given.as_ref())) {
                return refusal;
            }
            let lease = there.and_then(|there| there.lease.clone());
            let metadata = seen.head.lines().filter_map(|line| {
                let (name, value) = line.split_once(": ")?;
                Some((name.strip_prefix("x-ms-meta-")?.to_owned(), value.to_owned()))
            });
            let content = seen.body.clone().into_bytes();
            let blob = StoredBlob { content, lease, metadata: metadata.collect(), ..StoredBlob::default() };
            self.blobs.insert(name, blob);
            return done("201 Created", "");
        }
        let Some(blob) = self.blobs.get_mut(&name) else {
            return refused("404 Not Found", "BlobNotFound");
        };
        if action == "delete" {
            return of_lease(blob, given.as_ref()).unwrap_or_else(|| {
                self.blobs.remove(&name);
                done("202 Accepted", "")
            });
        }
        let size = blob.content.len();
        match action {
            "facts" => facts_of(blob),
            "range" => {
                let Some(range) = seen.header("x-ms-range").or(seen.header("range")) else {
                    let content = String::from_utf8(blob.content.clone()).unwrap();
                    return Reply::with_headers("200 OK", "etag: \"0x1\"\r\n", &content);
                };
                let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                if from >= size {
                    return refused("416 Range Not Satisfiable", "InvalidRange");
                }
                let end = size.min(to + 1);
                let part = String::from_utf8(blob.content[from..end].to_vec()).unwrap();
                let range = format!("etag: \"0x1\"\r\ncontent-range: bytes {from}-{}/{size}\r\n", end - 1);
                Reply::with_headers("206 Partial Content", &range, &part)
            }
            "append" => {
                if let Some(refusal) = of_lease(blob, given.as_ref()) {
                    return refusal;
                }
                if block_limit.is_some_and(|limit| blob.blocks >= limit) {
                    return refused("409 Conflict", "BlockCountExceedsLimit");
                }
                let position = seen.header("x-ms-blob-condition-appendpos").unwrap();
                if position != size.to_string() {
                    return refused("412 Precondition Failed", "AppendPositionConditionNotMet");
                }
                blob.content.extend_from_slice(seen.body.as_bytes());
                blob.blocks += 1;
                done("201 Created", "")
            }
            "acquire" => {
                let proposed = seen.header("x-ms-proposed-lease-id").unwrap();
                match &blob.lease {
                    Some(lease) if lease != proposed => refused("409 Conflict", "LeaseAlreadyPresent"),
                    _ => {
                        blob.lease = Some(proposed.to_owned());
                        blob.lease_ran_out = false;
                        done("201 Created", &format!("x-ms-lease-id: {proposed}\r\n"))
                    }
                }
            }
            "renew" | "release" => match &blob.lease {
                Some(lease) if Some(lease) == given.as_ref() => {
                    blob.lease = blob.lease.take().filter(|_| action == "renew");
                    done("200 OK", "")
                }
                // As real storage: an ended lease may be renewed unless somebody else had one since.
                None if action == "renew" && !blob.metadata.contains_key("taken") => {
                    blob.lease = given;
                    done("200 OK", "")
                }
                _ => refused("409 Conflict", "LeaseIdMismatchWithLeaseOperation"),
            },
            "break" => {
                blob.lease = None;
                blob.metadata.insert("taken".into(), "1".into());
                done("202 Accepted", "x-ms-lease-time: 0\r\n")
            }
            _ => refused("400 Bad Request", "UnexpectedRequest"),
        }
    }
}

/// The properties of a blob.
fn facts_of(blob: &StoredBlob) -> Reply {
    let metadata = blob.metadata.iter().map(|(name, value)| format!("x-ms-meta-{name}: {value}\r\n"));
    let state = match (&blob.lease, blob.lease_ran_out) {
        (Some(_), _) => "leased",
        (None, true) => "expired",
        (None, false) => "available",
    };
    Reply::raw(&format!(
        "HTTP/1.1 200 OK\r\netag: \"0x1\"\r\nlast-modified: Sun, 22 Nov 2026 09:31:00 GMT\r\n\
         x-ms-lease-state: {state}\r\n{}content-length: {}\r\nconnection: close\r\n\r\n",
        metadata.collect::<String>(),
        blob.content.len()
    ))
}

/// Why a write is refused, if it is.
fn of_lease(blob: &StoredBlob, given: Option<&String>) -> Option<Reply> {
    let code = match (&blob.lease, given) {
        (None, None) => return None,
        (Some(lease), Some(given)) if lease == given => return None,
        (Some(_), Some(_)) => "LeaseIdMismatchWithBlobOperation",
        (Some(_), None) => "LeaseIdMissing",
        (None, Some(_)) => "LeaseLost",
    };
    Some(refused("412 Precondition Failed", code))
}
