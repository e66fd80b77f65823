//! Which virtual servers we made, and which settings we changed, on disk: what tells ours from foreign ones after a
//! restart, and what a setting was before we came.
//!
//! A text file, written before the kernel is: it may name what was never made, never the other way round. It counts only
//! for the boot and the network namespace that it was written in: another kernel's table knows nothing of it.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fulcrum_ipvs::{Ownership, VirtualServerKey};
use fulcrum_runtime::durable;

use super::settings::{Note, Notes, Setting, Sysctl};

/// Its name in the state directory.
pub(super) const FILE: &str = "ipvs-journal";

/// First line: the format.
const FORMAT: &str = "fulcrum-ipvs-journal 2";
/// The format before: of settings it knows `sloppy_tcp` alone, which a relay had set to 1.
const FORMAT_1: &str = "fulcrum-ipvs-journal 1";

/// What the journal tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    /// Virtual servers that we made, relays among them.
    pub(super) made: BTreeSet<VirtualServerKey>,
    /// Those that were relays.
    pub(super) relays: BTreeSet<VirtualServerKey>,
    /// Settings that we changed.
    pub(super) settings: Notes,
}

/// The journal's file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Names the kernel's table: its boot and network namespace.
    table: String,
}

impl Journal {
    /// Opens the journal of the table that `table` names. A journal of another table is as good as none; one that
    /// cannot be read is too, and the second value says so: what we made and no longer want then counts as foreign.
    pub(super) fn open(path: PathBuf, table: String) -> (Self, Entries, Option<String>) {
        let (entries, problem) = match std::fs::read_to_string(&path) {
            Ok(text) => match decode(&text, &table) {
                Ok(entries) => (entries, None),
                Err(what) => (Entries::default(), Some(unreadable(&path, &what))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Entries::default(), None),
            Err(error) => (Entries::default(), Some(unreadable(&path, &error.to_string()))),
        };
        (Self { path, table }, entries, problem)
    }

    /// Puts these entries on stable storage.
    pub(super) fn write(
        &self,
        made: &Ownership,
        is_relay: impl Fn(&VirtualServerKey) -> bool,
        settings: &Notes,
    ) -> io::Result<()> {
        let table = &self.table;
        durable::write_atomic_with(&self.path, |file| encode(file, made, is_relay, settings, table))
    }
}

fn unreadable(path: &Path, what: &str) -> String {
    format!(
        "the journal {} cannot be read ({what}): virtual servers that an earlier run made and that are no longer planned \
         count as foreign; delete those by hand with ipvsadm -D; settings that it changed are not put back; kernel-settings.md \
         has the kernel's own values",
        path.display()
    )
}

/// Piece by piece: there may be a hundred thousand entries, and programming waits for them.
fn encode(
    file: &mut dyn Write,
    made: &Ownership,
    is_relay: impl Fn(&VirtualServerKey) -> bool,
    settings: &Notes,
    table: &str,
) -> io::Result<()> {
    writeln!(file, "{FORMAT}\ntable {table}")?;
    for key in made.iter() {
        let word = if is_relay(key) { "relay" } else { "made" };
        writeln!(file, "{word} {key}")?;
    }
    for (setting, Note { before, ours }) in settings {
        writeln!(file, "setting {setting} {before} -> {ours}")?;
    }
    Ok(())
}

/// An error says which line is wrong, in words.
fn decode(text: &str, table: &str) -> Result<Entries, String> {
    let mut lines = text.lines();
    let is_format_1 = match lines.next() {
        Some(FORMAT) => false,
        Some(FORMAT_1) => true,
        Some(_) | None => return Err(format!("its first line is not {FORMAT:?}")),
    };
    let mut entries = Entries::default();
    for (index, line) in lines.enumerate() {
        let error = || format!("line {} is {line:?}", index + 2);
        let (word, rest) = line.split_once(' ').ok_or_else(error)?;
        match word {
            "table" if rest == table => {}
            "table" => return Ok(Entries::default()),
            "made" | "relay" => {
                let key = rest.parse().map_err(|_| error())?;
                entries.made.insert(key);
                if word == "relay" {
                    entries.relays.insert(key);
                }
            }
            "setting" if !is_format_1 => {
                let (setting, note) = decode_setting(rest).ok_or_else(error)?;
                entries.settings.insert(setting, note);
            }
            "sloppy_tcp" if is_format_1 => {
                let note = Note { before: rest.to_owned(), ours: "1".to_owned() };
                entries.settings.insert(Setting::Sysctl(Sysctl::SloppyTcp), note);
            }
            _ => return Err(error()),
        }
    }
    Ok(entries)
}

/// Values may hold blanks, names hold none.
fn decode_setting(text: &str) -> Option<(Setting, Note)> {
    let (name, values) = text.split_once(' ')?;
    let (before, ours) = values.split_once(" -> ")?;
    let note = Note { before: before.to_owned(), ours: ours.to_owned() };
    Some((name.parse().ok()?, note))
}

#[cfg(test)]
mod tests {
    use super::super::settings::Timeout;
    use super::*;

