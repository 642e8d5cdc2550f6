//! `[sqlite_database.LABEL]`.

use std::path::PathBuf;

use crate::{Reader, Secret};

/// Where a SQLite database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqliteDatabase {
    /// `type = "spin"`: embedded.
    Embedded {
        /// Its file; relative: from the working directory; none: in memory.
        path: Option<PathBuf>,
        /// Whether statements may attach other files.
        allow_attach_file: bool,
    },
    /// `type = "libsql"`: a server that speaks HTTP.
    LibSql {
        /// `http://` or `https://`.
        url: String,
        /// Sent with every request.
        token: Secret,
    },
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<SqliteDatabase> {
    if reader.kind(&["spin", "libsql"])? == "spin" {
        let allow_attach_file = reader.switch("allow_attach_file").unwrap_or(false);
        let path = reader.plain_path("path");
        return Some(SqliteDatabase::Embedded { path, allow_attach_file });
    }
    let url = reader.required_url("url", &["http", "https"]);
    let token = reader.required_secret("token");
    Some(SqliteDatabase::LibSql { url: url?, token: token? })
}
