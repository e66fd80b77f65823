//! Messages as text for programs: the same spelling as manifests, in JSON or YAML.

mod from_message;
mod json;
mod yaml;

use std::fmt::Write as _;

pub(crate) use from_message::{message_to_node, spec_to_node};
pub(crate) use json::{to_json, to_json_line};
pub(crate) use yaml::to_yaml;

/// A value as both JSON and YAML have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A number or truth value, as it is written.
    Plain(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in this order.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// A text.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Text in double quotes, as JSON and YAML both read it: JSON's escapes, and those of what YAML calls a line break or not
/// printable (YAML 1.2.2 §5.1, §5.4), all of it below U+10000.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            other => quoted.push(other),
        }
    }
    quoted
}

#[cfg(test)]
mod tests;
