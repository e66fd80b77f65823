//! Messages as text for programs: the same spelling as manifests, in JSON or YAML.

mod from_message;
mod json;
mod yaml;

pub(crate) use from_message::message_to_node;
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

/// Text in double quotes, as JSON and YAML both read it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
