//! The program's monotonic clock, as durations since it started: what the deciding code calls `now`.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Counts from the program's start and never steps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts counting.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The instant for tokio's timers.
    pub fn at(&self, now: Duration) -> Instant {
        self.start.checked_add(now).unwrap_or_else(|| self.start + FAR)
    }

    /// The wall clock's time of a moment that has passed, as the wall clock stands now.
    pub fn wall(&self, moment: Duration) -> SystemTime {
        self.reading().wall(moment)
    }

    /// Both clocks, read once for many moments.
    pub fn reading(&self) -> Reading {
        Reading { now: self.now(), wall: SystemTime::now() }
    }
}

/// What both clocks said.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    now: Duration,
    wall: SystemTime,
}

impl Reading {
    /// The wall clock's time of a moment that has passed.
    pub fn wall(&self, moment: Duration) -> SystemTime {
        let ago = self.now.saturating_sub(moment);
        self.wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Stands for moments beyond the reach of the clock: a year.
const FAR: Duration = Duration::from_hours(24 * 365);
