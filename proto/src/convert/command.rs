//! Programs that hosts offer, by name.

use super::fields::Fields;

/// Longest file name in bytes (`NAME_MAX` of linux/limits.h).
const MAX_PROGRAM_BYTES: usize = 255;
/// Most arguments, and their longest in bytes.
const MAX_ARGUMENTS: usize = 32;
const MAX_ARGUMENT_BYTES: usize = 1024;

/// A plain file name: the directory is the host's to choose.
pub(super) fn program(fields: &mut Fields<'_>, text: &str) -> Option<String> {
    let is_plain = |text: &str| {
        text.len() <= MAX_PROGRAM_BYTES
            && !text.starts_with('.')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+@".contains(c))
    };
    if text.is_empty() {
        return fields.accept(
            "program",
            None,
            "none",
            "name a file in the host's command directory",
        );
    }
    let program = Some(text.to_owned()).filter(|text| is_plain(text));
    let remedy = "write a plain file name of letters, digits and ._-+@, without a directory";
    fields.accept("program", program, format_args!("{text:?}"), remedy)
}

/// What it is given.
pub(super) fn arguments(fields: &mut Fields<'_>, wire: &[String]) -> Option<Vec<String>> {
    let mut are_well = true;
    if wire.len() > MAX_ARGUMENTS {
        let remedy = format_args!("use at most {MAX_ARGUMENTS} arguments");
        fields.refuse("arguments", wire.len(), remedy);
        are_well = false;
    }
    for (index, argument) in wire.iter().enumerate().take(MAX_ARGUMENTS) {
        if argument.len() > MAX_ARGUMENT_BYTES || argument.contains('\0') {
            let found = format_args!("{} bytes", argument.len());
            let remedy = "an argument has at most 1024 bytes, none of them zero";
            fields.refuse(&format!("arguments[{index}]"), found, remedy);
            are_well = false;
        }
    }
    are_well.then(|| wire.to_vec())
}
