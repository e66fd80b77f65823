//! YAML (and so JSON) as a tree in which everything has its place.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::Position;

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `quoted` text is never a number, a truth value or nothing.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Tree>),
    /// In the order of the text; a key may stand there twice.
    Map(Vec<(Key, Tree)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: Position,
    pub(crate) text: String,
}

/// The text is no YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) at: Position,
    pub(crate) remedy: String,
}

impl Tree {
    /// An unquoted nothing: empty, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, quoted: false } => matches!(text.as_str(), "" | "~" | "null"),
            Value::Scalar { quoted: true, .. } | Value::List(_) | Value::Map(_) => false,
        }
    }

    /// For people: a scalar's text, or what else it is.
    pub(crate) fn told(&self) -> String {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, quoted: true } => format!("{text:?}"),
            Value::Scalar { text, quoted: false } => text.clone(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// The documents of a text, without empty ones.
pub(crate) fn parse(text: &str) -> Result<Vec<Tree>, SyntaxError> {
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(syntax_error)?;
        let at = position(&span.start);
        let complete = match event {
            Event::Scalar(text, style, 0, None) => {
                let quoted = style != ScalarStyle::Plain;
                Some(Tree { at, value: Value::Scalar { text: text.into_owned(), quoted } })
            }
            Event::SequenceStart(0, None) => {
                open.push(Open::List(at, Vec::new()));
                None
            }
            Event::MappingStart(0, None) => {
                open.push(Open::Map(at, Vec::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(Open::close),
            Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::MappingStart(..) => {
                let remedy = "anchors, aliases and tags are not supported; write the value out";
                return Err(SyntaxError { at, remedy: remedy.to_owned() });
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => None,
        };
        if let Some(tree) = complete {
            match open.last_mut() {
                Some(parent) => parent.take(tree)?,
                None => documents.push(tree),
            }
        }
    }
    documents.retain(|document| !document.is_null());
    Ok(documents)
}

/// A list or mapping that is being read.
enum Open {
    List(Position, Vec<Tree>),
    Map(Position, Vec<(Key, Tree)>, Option<Key>),
}

impl Open {
    fn close(self) -> Tree {
        match self {
            Self::List(at, items) => Tree { at, value: Value::List(items) },
            Self::Map(at, entries, _) => Tree { at, value: Value::Map(entries) },
        }
    }

    fn take(&mut self, tree: Tree) -> Result<(), SyntaxError> {
        match self {
            Self::List(_, items) => items.push(tree),
            Self::Map(_, entries, key) => match (key.take(), tree.value) {
                (Some(key), value) => entries.push((key, Tree { at: tree.at, value })),
                (None, Value::Scalar { text, .. }) => *key = Some(Key { at: tree.at, text }),
                (None, Value::List(_) | Value::Map(_)) => {
                    let remedy = "a key is a word; quote it if it holds brackets".to_owned();
                    return Err(SyntaxError { at: tree.at, remedy });
                }
            },
        }
        Ok(())
    }
}

fn syntax_error(error: ScanError) -> SyntaxError {
    let remedy = format!("this is no YAML: {}", error.info());
    SyntaxError { at: position(error.marker()), remedy }
}

fn position(marker: &Marker) -> Position {
    // saphyr counts columns from 0.
    Position { line: marker.line(), column: marker.col() + 1 }
}
