//! Configuration files, in TOML.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It does not say what it should.
    #[error("{path}:{line}: {message} (in `{text}`)", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// That line, trimmed.
        text: String,
        /// What is wrong, with a suggestion where one is near.
        message: String,
    },
}

/// Reads a file as `T`. Give `T` `#[serde(deny_unknown_fields)]`, so that a misspelt field is an error with a suggestion.
///
/// # Errors
/// [`ConfigError`] names the file, the line and the field.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        ConfigError::Content {
            path: path.to_owned(),
            line,
            text: text.lines().nth(line - 1).unwrap_or_default().trim().to_owned(),
            message: with_suggestion(error.message()),
        }
    })
}

/// serde says: unknown field `a`, expected one of `b`, `c`. Names the nearest of them.
fn with_suggestion(message: &str) -> String {
    let message = message.trim_end().replace('\n', "; ");
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return message;
    }
    let Some(found) = quoted.next() else { return message };
    let nearest = quoted
        .map(|candidate| (strsim::damerau_levenshtein(found, candidate), candidate))
        .min()
        // Farther than half the word is another word, not a slip.
        .filter(|(distance, _)| *distance <= found.chars().count().div_ceil(2));
    match nearest {
        Some((_, candidate)) => format!("{message}; did you mean `{candidate}`?"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its parsing matters")]
    struct Example {
        name: String,
        controllers: Vec<String>,
        #[serde(default)]
        heartbeat_ms: u32,
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let cases = [
            ("name = \"d1\"\ncontrollers = []\n", None),
            (
                "name = \"d1\"\ncontrolers = []\n",
                Some(
                    "d.toml:2: unknown field `controlers`, expected one of `name`, `controllers`, \
                      `heartbeat_ms`; did you mean `controllers`? (in `controlers = []`)",
                ),
            ),
            ("name = \"d1\"\n", Some("missing field `controllers`")),
            ("name = 7\ncontrollers = []\n", Some("d.toml:1: invalid type: integer `7`")),
            ("name = \"d1\"\ncontrollers = [\n", Some("d.toml:")),
            (
                "name = \"d\"\ncontrollers = []\nheartbeat_ms = \"x\"\n",
                Some("(in `heartbeat_ms = \"x\"`)"),
            ),
        ];
        for (text, expected) in cases {
            let found = parse::<Example>(Path::new("d.toml"), text).err().map(|e| e.to_string());
            match expected {
                None => assert_eq!(found, None),
                Some(part) => {
                    assert!(found.as_deref().is_some_and(|e| e.contains(part)), "{found:?}");
                }
            }
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Example>(Path::new("/nowhere/d.toml")).expect_err("there is none");
        assert!(error.to_string().contains("/nowhere/d.toml"), "{error}");
    }
}
