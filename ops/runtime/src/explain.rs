//! What a program prints when it cannot go on.

use std::error::Error;

/// An error with its causes, outermost first, joined by colons. A cause whose words the text already holds is not said again.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn nothing_is_said_twice() {
        let disk = Layer("disk full", None);
        let save = Layer("save: disk full", Some(Box::new(disk)));
        assert_eq!(explain(&Layer("apply", Some(Box::new(save)))), "apply: save: disk full");
    }
}
