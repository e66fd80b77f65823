//! What is to be done, given what is wanted, what the host holds and what is noted.

use std::collections::BTreeMap;

use super::explain;
use super::setting::{Note, Notes, Setting};
use super::wanted::{Source, Wish, Wishes};

/// What the host holds of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ipvs) enum Found {
    /// This value.
    Value(String),
    /// This kernel has no such setting.
    Absent,
    /// It cannot be read, and why.
    Unreadable(String),
}

/// What is to be done about a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ipvs) enum Step {
    /// Nothing: it is as wanted.
    Stay,
    /// Note that it is as wanted already, so that another program's change is told from what was there before.
    Hold(Note),
    /// Write what is wanted.
    Set {
        /// What the host holds.
        from: String,
        /// What is wanted.
        wish: Wish,
        /// The note of it, on disk before it is written.
        note: Note,
        /// Another program has changed it since we set it.
        is_repair: bool,
    },
    /// Write what it was before we came, and forget it.
    PutBack {
        /// What the host holds: what we set.
        from: String,
        /// What it was.
        to: String,
    },
    /// Forget it: it is as it was before we came.
    AsBefore(String),
    /// Forget it: another program has given it a value since, which stays.
    Leave(String),
    /// Forget it: the kernel has no such setting any more.
    Gone,
    /// It is not as wanted and nothing can be done; why, with the remedy.
    Problem(String),
}

/// What is to be done about each setting that is wanted or noted.
pub(in crate::ipvs) fn steps(
    wishes: &Wishes,
    found: &BTreeMap<Setting, Found>,
    notes: &Notes,
) -> BTreeMap<Setting, Step> {
    let step = |(setting, found): (&Setting, &Found)| {
        let (wish, note) = (wishes.get(setting), notes.get(setting));
        let step = match (found, wish) {
            (Found::Value(value), Some(wish)) => with_wish(value, wish, note),
            (Found::Value(value), None) => without_wish(value, note),
            (Found::Absent, Some(wish)) => match wish.source {
                Source::Relay | Source::Plan | Source::Path => {
                    Step::Problem(explain::absent(*setting, wish))
                }
                Source::Default { .. } => Step::Stay,
            },
            (Found::Absent, None) => Step::Gone,
            (Found::Unreadable(why), _) => Step::Problem(explain::unreadable(*setting, why)),
        };
        (*setting, step)
    };
    found.iter().map(step).collect()
}

fn with_wish(found: &str, wish: &Wish, note: Option<&Note>) -> Step {
    if let Source::Default { in_place_of, .. } = wish.source {
        // What a default may replace is what was there before we came.
        let original = note.filter(|note| note.ours == found).map_or(found, |note| &note.before);
        if original != in_place_of && original != wish.value {
            return without_wish(found, note);
        }
    }
    let is_known = note.is_some_and(|note| note.ours == wish.value);
    let before = note.map_or(found, |note| &note.before).to_owned();
    let note = Note { before, ours: wish.value.clone() };
    match (found == wish.value, is_known) {
        (true, true) => Step::Stay,
        (true, false) => Step::Hold(note),
        (false, is_repair) => {
            Step::Set { from: found.to_owned(), wish: wish.clone(), note, is_repair }
        }
    }
}

fn without_wish(found: &str, note: Option<&Note>) -> Step {
    match note {
        None => Step::Stay,
        Some(note) if found == note.before => Step::AsBefore(found.to_owned()),
        Some(note) if found == note.ours => {
            Step::PutBack { from: found.to_owned(), to: note.before.clone() }
        }
        Some(_) => Step::Leave(found.to_owned()),
    }
}

