//! From a text to resources, led by the API's descriptors.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fulcrum_proto::v1;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use super::tree::Value as TreeValue;
use super::tree::{self, Key, Tree};
use super::{Manifest, Mistake, Position, scalar};
use crate::suggest::suggest;

/// Every message and enumeration of the API.
pub(crate) static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(fulcrum_proto::FILE_DESCRIPTOR_SET).expect("the build checked it")
});

/// A message's descriptor by its full name.
pub(crate) fn descriptor(name: &str) -> MessageDescriptor {
    DESCRIPTORS.get_message_by_name(name).expect("the API has this message")
}

/// The kinds of resources with the field of `fulcrum.v1.Resource` that holds each one's spec.
pub(crate) fn kinds() -> Vec<(String, FieldDescriptor)> {
    descriptor("fulcrum.v1.Resource")
        .fields()
        .filter(|field| field.containing_oneof().is_some())
        .filter_map(|field| match field.kind() {
            Kind::Message(message) => Some((message.name().to_owned(), field)),
            _ => None,
        })
        .collect()
}

/// Fields of a document beside its spec.
const TOP: [&str; 5] = ["kind", "name", "labels", "revision", "spec"];

/// Reads the documents of one file, with all that is wrong in it.
pub(crate) fn read(file: &str, text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Manifest> {
    let documents = match tree::parse(text) {
        Ok(documents) => documents,
        Err(error) => {
            mistakes.push(Mistake {
                file: file.to_owned(),
                at: error.at,
                field: String::new(),
                description: error.remedy,
            });
            return Vec::new();
        }
    };
    let mut manifests = Vec::new();
    for document in documents {
        match document.value {
            // A JSON file may hold a list of manifests.
            TreeValue::List(items) => {
                manifests.extend(items.iter().map(|item| manifest(file, item, mistakes)));
            }
            TreeValue::Map(_) | TreeValue::Scalar { .. } => {
                manifests.push(manifest(file, &document, mistakes));
            }
        }
    }
    manifests
}

fn manifest(file: &str, document: &Tree, mistakes: &mut Vec<Mistake>) -> Manifest {
    let mut decoder =
        Decoder { file, mistakes, places: BTreeMap::new(), refused: Vec::new(), meant: Vec::new() };
    decoder.places.insert(String::new(), document.at);
    let resource = decoder.resource(document);
    let Decoder { places, refused, meant, .. } = decoder;
    Manifest { file: file.to_owned(), resource, places, refused, meant }
}

struct Decoder<'a> {
    file: &'a str,
    mistakes: &'a mut Vec<Mistake>,
    places: BTreeMap<String, Position>,
    refused: Vec<String>,
    meant: Vec<String>,
}

