//! The requests to Azurite by what they are, and what Azure Storage would charge for them.

/// USD for one request, hot tier, locally redundant, in a cheap region. The classes are those of "Map each REST operation
/// to a price" in the documentation of Blob storage.
const WRITE: f64 = 0.055 / 10_000.0;
const LIST: f64 = 0.055 / 10_000.0;
const READ: f64 = 0.0044 / 10_000.0;
const OTHER: f64 = 0.0044 / 10_000.0;
const QUEUE: f64 = 0.004 / 10_000.0;

/// How many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    /// Blocks of a journal.
    pub(crate) appends: u32,
    /// Blobs created or replaced.
    puts: u32,
    /// Leases taken, renewed and given up.
    leases: u32,
    lists: u32,
    reads: u32,
    /// Facts about a blob.
    heads: u32,
    /// Messages sent, received, hidden again, deleted, and everything about the queue itself.
    sends: u32,
    receives: u32,
    hides: u32,
    deletes: u32,
    queue: u32,
}

impl Requests {
    /// Reads the logs of both services.
    pub(crate) fn read(blob: &str, queue: &str) -> Self {
        let mut read = Self::default();
        for (method, target) in blob.lines().filter_map(request_of) {
            let kind = match method {
                "PUT" if target.contains("comp=appendblock") => &mut read.appends,
                "PUT" if target.contains("comp=lease") => &mut read.leases,
                "PUT" => &mut read.puts,
                "GET" if target.contains("comp=list") => &mut read.lists,
                "GET" => &mut read.reads,
                "HEAD" => &mut read.heads,
                _ => panic!("{method} is no request of fleetlogs to blobs"),
            };
            *kind += 1;
        }
        for (method, target) in queue.lines().filter_map(request_of) {
            let kind = match method {
                "POST" => &mut read.sends,
                "GET" if target.contains("/messages") => &mut read.receives,
                "PUT" if target.contains("/messages") => &mut read.hides,
                "DELETE" => &mut read.deletes,
                _ => &mut read.queue,
            };
            *kind += 1;
        }
        read
    }

    pub(crate) fn named(&self) -> [(&'static str, u32); 11] {
        [
            ("appends", self.appends),
            ("puts", self.puts),
            ("leases", self.leases),
            ("lists", self.lists),
            ("reads", self.reads),
            ("heads", self.heads),
            ("sends", self.sends),
            ("receives", self.receives),
            ("hides", self.hides),
            ("deletes", self.deletes),
            ("queue", self.queue),
        ]
    }

    /// In USD.
    pub(crate) fn price(&self) -> f64 {
        let queue = self.sends + self.receives + self.hides + self.deletes + self.queue;
        WRITE * f64::from(self.appends + self.puts)
            + LIST * f64::from(self.lists)
            + READ * f64::from(self.reads)
            + OTHER * f64::from(self.leases + self.heads)
            + QUEUE * f64::from(queue)
    }
}

/// Method and target in a line of an access log. Other lines tell of the start of the service.
fn request_of(line: &str) -> Option<(&str, &str)> {
    let (_, request) = line.split_once("] \"")?;
    request.split('"').next()?.trim_end_matches(" HTTP/1.1").split_once(' ')
}
