//! A table before it is text.

/// Columns and rows of text; what looks like a number is set to the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { title: title.to_owned(), columns, rows: Vec::new() }
    }
}

/// Whether a cell is set to the right.
pub(super) fn is_number(cell: &str) -> bool {
    let first = cell.trim_start_matches(['+', '-']).chars().next();
    cell == "-" || first.is_some_and(|first| first.is_ascii_digit())
}
