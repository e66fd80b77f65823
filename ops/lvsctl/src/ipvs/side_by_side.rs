//! One listing of several directors: what is the same stands once, what each counts stands in columns of its own.

use std::collections::BTreeMap;

use fulcrum_proto::ipvsadm::{
    Columns, DestinationKey, MISSING, ServerKey, scheduling, service, socket,
};
use fulcrum_proto::v1;

use super::Listing;

/// Between the columns of two directors.
const BORDER: &str = " | ";

/// The listing, ending with a newline. Behind a line stands in which way the directors differ from each other, and from
/// what is wanted.
pub(crate) fn side_by_side(columns: Columns, exact: bool, directors: &[&Listing]) -> String {
    let mut rows = titles(columns, directors);
    let tables = directors.iter().map(|listing| {
        listing.observed.ipvs.iter().map(|server| (ServerKey::of(server), server)).collect()
    });
    for servers in transposed(tables.collect()) {
        let table = Table { columns, exact, directors, servers };
        rows.push(table.server());
        rows.extend(table.destinations());
    }
    render(&rows)
}

/// A line: what it is about, what all directors say of it, what each counts, and a note.
#[derive(Default)]
struct Row {
    label: String,
    shared: Vec<String>,
    /// Of each director; no cells where it has nothing to say.
    cells: Vec<Vec<String>>,
    note: String,
}

fn titles(columns: Columns, directors: &[&Listing]) -> Vec<Row> {
    let names: Vec<String> = columns.names().map(ToOwned::to_owned).collect();
    let (shared, counted) = names.split_at(columns.settings());
    let name = |listing: &&Listing| {
        let absence = if listing.attached { "" } else { " (not attached)" };
        vec![format!("{}{absence}", listing.director)]
    };
    let (local, remote) = ("Prot LocalAddress:Port", "  -> RemoteAddress:Port");
    let heading = if columns.are_of_virtual_servers() { "" } else { " Scheduler Flags" };
    vec![
        Row {
            label: format!("{local}{heading}"),
            cells: directors.iter().map(name).collect(),
            ..Row::default()
        },
        Row {
            label: remote.to_owned(),
            shared: shared.to_vec(),
            cells: vec![counted.to_vec(); directors.len()],
            ..Row::default()
        },
    ]
}

/// From what each director has by key to what each key has by director, in the order of keys.
fn transposed<K: Ord, T: Copy>(tables: Vec<BTreeMap<K, T>>) -> Vec<Vec<Option<T>>> {
    let directors = tables.len();
    let mut rows: BTreeMap<K, Vec<Option<T>>> = BTreeMap::new();
    for (index, table) in tables.into_iter().enumerate() {
        for (key, value) in table {
            rows.entry(key).or_insert_with(|| vec![None; directors])[index] = Some(value);
        }
    }
    rows.into_values().collect()
}

/// One virtual server on every director.
struct Table<'a> {
    columns: Columns,
    exact: bool,
    directors: &'a [&'a Listing],
    servers: Vec<Option<&'a v1::IpvsVirtualServer>>,
}

impl Table<'_> {
    fn server(&self) -> Row {
        let mut notes = Notes::new(self.directors);
        let Some(first) = self.servers.iter().flatten().next() else { return Row::default() };
        let words = scheduling(first);
        for found in &self.servers {
            notes.add(found.map(|server| server.difference.as_str()), || {
                found.map(scheduling).filter(|theirs| *theirs != words)
            });
        }
        let note = notes.into_text();
        if !self.columns.are_of_virtual_servers() {
            let label = format!("{} {words}", service(first));
            return Row { label, note, ..Row::default() };
        }
        let cells = self.servers.iter().map(|found| {
            let there = found.filter(|server| server.difference != MISSING);
            let stats = there.map(|server| server.stats.as_ref());
            stats.map_or_else(|| self.nothing(), |s| self.columns.of_traffic(self.exact, s))
        });
        Row { label: service(first), cells: cells.collect(), note, ..Row::default() }
    }

    fn destinations(&self) -> Vec<Row> {
        let tables = self.servers.iter().map(|server| {
            let destinations = server.iter().flat_map(|server| &server.destinations);
            destinations.map(|found| (DestinationKey::of(found), found)).collect()
        });
        transposed(tables.collect()).iter().map(|found| self.destination(found)).collect()
    }

    fn destination(&self, destinations: &[Option<&v1::IpvsDestination>]) -> Row {
        let Some(first) = destinations.iter().flatten().next() else { return Row::default() };
        let settings = self.columns.settings();
        let values = |found| self.columns.of_destination(self.exact, found);
        let shared = values(first)[..settings].to_vec();
        let mut notes = Notes::new(self.directors);
        let mut cells = Vec::new();
        let mut there = Vec::new();
        for (found, server) in destinations.iter().zip(&self.servers) {
            if server.is_none_or(|server| server.difference == MISSING) {
                // A virtual server that a director lacks is told of once, at its own line.
                notes.skip();
                cells.push(self.nothing());
                continue;
            }
            notes.add(found.map(|found| found.difference.as_str()), || {
                let theirs = found.map(|found| values(found)[..settings].to_vec());
                theirs.filter(|theirs| *theirs != shared).map(|theirs| theirs.join(" "))
            });
            let found = found.filter(|found| found.difference != MISSING);
            cells.push(found.map_or_else(|| self.nothing(), |f| values(f).split_off(settings)));
            there.extend(found);
        }
        if there.windows(2).any(|pair| pair[0].weight != pair[1].weight) {
            notes.add_for_all("weights differ");
        }
        let thresholds =
            |found: &v1::IpvsDestination| (found.upper_threshold, found.lower_threshold);
        if there.windows(2).any(|pair| thresholds(pair[0]) != thresholds(pair[1])) {
            notes.add_for_all("thresholds differ");
        }
        let label = format!("  -> {}", socket(&first.address, first.port));
        Row { label, shared, cells, note: notes.into_text() }
    }

    /// The cells of a director that lacks the entry.
    fn nothing(&self) -> Vec<String> {
        vec!["-".to_owned(); self.columns.names().count() - self.columns.settings()]
    }
}

