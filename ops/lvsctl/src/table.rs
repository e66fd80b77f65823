//! Columns for people.

/// Rows of cells; each column is as wide as its widest cell, two blanks apart.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

/// A text and how it is painted, which takes no width.
#[derive(Debug)]
pub(crate) struct Cell {
    plain: String,
    painted: String,
}

impl Cell {
    /// A painted cell; `plain` is what is seen of it.
    pub(crate) fn painted(plain: &str, paint: impl FnOnce(&str) -> String) -> Self {
        Self { plain: plain.to_owned(), painted: paint(plain) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        let plain = text.into();
        Self { painted: plain.clone(), plain }
    }
}

impl Table {
    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Lines, each with `indent` before it and without blanks behind it.
    pub(crate) fn render(&self, indent: &str) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.plain.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let used =
                row.iter().rposition(|cell| !cell.plain.is_empty()).map_or(0, |last| last + 1);
            text.push_str(if used == 0 { "" } else { indent });
            for (index, cell) in row.iter().take(used).enumerate() {
                text.push_str(&cell.painted);
                if index + 1 < used {
                    let blanks = widths[index] - cell.plain.chars().count() + 2;
                    text.extend(std::iter::repeat_n(' ', blanks));
                }
            }
            text.push('\n');
        }
        text
    }
}
