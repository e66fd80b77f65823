//! Standard output that may be a pipe which nobody reads any more.

use std::io::{ErrorKind, Write};

use crate::exit::{Exit, Failure};

/// Prints a text as it is. A reader that has gone, such as `head`, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_part(text).map(|_| ())
}

/// Prints a part of a text; whether anybody still reads.
pub(crate) fn print_part(text: &str) -> Result<bool, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(Failure::new(Exit::Unhealthy, format!("cannot write to standard output: {error}")))
        }
    }
}
