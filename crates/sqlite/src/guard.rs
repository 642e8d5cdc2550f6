//! What statements of guests may not do.

use rusqlite::Connection;
use rusqlite::ffi::SQLITE_ATTACH;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

use crate::MAX_RESULT;

/// Pragmas that change the whole process, or how it maps files.
const REFUSED_PRAGMAS: [&str; 5] = [
    "data_store_directory",
    "hard_heap_limit",
    "mmap_size",
    "soft_heap_limit",
    "temp_store_directory",
];

/// Limits what statements prepared on `connection` from now on may do.
pub(crate) fn restrict(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_RESULT as i32)?;
    connection.authorizer(Some(authorize))
}

/// The same for databases whose statements may attach other files.
pub(crate) fn restrict_but_attach(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_RESULT as i32)?;
    connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
        AuthAction::Attach { .. } | AuthAction::Unknown { code: SQLITE_ATTACH, .. } => {
            Authorization::Allow
        }
        _ => authorize(context),
    }))
}

fn authorize(context: AuthContext<'_>) -> Authorization {
    match context.action {
        // `VACUUM INTO` attaches its target too, `VACUUM` a temporary database.
        AuthAction::Attach { filename } if is_private(filename) => Authorization::Allow,
        // The name of the file is an expression whose value is not known yet.
        AuthAction::Attach { .. } | AuthAction::Unknown { code: SQLITE_ATTACH, .. } => {
            Authorization::Deny
        }
        AuthAction::Pragma { pragma_name, .. } if is_refused(pragma_name) => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

/// Whether an attached database belongs to the connection alone and ends with it.
fn is_private(filename: &str) -> bool {
    filename.is_empty() || filename == ":memory:"
}

fn is_refused(pragma: &str) -> bool {
    REFUSED_PRAGMAS.iter().any(|refused| refused.eq_ignore_ascii_case(pragma))
}