/// The notes that must be on disk before the steps are done: what is wanted is there, and nothing is forgotten yet.
pub(in crate::ipvs) fn noted_first(steps: &BTreeMap<Setting, Step>, notes: &Notes) -> Notes {
    let mut first = notes.clone();
    for (setting, step) in steps {
        if let Step::Hold(note) | Step::Set { note, .. } = step {
            first.insert(*setting, note.clone());
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::super::Sysctl;
    use super::*;

    const SETTING: Setting = Setting::Sysctl(Sysctl::ConnReuseMode);

    fn note(before: &str, ours: &str) -> Note {
        Note { before: before.to_owned(), ours: ours.to_owned() }
    }

    fn wish(value: &str, source: Source) -> Wish {
        Wish { value: value.to_owned(), source }
    }

    /// The step of one setting.
    fn step(wish: Option<&Wish>, found: Found, note: Option<&Note>) -> Step {
        let wishes = wish.map(|wish| (SETTING, wish.clone())).into_iter().collect();
        let notes = note.map(|note| (SETTING, note.clone())).into_iter().collect();
        steps(&wishes, &[(SETTING, found)].into(), &notes).remove(&SETTING).expect("it was found")
    }

    /// As text: what is found, the note as BEFORE>OURS, what comes of it.
    fn check(wish: Option<&Wish>, cases: &[(&str, &str, &str)]) {
        for (found, noted, expected) in cases {
            let note = noted.split_once('>').map(|(before, ours)| note(before, ours));
            let step = step(wish, Found::Value((*found).to_owned()), note.as_ref());
            let told = match step {
                Step::Stay => "stay".to_owned(),
                Step::Hold(Note { before, ours }) => format!("hold {before}>{ours}"),
                Step::Set { wish, note: Note { before, ours }, is_repair, .. } => {
                    let verb = if is_repair { "repair" } else { "set" };
                    format!("{verb} {} {before}>{ours}", wish.value)
                }
                Step::PutBack { to, .. } => format!("put back {to}"),
                Step::AsBefore(_) => "as before".to_owned(),
                Step::Leave(value) => format!("leave {value}"),
                Step::Gone => "gone".to_owned(),
                Step::Problem(text) => text,
            };
            assert_eq!(told, *expected, "found {found}, noted {noted:?}, {wish:?}");
        }
    }

    #[test]
    fn what_the_plan_wants_is_set_and_repaired() {
        check(
            Some(&wish("2", Source::Plan)),
            &[
                ("1", "", "set 2 1>2"),
                ("2", "", "hold 2>2"),
                ("2", "1>2", "stay"),
                ("1", "1>2", "repair 2 1>2"),
                ("0", "1>2", "repair 2 1>2"),
                ("3", "2>2", "repair 2 2>2"),
                // The plan wanted 3 before.
                ("3", "1>3", "set 2 1>2"),
                ("2", "1>3", "hold 1>2"),
            ],
        );
    }

    #[test]
    fn a_default_takes_the_kernels_place_alone() {
        check(
            Some(&wish("3", Source::Default { in_place_of: "1", lost: "" })),
            &[
                ("1", "", "set 3 1>3"),
                ("3", "", "hold 3>3"),
                ("2", "", "stay"),
                ("3", "1>3", "stay"),
                ("1", "1>3", "repair 3 1>3"),
                // An operator has chosen another since.
                ("2", "1>3", "leave 2"),
                // The plan wanted 0 before, and the operator had 2 before that.
                ("0", "1>0", "set 3 1>3"),
                ("0", "2>0", "put back 2"),
                ("1", "2>1", "put back 2"),
                ("3", "2>3", "put back 2"),
            ],
        );
    }

    #[test]
    fn what_is_no_longer_wanted_goes_back_unless_another_program_changed_it() {
        check(
            None,
            &[
                ("1", "", "stay"),
                ("3", "1>3", "put back 1"),
                ("1", "1>3", "as before"),
                ("2", "1>3", "leave 2"),
                ("3", "3>3", "as before"),
            ],
        );
    }

    #[test]
    fn an_absent_setting_is_told_when_it_was_asked_for() {
        let default = wish("3", Source::Default { in_place_of: "1", lost: "" });
        assert_eq!(step(Some(&default), Found::Absent, None), Step::Stay);
        assert_eq!(step(None, Found::Absent, Some(&note("1", "3"))), Step::Gone);
        for source in [Source::Plan, Source::Relay] {
            let step = step(Some(&wish("3", source)), Found::Absent, None);
            assert!(matches!(step, Step::Problem(text) if text.contains("no setting")));
        }
        let unreadable = Found::Unreadable("I/O error".to_owned());
        let step = step(None, unreadable, Some(&note("1", "3")));
        assert!(matches!(step, Step::Problem(text) if text.contains("(I/O error)")));
    }

    #[test]
    fn notes_are_there_before_and_none_goes_too_early() {
        let notes: Notes =
            [(SETTING, note("1", "3")), (Setting::Sysctl(Sysctl::SloppyTcp), note("0", "1"))]
                .into();
        let wishes: Wishes = [
            (SETTING, wish("2", Source::Plan)),
            (Setting::Sysctl(Sysctl::Conntrack), wish("1", Source::Plan)),
        ]
        .into();
        let value = |value: &str| Found::Value(value.to_owned());
        let found = [
            (SETTING, value("3")),
            (Setting::Sysctl(Sysctl::SloppyTcp), value("1")),
            (Setting::Sysctl(Sysctl::Conntrack), value("0")),
        ];
        let first = noted_first(&steps(&wishes, &found.into(), &notes), &notes);
        let expected: Notes = [
            (SETTING, note("1", "2")),
            (Setting::Sysctl(Sysctl::SloppyTcp), note("0", "1")),
            (Setting::Sysctl(Sysctl::Conntrack), note("0", "1")),
        ]
        .into();
        assert_eq!(first, expected);
    }
}
