//! The database of the state: opened, read, and changed whole or not at all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::files::{dir_of, owner_only};
use fleetlogs_model::home::StateHome;
use fleetlogs_model::whole_file::write_whole;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};
use tokio::sync::{Mutex, watch};

use super::error::StateError;
use super::shared;
use super::tables::{APPLICATION_ID, FORMAT, TABLES};

/// How long to wait for another connection of this machine that is writing.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state, open for changes. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<OpenState>);

struct OpenState {
    path: PathBuf,
    database: Mutex<Connection>,
    home: Option<Arc<dyn StateHome>>,
    changes: watch::Sender<()>,
}

/// A home, and what it held when this machine became its owner: none if nothing was published yet.
pub type Fetched = (Arc<dyn StateHome>, Option<Vec<u8>>);

impl Store {
    /// Opens the database, or creates it. With a home, call this only as its owner, with what the home held: it
    /// replaces the local database.
    pub fn open(path: &Path, home: Option<Fetched>) -> Result<Self, StateError> {
        let (home, fetched) = home.map_or((None, None), |(home, fetched)| (Some(home), fetched));
        if let Some(fetched) = fetched {
            // The local database must not be replaced by something unusable.
            Self::look_at(&fetched).map_err(|error| StateError::Shared(error.into()))?;
            replace(path, &fetched)?;
        }
        private(path)?;
        let database = Connection::open(path)?;
        prepare(&database, path)?;
        Ok(Self(Arc::new(OpenState::new(path.into(), database, home))))
    }

    /// Opens what a home holds in memory, for reading.
    pub fn look_at(fetched: &[u8]) -> Result<Self, StateError> {
        let mut database = Connection::open_in_memory()?;
        let fetched = shared::without_log(fetched.to_vec());
        database.deserialize_read_exact("main", &*fetched, fetched.len(), true)?;
        let path = PathBuf::from(":memory:");
        check(&database, &path)?;
        Ok(Self(Arc::new(OpenState::new(path, database, None))))
    }

    /// A state in which nothing has happened yet, in memory.
    pub fn nothing() -> Result<Self, StateError> {
        let database = Connection::open_in_memory()?;
        let path = PathBuf::from(":memory:");
        prepare(&database, &path)?;
        Ok(Self(Arc::new(OpenState::new(path, database, None))))
    }

    /// Opens the database for reading, beside the process that changes it; none if there is none.
    pub fn look_in(path: &Path) -> Result<Option<Self>, StateError> {
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(path, flags)?;
        database.busy_timeout(PATIENCE)?;
        check(&database, path)?;
        Ok(Some(Self(Arc::new(OpenState::new(path.into(), database, None)))))
    }

    /// Where the database is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Notifies of every change made by [`Self::change`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// Reads from the database.
    pub async fn read<T>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        look(&*self.0.database.lock().await)
    }

    /// Changes the database, completely or not at all. Once it returns the change is durable, also in the home if there
    /// is one. [`HomeError::Lost`](fleetlogs_model::home::HomeError::Lost) means that another machine owns the
    /// schedule: nothing that depends on this change may be done.
    ///
    /// Cancel safety: the change may be made here and not in the home. It is published with the next one.
    pub async fn change<T>(
        &self,
        make: impl FnOnce(&Transaction<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let mut database = self.0.database.lock().await;
        let done = make_whole(&mut database, make)?;
        if let Some(home) = &self.0.home {
            // The lock is held until the state is published, so that versions arrive in order.
            shared::publish(&**home, &mut database).await?;
        }
        self.0.changes.send_replace(());
        Ok(done)
    }
}

impl OpenState {
    fn new(path: PathBuf, database: Connection, home: Option<Arc<dyn StateHome>>) -> Self {
        Self { path, database: Mutex::new(database), home, changes: watch::Sender::default() }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({}, shared: {})", self.0.path.display(), self.0.home.is_some())
    }
}

/// Makes a change in a transaction. A function of its own, because a transaction cannot be held across an await.
fn make_whole<T>(
    database: &mut Connection,
    make: impl FnOnce(&Transaction<'_>) -> Result<T, StateError>,
) -> Result<T, StateError> {
    let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let done = make(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

/// Replaces the local database, completely or not at all.
fn replace(path: &Path, fetched: &[u8]) -> Result<(), StateError> {
    let failed = |error| StateError::File(path.into(), error);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let (dir, new) = (dir_of(path), dir_of(path).join(&name));
    write_whole(dir, &name.to_string_lossy(), fetched).map_err(failed)?;
    // The write-ahead log of the old database does not belong to the new one.
    for suffix in ["-wal", "-shm"] {
        let mut old = path.as_os_str().to_owned();
        old.push(suffix);
        match std::fs::remove_file(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    std::fs::rename(&new, path).map_err(failed)
}

/// Creates the file, for its owner only, if it does not exist. SQLite gives its log the same mode.
fn private(path: &Path) -> Result<(), StateError> {
    owner_only()
        .read()
        .write()
        .create()
        .open(path)
        .map(drop)
        .map_err(|error| StateError::File(path.into(), error))
}

fn prepare(database: &Connection, path: &Path) -> Result<(), StateError> {
    database.busy_timeout(PATIENCE)?;
    let tables: i64 = database.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        // What is not ours, or is of another version, stays as it is.
        check(database, path)?;
    }
    database.pragma_update(None, "journal_mode", "wal")?;
    database.pragma_update(None, "synchronous", "full")?;
    database.pragma_update(None, "foreign_keys", true)?;
    if tables == 0 {
        // One transaction: a process that ends in between leaves an empty file.
        database.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
        ))?;
    }
    Ok(())
}

fn check(database: &Connection, path: &Path) -> Result<(), StateError> {
    let damaged = |detail: String| StateError::Damaged { path: path.into(), detail };
    let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(error.to_string()),
        _ => error.into(),
    };
    let number =
        |pragma| database.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(failed);
    let (application, found) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION_ID || found != FORMAT {
        return Err(StateError::Format { path: path.into(), found });
    }
    let checked: String =
        database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if checked != "ok" {
        return Err(damaged(checked));
    }
    // A trigger or a view of somebody else would act in our name.
    let known = Connection::open_in_memory()?;
    known.execute_batch(TABLES)?;
    let (found, known) = (schema(database)?, schema(&known)?);
    match found.symmetric_difference(&known).next() {
        None => Ok(()),
        Some((kind, name, _)) => Err(damaged(format!("its {kind} `{name}` is not one that fleetlogs makes"))),
    }
}

/// Everything that a database is made of: kind, name and text. White space does not matter.
fn schema(database: &Connection) -> Result<BTreeSet<(String, String, String)>, StateError> {
    let mut parts = database
        .prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")?;
    let parts = parts.query_map([], |row| {
        let text: String = row.get(2)?;
        Ok((row.get(0)?, row.get(1)?, text.split_whitespace().collect::<Vec<_>>().join(" ")))
    })?;
    Ok(parts.collect::<Result<_, _>>()?)
}

/// A number that changes whenever another connection has changed the database.
pub(in crate::schedule) fn data_version(database: &Connection) -> Result<i64, StateError> {
    Ok(database.pragma_query_value(None, "data_version", |row| row.get(0))?)
}
