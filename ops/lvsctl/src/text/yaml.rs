//! YAML.

use super::{Node, quoted};

/// A document, ending with a newline.
pub(crate) fn to_yaml(node: &Node) -> String {
    let mut text = String::new();
    match node {
        Node::Map(entries) if !entries.is_empty() => write_map(entries, 0, &mut text),
        Node::List(items) if !items.is_empty() => write_list(items, 0, &mut text),
        Node::Plain(_) | Node::Text(_) | Node::List(_) | Node::Map(_) => {
            text.push_str(&inline(node));
            text.push('\n');
        }
    }
    text
}

fn write_map(entries: &[(String, Node)], depth: usize, text: &mut String) {
    for (index, (key, value)) in entries.iter().enumerate() {
        // The first entry of a list's item stands behind its dash.
        if index > 0 || !text.ends_with("- ") {
            indent(depth, text);
        }
        text.push_str(&scalar(key));
        text.push(':');
        match value {
            Node::Map(entries) if !entries.is_empty() => {
                text.push('\n');
                write_map(entries, depth + 1, text);
            }
            Node::List(items) if !items.is_empty() => {
                text.push('\n');
                write_list(items, depth, text);
            }
            Node::Plain(_) | Node::Text(_) | Node::List(_) | Node::Map(_) => {
                text.push(' ');
                text.push_str(&inline(value));
                text.push('\n');
            }
        }
    }
}

fn write_list(items: &[Node], depth: usize, text: &mut String) {
    for item in items {
        indent(depth, text);
        text.push_str("- ");
        match item {
            Node::Map(entries) if !entries.is_empty() => write_map(entries, depth + 1, text),
            // No message of ours holds lists of lists; written inline they are right all the same.
            Node::Plain(_) | Node::Text(_) | Node::List(_) | Node::Map(_) => {
                text.push_str(&inline(item));
                text.push('\n');
            }
        }
    }
}

fn inline(node: &Node) -> String {
    match node {
        Node::Plain(plain) => plain.clone(),
        Node::Text(text) => scalar(text),
        // JSON is YAML too.
        Node::List(_) | Node::Map(_) => super::to_json_line(node),
    }
}

fn indent(depth: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("  ", depth));
}

/// Words that a reader of YAML might take for something else than text (YAML 1.1 has many).
const RESERVED: [&str; 12] =
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n", ".inf", ".nan", "~"];

/// A text without quotes where every reader takes it for a text, in double quotes otherwise.
fn scalar(text: &str) -> String {
    let is_safe_char = |c: char| c.is_alphanumeric() || " _./:@+-%,;()'".contains(c);
    // Numbers of every base, times and dates.
    let is_number =
        text.trim_start_matches(['+', '-', '.']).starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_hexdigit() || "+-._:xoXOTZ".contains(c))
            && !text.chars().filter(|c| *c == '.').count().gt(&1);
    let is_plain = text.starts_with(|c: char| c.is_alphanumeric() || c == '/')
        && !text.ends_with([' ', ':'])
        && text.chars().all(is_safe_char)
        && !text.contains(": ")
        && !is_number
        && !RESERVED.contains(&text.to_lowercase().as_str());
    if is_plain { text.to_owned() } else { quoted(text) }
}
