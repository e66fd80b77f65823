//! Progress for people, on standard error, with the seconds since the program began.

use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Seconds since the first call.
pub(crate) fn elapsed_s() -> f64 {
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Prints one line of progress.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => {
        eprintln!("[{:8.3}] {}", $crate::say::elapsed_s(), format_args!($($part)*))
    };
}
