//! Manifests: resources as people write them, in YAML or JSON.
//!
//! The API's descriptors are the only list of fields. Every mistake of every file is told, at its line, before
//! anything is sent; what the server refuses is mapped back to lines too. Start reading at [`read`].

mod check;
mod decode;
mod scalar;
mod tree;
mod write;

use std::collections::BTreeMap;
use std::fmt;

use fulcrum_proto::v1;

pub(crate) use check::check;
pub(crate) use decode::{descriptor, kinds, read};
pub(crate) use scalar::enum_word;
pub(crate) use write::{empty_spec, kind_of, kind_word, resource_to_node};

/// A place in a file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// One resource, with the places of its fields.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// As the file was given on the command line; `-` for standard input.
    pub(crate) file: String,
    pub(crate) resource: v1::Resource,
    /// Places of values by field path (`spec.members[0].weight`); the document's own under the empty path.
    places: BTreeMap<String, Position>,
    /// Paths that are wrong already, so that nothing more is said about them.
    refused: Vec<String>,
    /// Paths that unknown fields probably stand for.
    meant: Vec<String>,
}

/// Whether a path is another one or lies below it; everything lies below the empty one.
fn is_within(inner: &str, outer: &str) -> bool {
    outer.is_empty()
        || inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl Manifest {
    /// Where a field is, or the nearest thing around it.
    pub(crate) fn place(&self, field: &str) -> Position {
        let mut path = field;
        loop {
            if let Some(position) = self.places.get(path) {
                return *position;
            }
            path = path.rfind(['.', '[']).map_or("", |end| &path[..end]);
        }
    }

    /// Whether a mistake in this field, around it or below it has been told.
    fn is_refused(&self, field: &str) -> bool {
        let is_refused =
            self.refused.iter().any(|path| is_within(field, path) || is_within(path, field));
        // What was given under its right name too is judged by that.
        let is_meant = |path: &String| !self.places.contains_key(path) && is_within(field, path);
        is_refused || self.meant.iter().any(is_meant)
    }

    /// Whether what is wrong with it leaves untouched what rules across resources look at.
    fn is_fit_for_rules(&self) -> bool {
        const APART: [&str; 8] = [
            "labels",
            "spec.advert_interval",
            "spec.auth_pass",
            "spec.check",
            "spec.description",
            "spec.persistence_timeout",
            "spec.probe",
            "spec.scheduler",
        ];
        self.refused.iter().all(|path| APART.iter().any(|apart| is_within(path, apart)))
    }

    /// Its name, for people.
    pub(crate) fn name(&self) -> &str {
        self.resource.metadata.as_ref().map_or("", |metadata| &metadata.name)
    }
}

/// A mistake, shown as `file:line:column: field: value: remedy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    pub(crate) file: String,
    pub(crate) at: Position,
    /// Empty for what concerns the whole document.
    pub(crate) field: String,
    /// The value found, a colon, and the remedy.
    pub(crate) description: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at: Position { line, column }, field, description } = self;
        let separator = if field.is_empty() { "" } else { ": " };
        write!(f, "{file}:{line}:{column}: {field}{separator}{description}")
    }
}

/// Maps a path of a request, `resources[3].spec.port`, to its manifest and the path in it.
pub(crate) fn locate<'a, 'p>(
    manifests: &'a [Manifest],
    path: &'p str,
) -> Option<(&'a Manifest, &'p str)> {
    let rest = path.strip_prefix("resources[")?;
    let (index, field) = rest.split_once(']')?;
    let manifest = manifests.get(index.parse::<usize>().ok()?)?;
    Some((manifest, field.strip_prefix('.').unwrap_or(field)))
}

/// What the server refused, at its line where it is one of ours.
pub(crate) fn mistake(
    manifests: &[Manifest],
    field: &str,
    description: &str,
) -> Result<Mistake, String> {
    let Some((manifest, field)) = locate(manifests, field) else {
        return Err(format!("{field}: {description}"));
    };
    Ok(Mistake {
        file: manifest.file.clone(),
        at: manifest.place(field),
        field: field.to_owned(),
        description: description.to_owned(),
    })
}

#[cfg(test)]
mod tests;
