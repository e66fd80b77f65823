//! The Backup's side of the exchange: one round at a time.
//!
//! ```text
//!   idle --start--> digest sent --Ask--> hashes sent --Report--> idle
//!                        └────────── Report, or too late ─────────▶ idle
//! ```

use std::time::Duration;

use super::digest::{Bucket, Digest, bucket_of};
use super::exchange::{BUCKETS_IN_FRAME, Body, Frame, HASHES_IN_FRAME, MAX_PARTS, Scope};
use super::gate::Measured;

/// A round that takes longer has lost a datagram, or nobody is there who answers.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Compares this director's connections with the Active's.
#[derive(Debug)]
pub struct Asker {
    scope: Scope,
    nonce: u32,
    round: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    began: Duration,
    hashes: Vec<u64>,
    asked: bool,
}

/// What an asker does about a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskStep {
    /// Nothing: it is none of ours, or late, or said before.
    Ignore,
    /// Send these.
    Send(Vec<Frame>),
    /// The round is over.
    Over(Measured),
}

impl Asker {
    /// `nonce` is random, so that no two Backups have the same.
    pub fn new(scope: Scope, nonce: u32) -> Self {
        Self { scope, nonce, round: 0, open: None }
    }

    /// Begins a round with what this director's table holds, and gives up one that is open.
    pub fn start(&mut self, now: Duration, hashes: Vec<u64>) -> Vec<Frame> {
        self.round = self.round.wrapping_add(1);
        let digest: Digest = hashes.iter().copied().collect();
        self.open = Some(Open { began: now, hashes, asked: false });
        let chunks = digest.buckets().chunks(BUCKETS_IN_FRAME);
        let firsts = (0..).step_by(BUCKETS_IN_FRAME);
        let frame = |(first, buckets): (u16, &[Bucket])| {
            self.frame(Body::Digest { first, buckets: buckets.to_vec() })
        };
        firsts.zip(chunks).map(frame).collect()
    }

    /// Whether a round is open that may still be answered.
    pub fn is_waiting(&self, now: Duration) -> bool {
        self.open.as_ref().is_some_and(|open| now.saturating_sub(open.began) < PATIENCE)
    }

    /// When the open round is given up.
    pub fn deadline(&self) -> Option<Duration> {
        self.open.as_ref().map(|open| open.began + PATIENCE)
    }

    /// Takes in a frame of the exchange.
    pub fn hear(&mut self, now: Duration, frame: &Frame) -> AskStep {
        let ours = (frame.scope, frame.nonce, frame.round) == (self.scope, self.nonce, self.round);
        if !ours || !self.is_waiting(now) {
            return AskStep::Ignore;
        }
        let Some(open) = &mut self.open else { return AskStep::Ignore };
        match &frame.body {
            Body::Ask(_) if open.asked => AskStep::Ignore,
            Body::Ask(buckets) => {
                open.asked = true;
                let asked = |hash: &u64| buckets.contains(bucket_of(*hash));
                let hashes: Vec<u64> = open.hashes.iter().copied().filter(asked).collect();
                AskStep::Send(self.tell(&hashes))
            }
            &Body::Report { missing, sent, compared } => {
                let began = open.began;
                self.open = None;
                AskStep::Over(Measured { began, at: now, missing, sent, compared })
            }
            // Another Backup's, or our own come back.
            Body::Digest { .. } | Body::Hashes { .. } => AskStep::Ignore,
        }
    }

    fn tell(&self, hashes: &[u64]) -> Vec<Frame> {
        let most = HASHES_IN_FRAME * usize::from(MAX_PARTS);
        let hashes = &hashes[..hashes.len().min(most)];
        let parts = u16::try_from(hashes.len().div_ceil(HASHES_IN_FRAME).max(1));
        let parts = parts.expect("at most 1619 parts are left");
        let frame = |part: u16| {
            let from = usize::from(part) * HASHES_IN_FRAME;
            let to = (from + HASHES_IN_FRAME).min(hashes.len());
            self.frame(Body::Hashes { part, parts, hashes: hashes[from..to].to_vec() })
        };
        (0..parts).map(frame).collect()
    }

    fn frame(&self, body: Body) -> Frame {
        Frame { scope: self.scope, nonce: self.nonce, round: self.round, body }
    }
}
