//! Plain tables for a terminal: columns as wide as they have to be, numbers to the right.

use std::fmt::Write;

use wsp_world::model::digits;

/// Rows of equal length, the first of them the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, i: usize| row.get(i).map_or("", String::as_str).to_owned();
    let width = |i: usize| rows.iter().map(|row| cell(row, i).chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, width) in widths.iter().enumerate() {
            let text = cell(row, i);
            let numeric = text.starts_with(|c: char| c.is_ascii_digit());
            let gap = if i == 0 { "" } else { "  " };
            let _ = if numeric { write!(line, "{gap}{text:>width$}") } else { write!(line, "{gap}{text:<width$}") };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// A count in groups of three digits: 1234567 as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    digits::grouped(&n.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["output", "rows"], ["a", "1,000"], ["longer", "7"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "output  rows\na       1,000\nlonger      7\n");
        assert_eq!((grouped(7), grouped(1000), grouped(1_234_567)), ("7".into(), "1,000".into(), "1,234,567".into()));
    }
}
