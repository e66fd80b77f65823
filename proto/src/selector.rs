//! Label selectors as text: `rack=a1,!spare,tier in (web, mail)`.
//!
//! Terms are set apart by commas, and all must hold: `key`, `!key`, `key=value` (or `==`), `key!=value`, `key in (a, b)` and
//! `key notin (a, b)`. What has no such label at all is taken by `!=` and `notin`, as in Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// Longest selector in bytes.
pub const MAX_BYTES: usize = 4096;
/// Most terms: as many as a resource has labels.
const MAX_TERMS: usize = 64;

/// Which labels a resource must have. The default takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
}

/// A selector that cannot be read: the term, and how to write it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A term is none.
    #[error(
        "{term:?}: write key, !key, key=value, key!=value, key in (a, b) or key notin (a, b), with commas between terms"
    )]
    Term {
        /// As it was given.
        term: String,
    },
    /// It has too many bytes.
    #[error("{bytes} bytes: a selector has at most {MAX_BYTES}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// It has too many terms.
    #[error("{terms} terms: a selector has at most {MAX_TERMS}")]
    TooMany {
        /// How many it has.
        terms: usize,
    },
}

impl Selector {
    /// Whether it takes a resource of these labels.
    pub fn takes(&self, labels: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|Term { key, test }| match (test, labels.get(key)) {
            (Test::Exists, found) => found.is_some(),
            (Test::Absent, found) => found.is_none(),
            (Test::In(values), found) => found.is_some_and(|value| values.contains(value)),
            (Test::NotIn(values), found) => found.is_none_or(|value| !values.contains(value)),
        })
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_BYTES {
            return Err(SelectorError::TooLong { bytes: text.len() });
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let terms = split(text);
        if terms.len() > MAX_TERMS {
            return Err(SelectorError::TooMany { terms: terms.len() });
        }
        let read = |term: &&str| {
            term_of(term).ok_or_else(|| SelectorError::Term { term: term.trim().to_owned() })
        };
        Ok(Self { terms: terms.iter().map(read).collect::<Result<_, _>>()? })
    }
}

/// At the commas that stand in no parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut is_inside = false;
    text.split(move |letter| {
        match letter {
            '(' => is_inside = true,
            ')' => is_inside = false,
            _ => {}
        }
        letter == ',' && !is_inside
    })
    .collect()
}

fn term_of(term: &str) -> Option<Term> {
    let term = term.trim();
    if let Some(values) = term.strip_suffix(')') {
        let (head, values) = values.split_once('(')?;
        let (key, word) = head.trim().rsplit_once(char::is_whitespace)?;
        let values: Option<BTreeSet<String>> = values.split(',').map(value_of).collect();
        let test = match word {
            "in" => Test::In(values?),
            "notin" => Test::NotIn(values?),
            _ => return None,
        };
        return Some(Term { key: key_of(key)?, test });
    }
    let one = |value: &str| value_of(value).map(|value| BTreeSet::from([value]));
    if let Some((key, value)) = term.split_once("!=") {
        return Some(Term { key: key_of(key)?, test: Test::NotIn(one(value)?) });
    }
    if let Some((key, value)) = term.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Some(Term { key: key_of(key)?, test: Test::In(one(value)?) });
    }
    match term.strip_prefix('!') {
        Some(key) => Some(Term { key: key_of(key)?, test: Test::Absent }),
        None => Some(Term { key: key_of(term)?, test: Test::Exists }),
    }
}

fn key_of(text: &str) -> Option<String> {
    let key = text.trim();
    let is_bad = |letter: char| letter.is_whitespace() || "=!,()".contains(letter);
    (!key.is_empty() && !key.contains(is_bad)).then(|| key.to_owned())
}

fn value_of(text: &str) -> Option<String> {
    let value = text.trim();
    (!value.contains(['=', '!', ',', '(', ')'])).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_term_must_hold() {
        let labels = [("rack", "a1"), ("tier", "web"), ("empty", "")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let cases = [
            ("", true),
            ("rack", true),
            ("row", false),
            ("!row", true),
            ("!rack", false),
            ("rack=a1", true),
            ("rack == a1", true),
            ("rack=a2", false),
            ("empty=", true),
            ("rack!=a2", true),
            ("rack!=a1", false),
            ("row!=1", true),
            ("row=", false),
            ("tier in (web, mail)", true),
            ("tier in (mail)", false),
            ("tier notin (mail,dns)", true),
            ("row notin (1)", true),
            ("rack=a1,tier in (web,mail), !row", true),
            ("rack=a1,tier in (dns,mail),!row", false),
        ];
        for (text, expected) in cases {
            let selector: Selector = text.parse().expect(text);
            assert_eq!(selector.takes(&labels), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for text in [
            "a,,b",
            "=a",
            "a=b=c",
            "a in b",
            "a of (b)",
            "in (a)",
            "a b",
            "a=(b)",
            "a in ((b)",
            "!",
            "a=b,",
        ] {
            let error = text.parse::<Selector>().expect_err(text);
            assert!(matches!(error, SelectorError::Term { .. }), "{text}: {error}");
        }
        let told = "rack==".repeat(1000).parse::<Selector>().map_err(|error| error.to_string());
        assert_eq!(told, Err("6000 bytes: a selector has at most 4096".to_owned()));
        let told = ["a"; 65].join(",").parse::<Selector>().map_err(|error| error.to_string());
        assert_eq!(told, Err("65 terms: a selector has at most 64".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_is_a_selector_or_an_error(text in ".{0,60}|([a-z]|in|notin|[=!,() ]){0,20}") {
            let _ = text.parse::<Selector>();
        }
    }
}
