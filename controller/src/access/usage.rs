//! How much each caller uses: calls a second, and calls that are open at once. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What a caller may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Calls a second, in the long run.
    pub per_second: f64,
    /// Calls at once after a rest.
    pub burst: f64,
    /// Calls that are not over, streams and answers that are not taken among them: each may hold an answer in memory.
    pub open: u32,
}

/// With an identity: many times what a person or a pipeline does, and a small part of what a controller can.
pub const NAMED: Allowance = Allowance { per_second: 500.0, burst: 1000.0, open: 64 };
/// Without a certificate: enough to join and to ask for health, too little to try secrets out.
pub const NOBODY: Allowance = Allowance { per_second: 5.0, burst: 50.0, open: 32 };

/// Accounts are looked through for idle ones when there are this many more than were left the last time.
const SWEEP_AFTER: usize = 10_000;

/// One caller's account.
#[derive(Debug)]
struct Account {
    tokens: f64,
    at: Instant,
    open: u32,
}

/// Why a call is not let in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Too many lately.
    #[error("too many calls: wait a second")]
    Rate,
    /// Too many open.
    #[error("{0} calls are open already: end some, or take their answers")]
    Open(u32),
}

/// Everybody's accounts.
#[derive(Debug, Default)]
pub struct Usage {
    accounts: HashMap<String, Account>,
    sweep_at: usize,
}

impl Usage {
    /// Begins a call of `caller`. [`Self::end`] must follow.
    ///
    /// # Errors
    /// [`Exceeded`]; then nothing has begun.
    pub fn begin(
        &mut self,
        caller: &str,
        allowance: Allowance,
        now: Instant,
    ) -> Result<(), Exceeded> {
        self.sweep(now);
        let account = self.accounts.entry(caller.to_owned()).or_insert_with(|| Account {
            tokens: allowance.burst,
            at: now,
            open: 0,
        });
        let rested = now.saturating_duration_since(account.at).as_secs_f64();
        account.tokens = (account.tokens + rested * allowance.per_second).min(allowance.burst);
        account.at = now;
        if account.tokens < 1.0 {
            return Err(Exceeded::Rate);
        }
        if account.open >= allowance.open {
            return Err(Exceeded::Open(account.open));
        }
        account.tokens -= 1.0;
        account.open += 1;
        Ok(())
    }

    /// Ends a call that began.
    pub fn end(&mut self, caller: &str) {
        if let Some(account) = self.accounts.get_mut(caller) {
            account.open = account.open.saturating_sub(1);
        }
    }

    /// Forgets who has not called for so long that its account is as new, now and then.
    fn sweep(&mut self, now: Instant) {
        if self.accounts.len() < self.sweep_at.max(SWEEP_AFTER) {
            return;
        }
        let rested = Duration::from_secs_f64(NOBODY.burst / NOBODY.per_second);
        let is_idle = |account: &Account| {
            account.open == 0 && now.saturating_duration_since(account.at) >= rested
        };
        self.accounts.retain(|_, account| !is_idle(account));
        self.sweep_at = self.accounts.len() + SWEEP_AFTER;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Allowance = Allowance { per_second: 2.0, burst: 3.0, open: 2 };

    #[test]
    fn calls_are_let_in_by_rate_and_number() {
        let (mut usage, start) = (Usage::default(), Instant::now());
        let begin = |usage: &mut Usage, caller: &str, after_ms: u64| {
            usage.begin(caller, SMALL, start + Duration::from_millis(after_ms))
        };
        assert_eq!(begin(&mut usage, "a", 0), Ok(()));
        assert_eq!(begin(&mut usage, "a", 0), Ok(()));
        assert_eq!(begin(&mut usage, "a", 0), Err(Exceeded::Open(2)));
        // Others are not concerned.
        assert_eq!(begin(&mut usage, "b", 0), Ok(()));
        usage.end("a");
        assert_eq!(begin(&mut usage, "a", 0), Ok(()));
        usage.end("a");
        assert_eq!(begin(&mut usage, "a", 100), Err(Exceeded::Rate));
        assert_eq!(begin(&mut usage, "a", 600), Ok(()));
        usage.end("a");
        // A long rest gives the burst, and no more.
        for _ in 0..3 {
            assert_eq!(begin(&mut usage, "a", 60_000), Ok(()));
            usage.end("a");
        }
        assert_eq!(begin(&mut usage, "a", 60_000), Err(Exceeded::Rate));
    }

    #[test]
    fn who_is_idle_is_forgotten() {
        let (mut usage, start) = (Usage::default(), Instant::now());
        for caller in 0..SWEEP_AFTER {
            let name = caller.to_string();
            usage.begin(&name, SMALL, start).expect("it is let in");
            if caller % 2 == 0 {
                usage.end(&name);
            }
        }
        usage.begin("late", SMALL, start + Duration::from_mins(1)).expect("it is let in");
        assert_eq!(usage.accounts.len(), SWEEP_AFTER / 2 + 1);
    }
}
