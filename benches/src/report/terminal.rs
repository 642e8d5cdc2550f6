//! Tables for a terminal.

use std::fmt::Write as _;

use super::table::{Table, is_number};

/// The table with aligned columns.
pub(crate) fn text(table: &Table) -> String {
    let width = |column: usize| {
        let cells = table.rows.iter().chain([&table.columns]);
        cells.filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    let mut text = format!("\n{}\n", table.title);
    for (number, row) in std::iter::once(&table.columns).chain(&table.rows).enumerate() {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // A heading stands as its column does.
            let shown = if number == 0 {
                table.rows.first().and_then(|row| row.get(column)).unwrap_or(cell)
            } else {
                cell
            };
            let _ = if is_number(shown) {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        let _ = writeln!(text, "  {}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_set_to_the_right_with_their_headings() {
        let mut table = Table::new("Title", &["who", "ms"]);
        table.rows = vec![vec!["a".into(), "1.5".into()], vec!["bcd".into(), "100.0".into()]];
        assert_eq!(text(&table), "\nTitle\n  who     ms\n  a      1.5\n  bcd  100.0\n");
    }
}
