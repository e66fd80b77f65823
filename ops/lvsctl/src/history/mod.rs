//! Kept revisions for people: lines of who changed what, and one revision field by field.

mod fields;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::time::SystemTime;

use fulcrum_proto::v1;

use crate::manifest::{kind_of, kind_word, resource_to_node};
use crate::status::{ago, clock};
use crate::table::Table;

/// Changes named in a line.
const NAMED: usize = 3;

/// A line for each revision, newest first.
pub(crate) fn lines(answer: &v1::ListRevisionsResponse, now: SystemTime) -> String {
    let mut table = Table::default();
    table.row(["REVISION", "AGE", "WHO", "CHANGED", "WHY"].map(Into::into));
    for revision in &answer.revisions {
        let age = revision.time.map(|time| ago(time, now)).unwrap_or_default();
        let changed = changed(revision);
        let number = revision.revision.to_string();
        table.row([number, age, who(revision), changed, why(revision)].map(Into::into));
    }
    let mut text = table.render("");
    // Writing to a String cannot fail.
    if !answer.next_page_token.is_empty() {
        let _ = writeln!(text, "older ones are kept too: give a larger --limit");
    }
    let _ = writeln!(text, "rollback reaches back to revision {}", answer.oldest_revision);
    text
}

/// A revision with each field that it changed.
pub(crate) fn one(answer: &v1::GetRevisionResponse) -> String {
    let revision = answer.revision.clone().unwrap_or_default();
    let time = revision.time.map(|time| time.to_string()).unwrap_or_default();
    let mut text = format!("revision {}, after {}\n", revision.revision, revision.base_revision);
    let mut table = Table::default();
    for (word, value) in [("time", time), ("who", who(&revision)), ("why", why(&revision))] {
        if !value.is_empty() {
            table.row([word.into(), value.into()]);
        }
    }
    text.push_str(&table.render("  "));
    if revision.changes_dropped {
        let count = revision.change_count;
        let _ = writeln!(text, "{count} resources differed; too much to be kept");
    }
    for difference in &answer.differences {
        text.push_str(&told(difference));
    }
    text
}

fn told(difference: &v1::ResourceDifference) -> String {
    let (action, resource) = match (&difference.before, &difference.after) {
        (None, Some(after)) => ("created", after),
        (Some(before), None) => ("deleted", before),
        (Some(_), Some(after)) => ("updated", after),
        (None, None) => return String::new(),
    };
    let name = resource.metadata.as_ref().map_or("", |metadata| &metadata.name);
    let mut text = format!("{action} {} {name}\n", kind_of(resource));
    let node = |resource: &Option<v1::Resource>| resource.as_ref().map(resource_to_node);
    for line in fields::differences(node(&difference.before), node(&difference.after)) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn who(revision: &v1::Revision) -> String {
    // A controller of an older release led, which did not ask.
    if revision.who.is_empty() { "?".to_owned() } else { revision.who.clone() }
}

fn why(revision: &v1::Revision) -> String {
    let origin = match revision.origin() {
        v1::RevisionOrigin::Rollback => format!("rollback to {}", revision.origin_revision),
        v1::RevisionOrigin::Confirm => format!("confirms {}", revision.origin_revision),
        v1::RevisionOrigin::Revert => format!("undoes {}", revision.origin_revision),
        v1::RevisionOrigin::Apply | v1::RevisionOrigin::Unspecified => String::new(),
    };
    let until = revision.confirm_by.and_then(|time| SystemTime::try_from(time).ok());
    let origin = match (until, origin.as_str()) {
        (None, _) => origin,
        (Some(until), "") => format!("waits to be confirmed until {}", clock(until)),
        (Some(until), _) => format!("{origin}, waits to be confirmed until {}", clock(until)),
    };
    match (origin.is_empty(), revision.reason.is_empty()) {
        (_, true) => origin,
        (true, false) => revision.reason.clone(),
        (false, false) => format!("{origin}: {}", revision.reason),
    }
}

fn changed(revision: &v1::Revision) -> String {
    let named: Vec<String> = revision
        .changes
        .iter()
        .take(NAMED)
        .map(|change| {
            let sign = match change.action() {
                v1::ChangeAction::Create => "+",
                v1::ChangeAction::Update => "~",
                v1::ChangeAction::Delete => "-",
                v1::ChangeAction::Unspecified => "?",
            };
            format!("{sign}{}/{}", kind_word(change.kind()), change.name)
        })
        .collect();
    let others = revision.change_count.saturating_sub(named.len() as u64);
    match (named.is_empty(), others) {
        (true, 0) => "nothing".to_owned(),
        (true, count) => format!("{count} resources"),
        (false, 0) => named.join(" "),
        (false, count) => format!("{} and {count} more", named.join(" ")),
    }
}
