//! Where a SQLite database of the host lives, and how it is opened.
//!
//! A [`Database`] costs nothing until [`Database::open`], which blocks: call it
//! on a thread that may. Files are opened in WAL mode, except on network file
//! systems, where the shared memory that WAL needs does not work between nodes;
//! there the rollback journal stays. Every commit reaches the disk
//! (`synchronous=FULL`). A connection waits up to [`BUSY_TIMEOUT`] for locks that
//! others hold.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long a connection waits for a lock that another one holds.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// Where a database is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// In memory.
    Memory,
    /// In this file. Missing folders and the file are made when it is opened.
    File(PathBuf),
    /// In this file if it can be written, otherwise in memory, with one warning.
    FileIfWritable(PathBuf),
}

/// A database that is opened when it is needed.
#[derive(Debug)]
pub struct Database {
    location: Location,
    /// The file, or none for memory; decided at the first opening, so that all
    /// connections agree.
    decided: OnceLock<Option<PathBuf>>,
}

/// A database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder cannot be made.
    #[error("cannot make the folder of the database {}", path.display())]
    Folder {
        /// The file of the database.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite cannot open it.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The file of the database; `:memory:` for one in memory.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// Whether the place, not the database, is the reason.
    fn place_is_not_writable(&self) -> bool {
        match self {
            Self::Folder { .. } => true,
            Self::Open { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
            ),
        }
    }
}

/// A connection, and what it leads to.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub connection: Connection,
    /// Whether the database is a file: only then a second connection sees the
    /// same data.
    pub in_file: bool,
}

impl Database {
    /// A database at `location`; nothing is opened yet.
    pub fn new(location: Location) -> Self {
        Self { location, decided: OnceLock::new() }
    }

    /// A new connection. Blocks. In memory every connection is a new database.
    ///
    /// # Errors
    ///
    /// A file that cannot be made or opened, or that is not a database.
    pub fn open(&self) -> Result<Opened, OpenError> {
        match (&self.location, self.decided.get()) {
            (Location::Memory, _) | (_, Some(None)) => open_memory(),
            (Location::File(path), _) | (_, Some(Some(path))) => open_file(path),
            (Location::FileIfWritable(path), None) => self.decide(path),
        }
    }

    fn decide(&self, path: &Path) -> Result<Opened, OpenError> {
        let refused = match open_file(path).and_then(check_writable(path)) {
            Ok(opened) => {
                let _ = self.decided.set(Some(path.to_owned()));
                return Ok(opened);
            }
            Err(error) if error.place_is_not_writable() => error,
            Err(error) => return Err(error),
        };
        if self.decided.set(None).is_ok() {
            let reason = std::error::Error::source(&refused).map(ToString::to_string);
            tracing::warn!(
                "{refused}: {}; its data is kept in memory and lost when the app ends",
                reason.unwrap_or_default()
            );
        }
        // Whoever decided first decided for everybody.
        self.open()
    }
}

fn open_memory() -> Result<Opened, OpenError> {
    let path = Path::new(":memory:");
    let connection = Connection::open_in_memory().and_then(prepared).map_err(open_error(path))?;
    Ok(Opened { connection, in_file: false })
}

fn open_file(path: &Path) -> Result<Opened, OpenError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs_err::create_dir_all(folder)
            .map_err(|source| OpenError::Folder { path: path.to_owned(), source })?;
    }
    // No SQLITE_OPEN_URI: a path is a path. No mutex: rusqlite's connections are
    // used by one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).and_then(prepared).map_err(open_error(path))?;
    if !connection.is_readonly("main").map_err(open_error(path))? && !is_on_network(path) {
        use_wal(&connection).map_err(open_error(path))?;
    }
    Ok(Opened { connection, in_file: true })
}

/// Changes to WAL. SQLite itself does not wait for that: of several that open a new
/// file at once, all but one are told that it is busy.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        // The answer is the mode that holds now; SQLite keeps the old one where
        // the file system cannot do better.
        let changed = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match changed {
            Ok(_mode) => return Ok(()),
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < until =>
            {
                std::thread::sleep(BETWEEN_TRIES);
            }
            Err(error) => return Err(error),
        }
    }
}

/// What holds for every connection.
fn prepared(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // No statement may corrupt the file or trust what a crafted schema calls.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn check_writable(path: &Path) -> impl FnOnce(Opened) -> Result<Opened, OpenError> {
    move |opened| {
        if opened.connection.is_readonly("main").map_err(open_error(path))? {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
            return Err(open_error(path)(rusqlite::Error::SqliteFailure(code, None)));
        }
        Ok(opened)
    }
}

fn open_error(path: &Path) -> impl Fn(rusqlite::Error) -> OpenError {
    move |source| OpenError::Open { path: path.to_owned(), source }
}

/// Whether `path` is on a file system that other machines may write at the same
/// time; also for those that cannot be asked.
fn is_on_network(path: &Path) -> bool {
    // NFS, SMB 1, CIFS, SMB 2, CephFS, 9P, FUSE (which may be any of them), AFS, Lustre.
    const NETWORK: [u32; 9] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x00c3_6400,
        0x0102_1997,
        0x6573_5546,
        0x5346_414f,
        0x0bd0_0bd0,
    ];
    rustix::fs::statfs(path).map_or(true, |found| NETWORK.contains(&(found.f_type as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(connection: &Connection) -> String {
        connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap()
    }

    #[test]
    fn many_may_open_a_new_file_at_once() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let database = Database::new(Location::File(folder.path().join("x.db")));
            let start = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        database.open().unwrap();
                    });
                }
            });
        }
    }

    #[test]
    fn nothing_is_made_before_a_database_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/x.db");
        let database = Database::new(Location::File(path.clone()));
        assert!(!path.exists() && !folder.path().join("a").exists());
        let opened = database.open().unwrap();
        assert!(opened.in_file && path.exists());
        assert_eq!(mode(&opened.connection), "wal");
    }

    #[test]
    fn connections_to_a_file_see_the_same_data_and_those_in_memory_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let sees = |database: Database| {
            let first = database.open().unwrap().connection;
            first.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
            database.open().unwrap().connection.prepare("SELECT x FROM t").is_ok()
        };
        assert!(sees(Database::new(Location::File(folder.path().join("x.db")))));
        assert!(sees(Database::new(Location::FileIfWritable(folder.path().join("y.db")))));
        assert!(!sees(Database::new(Location::Memory)));
    }

    #[test]
    fn a_place_that_cannot_be_written_falls_back_to_memory_only_where_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs_err::write(&file, "").unwrap();
        // A folder cannot be made below a file, not even by root.
        let path = file.join("x.db");
        let lenient = Database::new(Location::FileIfWritable(path.clone()));
        assert!(!lenient.open().unwrap().in_file);
        assert!(!lenient.open().unwrap().in_file);
        let error = Database::new(Location::File(path.clone())).open().unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_an_error_and_no_reason_to_use_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        fs_err::write(&path, "certainly not a database ".repeat(100)).unwrap();
        let error = Database::new(Location::FileIfWritable(path.clone())).open().unwrap_err();
        assert!(error.to_string().contains("x.db"), "{error}");
        assert!(fs_err::read_to_string(&path).unwrap().starts_with("certainly"));
    }
}
