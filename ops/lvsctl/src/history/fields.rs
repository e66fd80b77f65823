//! What differs between two manifests, field by field.

use std::collections::BTreeMap;

use crate::text::Node;

/// A line for each field that differs: `-path: value` as it was, `+path: value` as it became. Fields keep their order, and those
/// that every resource has without saying anything new (kind, name, revision) are left out.
pub(crate) fn differences(before: Option<Node>, after: Option<Node>) -> Vec<String> {
    let (before, after) = (flat(before), flat(after));
    let value = |fields: &[(String, String)]| -> BTreeMap<String, String> {
        fields.iter().cloned().collect()
    };
    let (was, is) = (value(&before), value(&after));
    let mut lines = Vec::new();
    for (path, old) in &before {
        if is.get(path) != Some(old) {
            lines.push(format!("-{path}: {old}"));
            lines.extend(is.get(path).map(|new| format!("+{path}: {new}")));
        }
    }
    let new = after.iter().filter(|(path, _)| !was.contains_key(path));
    lines.extend(new.map(|(path, new)| format!("+{path}: {new}")));
    lines
}

fn flat(node: Option<Node>) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    if let Some(node) = node {
        flatten("", &node, &mut fields);
    }
    fields.retain(|(path, _)| !["kind", "name", "revision"].contains(&path.as_str()));
    fields
}

fn flatten(path: &str, node: &Node, fields: &mut Vec<(String, String)>) {
    match node {
        Node::Plain(text) | Node::Text(text) => fields.push((path.to_owned(), text.clone())),
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), item, fields);
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, fields);
            }
        }
    }
}
