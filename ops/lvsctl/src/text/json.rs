//! JSON.

use super::{Node, quoted};

/// On lines of their own, indented by two.
pub(crate) fn to_json(node: &Node) -> String {
    let mut text = String::new();
    write(node, 0, &mut text);
    text.push('\n');
    text
}

/// On one line.
pub(crate) fn to_json_line(node: &Node) -> String {
    match node {
        Node::Plain(plain) => plain.clone(),
        Node::Text(text) => quoted(text),
        Node::List(items) => {
            let items: Vec<String> = items.iter().map(to_json_line).collect();
            format!("[{}]", items.join(","))
        }
        Node::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}:{}", quoted(key), to_json_line(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

fn write(node: &Node, depth: usize, text: &mut String) {
    match node {
        Node::Plain(_) | Node::Text(_) => text.push_str(&to_json_line(node)),
        Node::List(items) if items.is_empty() => text.push_str("[]"),
        Node::Map(entries) if entries.is_empty() => text.push_str("{}"),
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                text.push(if index == 0 { '[' } else { ',' });
                new_line(depth + 1, text);
                write(item, depth + 1, text);
            }
            new_line(depth, text);
            text.push(']');
        }
        Node::Map(entries) => {
            for (index, (key, value)) in entries.iter().enumerate() {
                text.push(if index == 0 { '{' } else { ',' });
                new_line(depth + 1, text);
                text.push_str(&quoted(key));
                text.push_str(": ");
                write(value, depth + 1, text);
            }
            new_line(depth, text);
            text.push('}');
        }
    }
}

fn new_line(depth: usize, text: &mut String) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}