/// What is noted behind a line, director by director.
struct Notes<'a> {
    directors: std::slice::Iter<'a, &'a Listing>,
    count: usize,
    texts: Vec<(String, &'a str)>,
    for_all: Vec<&'static str>,
}

impl<'a> Notes<'a> {
    fn new(directors: &'a [&'a Listing]) -> Self {
        let (directors, count) = (directors.iter(), directors.len());
        Self { directors, count, texts: Vec::new(), for_all: Vec::new() }
    }

    /// Of the next director: how its entry differs from what is wanted, none where it lacks the entry; and how it differs
    /// from the first one.
    fn add(&mut self, difference: Option<&str>, deviation: impl FnOnce() -> Option<String>) {
        let Some(listing) = self.directors.next() else { return };
        match difference {
            None => self.texts.push(("not there".to_owned(), &listing.director)),
            Some(MISSING) => self.texts.push((MISSING.to_owned(), &listing.director)),
            Some(difference) => {
                let deviation = deviation();
                let difference = (!difference.is_empty()).then(|| difference.to_owned());
                let both = deviation.into_iter().chain(difference);
                self.texts.extend(both.map(|text| (text, listing.director.as_str())));
            }
        }
    }

    /// Nothing of the next director.
    fn skip(&mut self) {
        self.directors.next();
    }

    fn add_for_all(&mut self, text: &'static str) {
        self.for_all.push(text);
    }

    /// What every director says in the same words stands without a name.
    fn into_text(self) -> String {
        let mut directors_of: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (text, director) in self.texts {
            directors_of.entry(text).or_default().push(director);
        }
        let named = directors_of.into_iter().map(|(text, directors)| {
            if directors.len() == self.count {
                text
            } else {
                format!("{}: {text}", directors.join(", "))
            }
        });
        let notes: Vec<String> =
            self.for_all.iter().map(|text| (*text).to_owned()).chain(named).collect();
        notes.join("; ")
    }
}

/// Lines with their cells below each other. The label of a line without cells takes the room that it needs.
fn render(rows: &[Row]) -> String {
    let layout = Layout::of(rows);
    rows.iter().map(|row| layout.line(row)).collect()
}

/// Widths in characters.
struct Layout {
    label: usize,
    shared: Vec<usize>,
    /// Of each column of a director.
    counted: Vec<usize>,
    /// Of all columns of a director.
    block: usize,
}

impl Layout {
    fn of(rows: &[Row]) -> Self {
        let with_cells = || rows.iter().filter(|row| !row.cells.is_empty());
        let blocks = || rows.iter().flat_map(|row| &row.cells);
        let counted = widths(blocks().filter(|cells| !is_name(cells)));
        let name = widths(blocks().filter(|cells| is_name(cells))).pop().unwrap_or(0);
        let columns = counted.iter().sum::<usize>() + counted.len().saturating_sub(1);
        Self {
            label: with_cells().map(|row| row.label.chars().count()).max().unwrap_or(0),
            shared: widths(rows.iter().map(|row| &row.shared)),
            counted,
            block: name.max(columns),
        }
    }

    fn line(&self, row: &Row) -> String {
        let mut line = row.label.clone();
        if !row.cells.is_empty() {
            line = format!("{line:<width$}", width = self.label);
            for (index, width) in self.shared.iter().enumerate() {
                let text = row.shared.get(index).map_or("", String::as_str);
                line = format!("{line} {text:<width$}");
            }
        }
        for cells in &row.cells {
            let aligned: Vec<String> = if is_name(cells) {
                cells.clone()
            } else {
                let pairs = cells.iter().zip(&self.counted);
                pairs.map(|(text, width)| format!("{text:>width$}")).collect()
            };
            line = format!("{line}{BORDER}{:<width$}", aligned.join(" "), width = self.block);
        }
        let note = if row.note.is_empty() { String::new() } else { format!("  # {}", row.note) };
        format!("{}{note}\n", line.trim_end())
    }
}

/// Whether the cells of a director are its name, which spans all of its columns: there are several of these.
fn is_name(cells: &[String]) -> bool {
    cells.len() == 1
}

/// The widest text of each column.
fn widths<'a>(rows: impl Iterator<Item = &'a Vec<String>>) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, text) in widths.iter_mut().zip(row) {
            *width = text.chars().count().max(*width);
        }
    }
    widths
}