impl Decoder<'_> {
    fn refuse(&mut self, path: &str, at: Position, found: &str, remedy: &str) {
        self.refused.push(path.to_owned());
        self.mistakes.push(Mistake {
            file: self.file.to_owned(),
            at,
            field: path.to_owned(),
            description: format!("{found}: {remedy}"),
        });
    }

    /// The entries of a mapping, each key once; `None` after a note when it is none.
    fn entries<'t>(&mut self, tree: &'t Tree, path: &str) -> Option<Vec<(&'t Key, &'t Tree)>> {
        let TreeValue::Map(entries) = &tree.value else {
            let remedy = if tree.is_null() {
                "write its fields below it, or {} for none"
            } else {
                "write a mapping of its fields"
            };
            self.refuse(path, tree.at, &tree.told(), remedy);
            return None;
        };
        let mut seen: BTreeMap<&str, Position> = BTreeMap::new();
        let mut once = Vec::new();
        for (key, value) in entries {
            if let Some(first) = seen.get(key.text.as_str()) {
                let remedy = format!("stands in line {} already; keep one", first.line);
                self.refuse(&join(path, &key.text), key.at, &value.told(), &remedy);
                continue;
            }
            seen.insert(&key.text, key.at);
            once.push((key, value));
        }
        Some(once)
    }

    fn resource(&mut self, document: &Tree) -> v1::Resource {
        let mut metadata = v1::Metadata::default();
        let mut kind = None;
        let mut spec = None;
        for (key, value) in self.entries(document, "").unwrap_or_default() {
            let path = key.text.as_str();
            self.places.insert(path.to_owned(), value.at);
            match path {
                "kind" => kind = Some(value),
                "spec" => spec = Some(value),
                "name" => metadata.name = self.text(value, path),
                "labels" => metadata.labels = self.labels(value, path),
                // Output only: what `get` prints may be applied as it is.
                "revision" => {}
                _ => self.unknown_field(path, "", (key, value), &TOP),
            }
        }
        let spec = self.kind(kind, document.at).and_then(|field| self.spec(&field, spec));
        v1::Resource { metadata: Some(metadata), spec }
    }

    fn text(&mut self, tree: &Tree, path: &str) -> String {
        match scalar::value(&Kind::String, tree) {
            Ok(Value::String(text)) => text,
            Ok(_) => String::new(),
            Err(remedy) => {
                self.refuse(path, tree.at, &tree.told(), &remedy);
                String::new()
            }
        }
    }

    fn labels(&mut self, tree: &Tree, path: &str) -> BTreeMap<String, String> {
        let entries = self.entries(tree, path).unwrap_or_default();
        entries
            .into_iter()
            .map(|(key, value)| (key.text.clone(), self.text(value, &join(path, &key.text))))
            .collect()
    }

    /// The field of the API's resource that this kind's spec goes to.
    fn kind(&mut self, tree: Option<&Tree>, document: Position) -> Option<FieldDescriptor> {
        let kinds = kinds();
        let names: Vec<&str> = kinds.iter().map(|(name, _)| name.as_str()).collect();
        let one_of = format!("one of {}", names.join(", "));
        let Some(tree) = tree else {
            if !self.refused.iter().any(String::is_empty) {
                self.refuse("kind", document, "none", &format!("write {one_of}"));
            }
            return None;
        };
        let text = self.text(tree, "kind");
        let known = kinds.iter().find(|(name, _)| *name == text);
        if known.is_none() && !text.is_empty() {
            let remedy = match suggest(&text, names.iter().copied()) {
                Some(name) => format!("did you mean {name}? It is {one_of}"),
                None => format!("write {one_of}"),
            };
            self.refuse("kind", tree.at, &tree.told(), &remedy);
        }
        known.map(|(_, field)| field.clone())
    }

    fn spec(&mut self, field: &FieldDescriptor, tree: Option<&Tree>) -> Option<v1::resource::Spec> {
        let Kind::Message(descriptor) = field.kind() else { return None };
        let message = match tree {
            Some(tree) => self.message(&descriptor, tree, "spec"),
            None => DynamicMessage::new(descriptor),
        };
        let mut resource = DynamicMessage::new(self::descriptor("fulcrum.v1.Resource"));
        resource.set_field(field, Value::Message(message));
        let resource: v1::Resource =
            resource.transcode_to().expect("generated code and descriptors are of one build");
        resource.spec
    }

    /// A message with all of its fields that can be read.
    fn message(
        &mut self,
        descriptor: &MessageDescriptor,
        tree: &Tree,
        path: &str,
    ) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for (key, value) in self.entries(tree, path).unwrap_or_default() {
            let field_path = join(path, &key.text);
            let Some(field) = descriptor.get_field_by_name(&key.text) else {
                let known: Vec<String> =
                    descriptor.fields().map(|field| field.name().to_owned()).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                self.unknown_field(&field_path, path, (key, value), &known);
                continue;
            };
            self.places.insert(field_path.clone(), value.at);
            let other = field.containing_oneof().and_then(|oneof| {
                oneof.fields().find(|other| other != &field && message.has_field(other))
            });
            if let Some(other) = other {
                let remedy = format!("{} is given too; keep one of them", other.name());
                self.refuse(&field_path, key.at, &value.told(), &remedy);
                continue;
            }
            // A word that is none stays none: its default must not be judged in its place.
            let unknown_word = || {
                (matches!(field.kind(), Kind::Enum(_)) && !field.is_list())
                    .then_some(Value::EnumNumber(i32::MAX))
            };
            if let Some(value) = self.field(&field, value, &field_path).or_else(unknown_word) {
                message.set_field(&field, value);
            }
        }
        message
    }

    fn unknown_field(
        &mut self,
        path: &str,
        parent: &str,
        (key, value): (&Key, &Tree),
        known: &[&str],
    ) {
        let suggestion = suggest(&key.text, known.iter().copied());
        let remedy = match suggestion {
            Some(name) => format!("unknown field; did you mean {name}?"),
            None if known.is_empty() => "unknown field; none belong here".to_owned(),
            None => format!("unknown field; known are {}", known.join(", ")),
        };
        self.refuse(path, key.at, &value.told(), &remedy);
        // So that the field that was meant is not reported as missing.
        self.meant.extend(suggestion.map(|name| join(parent, name)));
    }

    /// `None` after a note.
    fn field(&mut self, field: &FieldDescriptor, tree: &Tree, path: &str) -> Option<Value> {
        if field.is_map() {
            let labels = self.labels(tree, path);
            let entries = labels
                .into_iter()
                .map(|(key, value)| (MapKey::String(key), Value::String(value)))
                .collect();
            return Some(Value::Map(entries));
        }
        if !field.is_list() {
            return self.single(&field.kind(), tree, path);
        }
        let TreeValue::List(items) = &tree.value else {
            let remedy = "write a list: [a, b], or a line with - for each";
            self.refuse(path, tree.at, &tree.told(), remedy);
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.places.insert(path.clone(), item.at);
            // A place is kept for one that cannot be read, so that the others keep their numbers.
            let default = || Value::default_value(&field.kind());
            values.push(self.single(&field.kind(), item, &path).unwrap_or_else(default));
        }
        Some(Value::List(values))
    }

    fn single(&mut self, kind: &Kind, tree: &Tree, path: &str) -> Option<Value> {
        let read = match kind {
            Kind::Message(message) if message.full_name() == "google.protobuf.Duration" => {
                scalar::duration(tree).map(|duration| {
                    let mut dynamic = DynamicMessage::new(message.clone());
                    dynamic.transcode_from(&duration).expect("both are the same message");
                    Value::Message(dynamic)
                })
            }
            Kind::Message(message) => Ok(Value::Message(self.message(message, tree, path))),
            other => scalar::value(other, tree),
        };
        read.map_err(|remedy| self.refuse(path, tree.at, &tree.told(), &remedy)).ok()
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}
