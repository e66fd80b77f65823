//! Groups as text for people, and for programs.

use std::fmt::Write as _;

use super::{Check, Group, Outcome, Trouble, count};
use crate::paint::Paint;
use crate::text::Node;

/// Checks under their hosts, what is wrong beneath them, and the sum. Signs on a terminal, words elsewhere.
pub(crate) fn to_text(groups: &[Group], is_terminal: bool, paint: Paint) -> String {
    let mut text = String::new();
    for group in groups {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", paint.bold(&group.title()));
        for check in group.checks.iter().filter(|check| check.outcome != Outcome::Unknown) {
            let mark = mark(check.outcome, is_terminal, paint);
            let code = match check.outcome {
                Outcome::Well => String::new(),
                Outcome::Unknown | Outcome::Warning | Outcome::Error => {
                    format!(" {}", paint.dim(&format!("[{}]", check.code)))
                }
            };
            let _ = writeln!(text, "  {mark} {}{code}", check.title);
            for Trouble { subject, found, remedy, .. } in &check.troubles {
                let colon = if subject.is_empty() { "" } else { ": " };
                let _ = writeln!(text, "      {subject}{colon}{found}");
                let _ = writeln!(text, "      {} {remedy}", paint.dim("remedy:"));
            }
        }
        for (why, codes) in not_known(group) {
            let mark = mark(Outcome::Unknown, is_terminal, paint);
            let codes = paint.dim(&format!("[{}]", codes.join(", ")));
            let _ = writeln!(text, "  {mark} not known, {why} {codes}");
        }
        text.push('\n');
    }
    let (errors, warnings) = (count(groups, Outcome::Error), count(groups, Outcome::Warning));
    let sum = if errors + warnings == 0 {
        paint.good("all is well")
    } else {
        paint.bad(&counted(errors, warnings))
    };
    let unknown = unknown(groups);
    let unknown = if unknown == 0 { String::new() } else { format!("; {unknown} not known") };
    let _ = writeln!(text, "{sum}{unknown}");
    text
}

/// Codes of what is not known, by why: of a host that is away one line says all.
fn not_known(group: &Group) -> Vec<(&str, Vec<&str>)> {
    let mut by_why: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in group.checks.iter().filter(|check| check.outcome == Outcome::Unknown) {
        match by_why.iter_mut().find(|(why, _)| *why == check.why) {
            Some((_, codes)) => codes.push(&check.code),
            None => by_why.push((&check.why, vec![&check.code])),
        }
    }
    by_why
}

fn mark(outcome: Outcome, is_terminal: bool, paint: Paint) -> String {
    match (outcome, is_terminal) {
        (Outcome::Well, true) => paint.good("\u{2713}"),
        (Outcome::Unknown, true) => paint.dim("?"),
        (Outcome::Warning, true) => paint.bold("\u{203c}"),
        (Outcome::Error, true) => paint.bad("\u{00d7}"),
        (Outcome::Well | Outcome::Unknown | Outcome::Warning | Outcome::Error, false) => {
            format!("{:<7}", word(outcome))
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Well => "ok",
        Outcome::Unknown => "unknown",
        Outcome::Warning => "warning",
        Outcome::Error => "error",
    }
}

/// Checks of which nobody knows.
fn unknown(groups: &[Group]) -> usize {
    let checks = groups.iter().flat_map(|group| &group.checks);
    checks.filter(|check| check.outcome == Outcome::Unknown).count()
}

/// `1 error, 2 warnings`
pub(super) fn counted(errors: usize, warnings: usize) -> String {
    let counted = |count: usize, noun: &str| match count {
        0 => None,
        1 => Some(format!("1 {noun}")),
        more => Some(format!("{more} {noun}s")),
    };
    let parts = [counted(errors, "error"), counted(warnings, "warning")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `errors`, `warnings`, `unknown` and `hosts`, each with its `checks`.
pub(crate) fn to_node(groups: &[Group]) -> Node {
    let number = |severity| Node::Plain(count(groups, severity).to_string());
    Node::Map(vec![
        ("errors".to_owned(), number(Outcome::Error)),
        ("warnings".to_owned(), number(Outcome::Warning)),
        ("unknown".to_owned(), Node::Plain(unknown(groups).to_string())),
        ("hosts".to_owned(), Node::List(groups.iter().map(group_node).collect())),
    ])
}

fn group_node(group: &Group) -> Node {
    Node::Map(vec![
        ("role".to_owned(), Node::text(&group.role)),
        ("name".to_owned(), Node::text(&group.name)),
        ("checks".to_owned(), Node::List(group.checks.iter().map(check_node).collect())),
    ])
}

fn check_node(check: &Check) -> Node {
    let findings = check.troubles.iter().map(|trouble| {
        let Trouble { severity, subject, found, remedy } = trouble;
        Node::Map(vec![
            ("severity".to_owned(), Node::text(word(*severity))),
            ("subject".to_owned(), Node::text(subject)),
            ("found".to_owned(), Node::text(found)),
            ("remedy".to_owned(), Node::text(remedy)),
        ])
    });
    Node::Map(vec![
        ("code".to_owned(), Node::text(&check.code)),
        ("result".to_owned(), Node::text(word(check.outcome))),
        ("title".to_owned(), Node::text(&check.title)),
        ("why".to_owned(), Node::text(&check.why)),
        ("findings".to_owned(), Node::List(findings.collect())),
    ])
}
