//! Who claims the VIP by adverts, counted for as long as it is watched.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::net::routers::{Heard, RouterEars};
use crate::net::topology::DIRECTORS;

/// How long the ears wait before they look whether to stop.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Adverts by which each router claimed the VIP.
    pub(crate) adverts: [usize; 2],
    /// How often the second router began to claim it.
    pub(crate) failovers: usize,
    /// Time between each two of the first router's: at most some ten thousand in a scenario.
    gaps: Vec<Duration>,
    last: Option<Instant>,
    is_second_active: bool,
}

/// Counts until stopped or dropped.
#[derive(Debug)]
pub(crate) struct ClaimWatch {
    shared: Arc<Mutex<Claims>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Claims {
    fn count(&mut self, heard: &Heard) {
        if heard.advert.priority == 0 {
            return;
        }
        self.adverts[heard.router] += 1;
        let is_second = heard.router == 1;
        self.failovers += usize::from(is_second && !self.is_second_active);
        self.is_second_active = is_second;
        if heard.router == 0 {
            self.gaps.extend(self.last.map(|last| heard.at.duration_since(last)));
            self.last = Some(heard.at);
        }
    }

    /// Longest time between two adverts of the first router.
    pub(crate) fn longest_gap(&self) -> Duration {
        self.gaps.iter().max().copied().unwrap_or_default()
    }

    /// How much longer than `interval` was the time between two adverts that 999 of 1,000 do not exceed.
    pub(crate) fn late_p999(&self, interval: Duration) -> Duration {
        let mut gaps = self.gaps.clone();
        gaps.sort();
        // The smallest value that at least 99.9 % of all do not exceed.
        let rank = (gaps.len() * 999).div_ceil(1_000);
        let gap = rank.checked_sub(1).and_then(|index| gaps.get(index)).copied();
        gap.unwrap_or_default().saturating_sub(interval)
    }
}

impl ClaimWatch {
    /// Begins at both directors' ports.
    pub(crate) fn start() -> Result<Self> {
        let ears = RouterEars::at(&DIRECTORS)?;
        ears.forget()?;
        let shared = Arc::new(Mutex::new(Claims::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&shared), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Some(heard) = ears.next(LOOK_UP_EVERY)? {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).count(&heard);
                }
            }
            Ok(())
        });
        Ok(Self { shared, stop, thread: Some(thread) })
    }

    /// Ends it; answers with what was heard.
    pub(crate) fn stop(mut self) -> Result<Claims> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow!("the watch of adverts panicked"))??;
        }
        Ok(self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Drop for ClaimWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A scenario that fails drops its watch; the scenario's own error matters more.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::mac::Mac;
    use crate::net::routers::RouterAdvert;

    #[test]
    fn gaps_are_of_the_first_router_alone() {
        let from = Instant::now();
        let mut claims = Claims::default();
        for (router, at_ms, priority) in
            [(0, 0, 100), (1, 50, 90), (1, 60, 90), (0, 100, 100), (0, 350, 100), (1, 900, 0)]
        {
            let source = DIRECTORS[router].address.into();
            let advert = RouterAdvert { mac: Mac([0; 6]), source, version: 3, priority };
            claims.count(&Heard { at: from + Duration::from_millis(at_ms), router, advert });
        }
        assert_eq!((claims.adverts, claims.failovers), ([3, 2], 1));
        assert_eq!(claims.longest_gap(), Duration::from_millis(250));
        assert_eq!(claims.late_p999(Duration::from_millis(100)), Duration::from_millis(150));
    }

    #[test]
    fn one_of_a_thousand_may_be_later() {
        let interval = Duration::from_millis(10);
        let mut gaps = vec![interval + Duration::from_millis(1); 999];
        gaps.push(Duration::from_secs(1));
        let claims = Claims { gaps: gaps.clone(), ..Claims::default() };
        assert_eq!(claims.late_p999(interval), Duration::from_millis(1));
        gaps.push(Duration::from_secs(2));
        let claims = Claims { gaps, ..Claims::default() };
        assert_eq!(claims.late_p999(interval), Duration::from_millis(990));
        assert_eq!(Claims::default().late_p999(interval), Duration::ZERO);
    }
}
