//! Single values: from the text of a manifest, and back to it.

use fulcrum_proto::convert::{duration_from_text, duration_to_wire};
use prost_reflect::{EnumDescriptor, EnumValueDescriptor, Kind, Value};

use super::tree::Tree;
use super::tree::Value as TreeValue;
use crate::suggest::suggest;

/// A value of this kind, which is no message, or the remedy.
pub(super) fn value(kind: &Kind, tree: &Tree) -> Result<Value, String> {
    let TreeValue::Scalar { text, quoted } = &tree.value else {
        return Err(format!("write {}", expected(kind)));
    };
    if tree.is_null() {
        return Err(format!("write {}, or leave the field out", expected(kind)));
    }
    let number_text = || {
        if *quoted { Err("a number has no quotes; take them away".to_owned()) } else { Ok(text) }
    };
    match kind {
        Kind::String => Ok(Value::String(text.clone())),
        Kind::Bool => match text.as_str() {
            "true" if !quoted => Ok(Value::Bool(true)),
            "false" if !quoted => Ok(Value::Bool(false)),
            _ => Err("write true or false".to_owned()),
        },
        Kind::Uint32 | Kind::Fixed32 => {
            number_text()?.parse().map(Value::U32).map_err(|_| range(0, u32::MAX.into()))
        }
        Kind::Uint64 | Kind::Fixed64 => {
            number_text()?.parse().map(Value::U64).map_err(|_| range(0, u64::MAX))
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            number_text()?.parse().map(Value::I32).map_err(|_| "write a whole number".to_owned())
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            number_text()?.parse().map(Value::I64).map_err(|_| "write a whole number".to_owned())
        }
        Kind::Float => {
            number_text()?.parse().map(Value::F32).map_err(|_| "write a number".to_owned())
        }
        Kind::Double => {
            number_text()?.parse().map(Value::F64).map_err(|_| "write a number".to_owned())
        }
        Kind::Enum(descriptor) => enum_value(descriptor, text),
        Kind::Bytes | Kind::Message(_) => Err("this field is not for manifests".to_owned()),
    }
}

/// What a kind is written as.
fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::String => "a text",
        Kind::Bool => "true or false",
        Kind::Enum(_) => "one of its words",
        Kind::Bytes => "bytes",
        Kind::Message(_) => "a mapping",
        Kind::Double | Kind::Float => "a number",
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64 => "a whole number",
    }
}

fn range(least: u64, most: u64) -> String {
    format!("write a whole number from {least} to {most}")
}

fn enum_value(descriptor: &EnumDescriptor, text: &str) -> Result<Value, String> {
    // The first value says that none is given: it is left out instead.
    let words: Vec<(String, i32)> = descriptor
        .values()
        .filter(|value| value.number() != 0)
        .map(|value| (enum_word(&value), value.number()))
        .collect();
    if let Some((_, number)) = words.iter().find(|(word, _)| word == text) {
        return Ok(Value::EnumNumber(*number));
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
    Err(match suggest(text, names.iter().copied()) {
        Some(word) => format!("did you mean {word}? It is one of {}", names.join(", ")),
        None => format!("use one of {}", names.join(", ")),
    })
}

/// As manifests spell it: lower case, without the prefix that protobuf wants. `PROTOCOL_TCP` is `tcp`.
pub(crate) fn enum_word(value: &EnumValueDescriptor) -> String {
    let mut prefix = String::new();
    for (index, letter) in value.parent_enum().name().char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            prefix.push('_');
        }
        prefix.push(letter.to_ascii_uppercase());
    }
    prefix.push('_');
    value.name().strip_prefix(&prefix).unwrap_or(value.name()).to_lowercase()
}

/// A `google.protobuf.Duration`, or the remedy.
pub(super) fn duration(tree: &Tree) -> Result<prost_types::Duration, String> {
    let remedy = || "write a number with its unit of ms, s, m or h, such as 6s or 100ms".to_owned();
    let TreeValue::Scalar { text, .. } = &tree.value else { return Err(remedy()) };
    duration_from_text(text).map(duration_to_wire).ok_or_else(remedy)
}
