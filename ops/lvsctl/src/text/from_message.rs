//! Any message of the API as a node, led by its descriptor: enumerations as words, durations as `6s`, time stamps as
//! RFC 3339, resources as manifests.

use fulcrum_proto::convert::duration_to_text;
use fulcrum_proto::v1;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use super::Node;
use crate::manifest::{descriptor, enum_word, kind_word, resource_to_node};

/// What becomes of fields that hold zero, nothing or no element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    /// Written, so that a program finds every field. Messages that are absent are not.
    Shown,
    /// Left out, as a person does.
    LeftOut,
}

/// A message for programs, with all of its fields; `name` is its full name.
pub(crate) fn message_to_node(name: &str, message: &impl Message) -> Node {
    to_node(&dynamic(name, message), Zeros::Shown)
}

/// A spec for its manifest, with the fields that say something; `name` is its full name.
pub(crate) fn spec_to_node(name: &str, spec: &impl Message) -> Node {
    to_node(&dynamic(name, spec), Zeros::LeftOut)
}

fn dynamic(name: &str, message: &impl Message) -> DynamicMessage {
    let mut dynamic = DynamicMessage::new(descriptor(name));
    dynamic.transcode_from(message).expect("the name is that of the message");
    dynamic
}

fn to_node(message: &DynamicMessage, zeros: Zeros) -> Node {
    match message.descriptor().full_name() {
        "google.protobuf.Duration" => {
            let duration: prost_types::Duration = transcode(message);
            match std::time::Duration::try_from(duration) {
                Ok(duration) => Node::Text(duration_to_text(duration)),
                Err(error) => Node::Text(error.to_string()),
            }
        }
        "google.protobuf.Timestamp" => {
            Node::Text(transcode::<prost_types::Timestamp>(message).to_string())
        }
        "fulcrum.v1.Resource" => resource_to_node(&transcode::<v1::Resource>(message)),
        _ => {
            let fields = message.descriptor();
            let fields = fields.fields().filter(|field| {
                let is_zero_shown = zeros == Zeros::Shown && !field.supports_presence();
                message.has_field(field) || is_zero_shown
            });
            let entries = fields.map(|field| {
                (field.name().to_owned(), value_to_node(&field, &message.get_field(&field), zeros))
            });
            Node::Map(entries.collect())
        }
    }
}

fn transcode<T: Message + Default>(message: &DynamicMessage) -> T {
    message.transcode_to().expect("the full name was compared")
}

fn value_to_node(field: &FieldDescriptor, value: &Value, zeros: Zeros) -> Node {
    match value {
        Value::Bool(value) => Node::Plain(value.to_string()),
        Value::I32(value) => Node::Plain(value.to_string()),
        Value::I64(value) => Node::Plain(value.to_string()),
        Value::U32(value) => Node::Plain(value.to_string()),
        Value::U64(value) => Node::Plain(value.to_string()),
        Value::F32(value) => Node::Plain(value.to_string()),
        Value::F64(value) => Node::Plain(value.to_string()),
        Value::String(value) => Node::text(value),
        Value::Bytes(value) => Node::Text(String::from_utf8_lossy(value).into_owned()),
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(descriptor) if descriptor.full_name() == "fulcrum.v1.Kind" => {
                Node::text(kind_word(v1::Kind::try_from(*number).unwrap_or_default()))
            }
            Kind::Enum(descriptor) => match descriptor.get_value(*number) {
                Some(value) => Node::Text(enum_word(&value)),
                // A newer server's word.
                None => Node::Plain(number.to_string()),
            },
            _ => Node::Plain(number.to_string()),
        },
        Value::Message(message) => to_node(message, zeros),
        Value::List(values) => {
            Node::List(values.iter().map(|value| value_to_node(field, value, zeros)).collect())
        }
        Value::Map(entries) => {
            let mut entries: Vec<(String, Node)> = entries
                .iter()
                .map(|(key, value)| (map_key(key), value_to_node(&map_value(field), value, zeros)))
                .collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Node::Map(entries)
        }
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn map_value(field: &FieldDescriptor) -> FieldDescriptor {
    match field.kind() {
        Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field(),
        _ => field.clone(),
    }
}
