//! Field masks: some fields of a resource from one that is given, the others as they are. Pure.
//!
//! The API's descriptors are the only list of fields. Paths are those of google.protobuf.FieldMask, with two additions: `spec` stands
//! for the field that holds the spec (`virtual_server`), and a label is named by its key (`metadata.labels.rack`), as in AIP-161.

use std::sync::LazyLock;

use fulcrum_proto::convert::FieldViolation;
use fulcrum_proto::{FILE_DESCRIPTOR_SET, v1};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage as _, Value,
};

use super::errors;

/// Most paths of a mask, as the API documents.
const MAX_PATHS: usize = 256;
/// Longest path that an error repeats, in characters.
const SHOWN: usize = 100;

static RESOURCE: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build made them");
    pool.get_message_by_name("fulcrum.v1.Resource").expect("the API has this message")
});

/// `current` with what the paths name of `given`, which is of the same kind and name. No path: what `given` holds; `*`: all.
///
/// # Errors
/// Every path that names no field that can be changed.
pub fn merge(
    current: &v1::Resource,
    given: &v1::Resource,
    paths: &[String],
) -> Result<v1::Resource, Vec<FieldViolation>> {
    if paths.len() > MAX_PATHS {
        let text = format!("{} paths: name at most {MAX_PATHS}, or * for all", paths.len());
        return Err(vec![errors::violation("update_mask", text)]);
    }
    if paths.iter().any(|path| path == "*") {
        if paths.len() > 1 {
            let text = "\"*\": it stands for all, so name no path beside it";
            return Err(vec![errors::violation("update_mask", text)]);
        }
        return Ok(given.clone());
    }
    let (mut merged, given) = (dynamic(current), dynamic(given));
    let Some(spec) = spec_field(&given) else {
        return Err(vec![errors::violation("resource.spec", "none: set the spec of its kind")]);
    };
    let named: Result<Vec<_>, _> = match paths {
        [] => Ok(populated(&given, &spec)),
        paths => read(paths, &spec),
    };
    let mut faults = Vec::new();
    for path in named? {
        if let Err(fault) = copy(&mut merged, Some(&given), &path) {
            faults.push(violation(&path.join("."), &fault));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    merged.transcode_to().map_err(|error| vec![violation("", &error.to_string())])
}

fn dynamic(resource: &v1::Resource) -> DynamicMessage {
    let bytes = resource.encode_to_vec();
    DynamicMessage::decode(RESOURCE.clone(), &bytes[..]).expect("it was just encoded")
}

/// The field that holds the spec.
fn spec_field(resource: &DynamicMessage) -> Option<FieldDescriptor> {
    let mut fields = RESOURCE.fields().filter(|field| field.containing_oneof().is_some());
    fields.find(|field| resource.has_field(field))
}

/// What is given: each field of the spec as a whole, and the labels.
fn populated(given: &DynamicMessage, spec: &FieldDescriptor) -> Vec<Vec<String>> {
    let value = given.get_field(spec);
    let fields = value.as_message().into_iter().flat_map(|message| {
        let fields: Vec<_> = message.fields().map(|(field, _)| field.name().to_owned()).collect();
        fields
    });
    let fields = fields.map(|field| vec![spec.name().to_owned(), field]);
    let labels = ["metadata", "labels"].map(str::to_owned).to_vec();
    let metadata = RESOURCE.get_field_by_name("metadata");
    let metadata = metadata.map(|field| given.get_field(&field));
    let has_labels = metadata.as_ref().and_then(|value| value.as_message()).is_some_and(|it| {
        it.descriptor().get_field_by_name("labels").is_some_and(|field| it.has_field(&field))
    });
    fields.chain(has_labels.then_some(labels)).collect()
}

/// The paths as segments from Resource, without those that only the controllers set.
fn read(paths: &[String], spec: &FieldDescriptor) -> Result<Vec<Vec<String>>, Vec<FieldViolation>> {
    let (mut named, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        let mut segments = match segments(path) {
            Ok(segments) => segments,
            Err(fault) => {
                faults.push(violation(path, fault));
                continue;
            }
        };
        let is_other_spec = RESOURCE
            .get_field_by_name(&segments[0])
            .is_some_and(|field| field.containing_oneof().is_some() && field != *spec);
        let words: Vec<&str> = segments.iter().map(String::as_str).collect();
        match words[..] {
            ["metadata"] => named.push(vec!["metadata".to_owned(), "labels".to_owned()]),
            ["metadata", "name", ..] => {
                faults.push(violation(path, "a name is not changed: create another resource"));
            }
            ["metadata", "revision" | "etag"] => {}
            ["spec", ..] => {
                spec.name().clone_into(&mut segments[0]);
                named.push(segments);
            }
            _ if is_other_spec => {
                let text = format!("the resource has {}: name fields of that", spec.name());
                faults.push(violation(path, &text));
            }
            _ => named.push(segments),
        }
    }
    if faults.is_empty() { Ok(named) } else { Err(faults) }
}

/// `a.b.c` in parts; one in backticks may hold dots.
fn segments(path: &str) -> Result<Vec<String>, &'static str> {
    let mut segments = Vec::new();
    let mut rest = path;
    loop {
        let (segment, after) = match rest.strip_prefix('`') {
            Some(quoted) => quoted.split_once('`').ok_or("close the backtick")?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if segment.is_empty() {
            return Err("write field.field, without an empty part");
        }
        segments.push(segment.to_owned());
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(segments),
            None => return Err("put a dot after the backtick"),
        }
    }
}

/// Makes the field at a path what it is in `source`, or clears it where it is not there.
fn copy(
    target: &mut DynamicMessage,
    source: Option<&DynamicMessage>,
    path: &[String],
) -> Result<(), String> {
    let Some((name, rest)) = path.split_first() else { return Ok(()) };
    let descriptor = target.descriptor();
    let field = descriptor.get_field_by_name(name).ok_or_else(|| {
        let known: Vec<String> = descriptor.fields().map(|field| field.name().to_owned()).collect();
        format!("{} has no field {name:?}; it has {}", descriptor.name(), known.join(", "))
    })?;
    let given = source.filter(|source| source.has_field(&field));
    let given = given.map(|source| source.get_field(&field).into_owned());
    if rest.is_empty() {
        match given {
            Some(value) => target.set_field(&field, value),
            None => target.clear_field(&field),
        }
        return Ok(());
    }
    if field.is_map() {
        return copy_entry(target, given.as_ref(), &field, rest);
    }
    match field.kind() {
        Kind::Message(_) if field.is_list() => {
            Err(format!("{name} is a list: it is changed as a whole"))
        }
        Kind::Message(message) => {
            let given = given.as_ref().and_then(Value::as_message);
            if given.is_none() && !target.has_field(&field) {
                // Nothing is there to be cleared, but the path must name something.
                return copy(&mut DynamicMessage::new(message), None, rest);
            }
            match target.get_field_mut(&field) {
                Value::Message(inner) => copy(inner, given, rest),
                _ => Err(format!("{name} has no fields")),
            }
        }
        _ => Err(format!("{name} has no fields")),
    }
}

fn copy_entry(
    target: &mut DynamicMessage,
    given: Option<&Value>,
    field: &FieldDescriptor,
    key: &[String],
) -> Result<(), String> {
    let name = field.name();
    let is_by_text = |entry: &MessageDescriptor| entry.map_entry_key_field().kind() == Kind::String;
    if !matches!(field.kind(), Kind::Message(entry) if is_by_text(&entry)) {
        return Err(format!("{name} is changed as a whole"));
    }
    let ([key], Value::Map(entries)) = (key, target.get_field_mut(field)) else {
        return Err(format!("name one key of {name}, in backticks where it has a dot"));
    };
    let key = MapKey::String(key.clone());
    match given.and_then(Value::as_map).and_then(|given| given.get(&key)) {
        Some(value) => entries.insert(key, value.clone()),
        None => entries.remove(&key),
    };
    Ok(())
}

fn violation(path: &str, fault: &str) -> FieldViolation {
    let shown: String = path.chars().take(SHOWN).collect();
    errors::violation("update_mask", format!("{shown:?}: {fault}"))
}

#[cfg(test)]
mod tests;