    fn key(text: &str) -> VirtualServerKey {
        text.parse().expect("a key")
    }

    fn note(before: &str, ours: &str) -> Note {
        Note { before: before.to_owned(), ours: ours.to_owned() }
    }

    fn entries() -> Entries {
        Entries {
            made: [key("TCP 192.168.1.150:80"), key("UDP [2001:db8::1]:53"), key("FWM 7")].into(),
            relays: [key("FWM 7")].into(),
            settings: [
                (Setting::Timeout(Timeout::Tcp), note("900", "600")),
                (Setting::Sysctl(Sysctl::SyncThreshold), note("3 50", "2 50")),
            ]
            .into(),
        }
    }

    /// Writes a new journal of [`entries`].
    fn write(directory: &Path, table: &str) {
        let (journal, found, problem) = Journal::open(directory.join(FILE), table.to_owned());
        assert_eq!((found, problem), (Entries::default(), None));
        let Entries { made, relays, settings } = entries();
        let made: Ownership = made.into_iter().collect();
        journal.write(&made, |key| relays.contains(key), &settings).expect("written");
    }

    #[test]
    fn what_is_written_is_read() {
        let text = "fulcrum-ipvs-journal 2\n\
            table boot-1 net:[1]\n\
            made TCP 192.168.1.150:80\n\
            made UDP [2001:db8::1]:53\n\
            relay FWM 7\n\
            setting ipvs.tcp_timeout 900 -> 600\n\
            setting net.ipv4.vs.sync_threshold 3 50 -> 2 50\n";
        let directory = tempfile::tempdir().expect("a directory");
        write(directory.path(), "boot-1 net:[1]");
        assert_eq!(std::fs::read_to_string(directory.path().join(FILE)).expect("read"), text);
        assert_eq!(decode(text, "boot-1 net:[1]"), Ok(entries()));
        assert_eq!(decode(text, "boot-2 net:[1]"), Ok(Entries::default()), "another boot");
    }

    #[test]
    fn the_format_before_is_read() {
        let text = "fulcrum-ipvs-journal 1\ntable t\nrelay FWM 7\nsloppy_tcp 0\n";
        let relay = BTreeSet::from([key("FWM 7")]);
        let settings = [(Setting::Sysctl(Sysctl::SloppyTcp), note("0", "1"))].into();
        assert_eq!(decode(text, "t"), Ok(Entries { made: relay.clone(), relays: relay, settings }));
    }

    #[test]
    fn what_is_damaged_is_told() {
        for (text, expected) in [
            ("", "its first line is not \"fulcrum-ipvs-journal 2\""),
            ("fulcrum-ipvs-journal 3\n", "its first line is not \"fulcrum-ipvs-journal 2\""),
            (
                "fulcrum-ipvs-journal 2\ntable t\nmade TCP 1.2.3.4\n",
                "line 3 is \"made TCP 1.2.3.4\"",
            ),
            ("fulcrum-ipvs-journal 2\nmade", "line 2 is \"made\""),
            ("fulcrum-ipvs-journal 2\nbuilt FWM 1", "line 2 is \"built FWM 1\""),
            ("fulcrum-ipvs-journal 2\nsloppy_tcp 0", "line 2 is \"sloppy_tcp 0\""),
            ("fulcrum-ipvs-journal 2\nsetting net.x 0 -> 1", "line 2 is \"setting net.x 0 -> 1\""),
        ] {
            assert_eq!(decode(text, "t"), Err(expected.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_journal_survives_its_writer() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        write(directory.path(), "t");
        let (_, found, problem) = Journal::open(path.clone(), "t".to_owned());
        assert_eq!((found, problem), (entries(), None));

        std::fs::write(&path, "nonsense").expect("written");
        let (_, found, problem) = Journal::open(path, "t".to_owned());
        assert_eq!(found, Entries::default());
        assert!(problem.expect("a problem").contains("ipvsadm -D"));
    }
}
