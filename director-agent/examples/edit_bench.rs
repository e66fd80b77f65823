//! What one edit among 110,000 entries costs a director: from the update of its plan to the requests that the kernel is sent.
//!
//! `cargo run --release --workspace --example edit_bench` prints one JSON line for each kind of edit: milliseconds, the median of
//! some. What the kernel then takes is told by the lab's `ipvs-scale`, what comes before by the controller's `plan_bench`.

#[path = "../tests/large/mod.rs"]
mod large;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fulcrum_director::decide::arp::ArpLatch;
use fulcrum_director::decide::book::{PlanBook, Taken};
use fulcrum_director::decide::check::{CheckKey, CheckNews};
use fulcrum_director::decide::wanted::Wanted;
use fulcrum_director::decide::weights::Decider;
use fulcrum_ipvs::codec::{self, Acknowledge};
use fulcrum_ipvs::{Ownership, Reconciler, Table};
use fulcrum_model::Name;
use fulcrum_model::fuse::{OwnProbe, Tries};
use fulcrum_proto::v1;
use fulcrum_session::PlanCache;

/// Edits of each kind.
const EDITS: u32 = 11;
/// As the driver asks for.
const BURST: usize = 1500;
/// Any number of a family does.
const FAMILY: u16 = 32;

fn main() -> Result<()> {
    let mut director = Director::new();
    let began = Instant::now();
    director.take(&large::plan())?;
    director.answer_all()?;
    tell("the whole table", &mut [began.elapsed()], director.entries());
    let mut revision = 1;
    let mut next = || {
        revision += 1;
        revision
    };
    let of = large::VIRTUAL_SERVERS;
    director.measure("one virtual server more", |round| {
        large::update(next(), [large::server(of + round, 1)])
    })?;
    director.measure("one weight changed", |round| {
        large::update(next(), [large::server(0, round % 2 + 2)])
    })?;
    director.measure("a weight changed for all", |round| {
        large::update(next(), (0..of).map(|number| large::server(number, round % 2 + 2)))
    })
}

/// All between the stream of plans and the socket.
struct Director {
    book: PlanBook,
    decider: Decider,
    wanted: Wanted,
    reconciler: Reconciler,
    now: Duration,
    begun: Vec<CheckKey>,
    request: Vec<u8>,
}

impl Director {
    fn new() -> Self {
        Self {
            book: PlanBook::new(PlanCache::empty(Path::new("plan"))),
            decider: Decider::new(ArpLatch::default()),
            wanted: Wanted::default(),
            reconciler: Reconciler::new(
                &Ownership::default(),
                BTreeSet::default(),
                Table::default(),
                Duration::from_mins(15),
            ),
            now: Duration::ZERO,
            begun: Vec::new(),
            request: Vec::new(),
        }
    }

    fn entries(&self) -> usize {
        self.reconciler.held().entries()
    }

    /// Takes an update, and answers with the number of operations that it made.
    fn take(&mut self, update: &v1::PlanUpdate) -> Result<usize> {
        self.now += Duration::from_secs(1);
        let Ok(Taken::New(order)) = self.book.offer(update) else { bail!("the plan is refused") };
        let (effect, reindexed) =
            self.decider.change_plan(self.now, &order.changed, &order.removed, |_, _| None);
        self.begun.extend(reindexed.begun);
        Ok(self.program(&effect.weights))
    }

    /// Every check that has begun passes.
    fn answer_all(&mut self) -> Result<()> {
        let passed = |key| CheckNews { key, probe: OwnProbe::Passing, tries: Tries::default() };
        let begun = std::mem::take(&mut self.begun);
        let effect = self.decider.probes(self.now, begun.into_iter().map(passed));
        self.program(&effect.weights);
        let wanted = self.wanted.table().entries();
        if self.entries() == wanted { Ok(()) } else { bail!("{wanted} entries are wanted") }
    }

    fn program(&mut self, names: &BTreeSet<Name>) -> usize {
        self.wanted.put(&self.decider, names);
        let table = Arc::new(self.wanted.table().clone());
        self.reconciler.want(table, self.wanted.allowances().clone());
        let mut work = self.reconciler.plan(self.now);
        let (mut made, mut operations) = (0, Vec::new());
        loop {
            self.reconciler.take(&mut work, BURST, &mut operations);
            if operations.is_empty() {
                return made;
            }
            self.request.clear();
            for operation in &operations {
                codec::request(&mut self.request, (FAMILY, 1), operation, Acknowledge::No);
            }
            made += operations.len();
            self.reconciler.all_done(&operations);
        }
    }

    fn measure(&mut self, kind: &str, mut edit: impl FnMut(u32) -> v1::PlanUpdate) -> Result<()> {
        let (mut times, mut operations) = (Vec::new(), None);
        for round in 0..EDITS {
            let update = edit(round);
            let began = Instant::now();
            operations = Some(self.take(&update)?);
            times.push(began.elapsed());
        }
        tell(kind, &mut times, operations.context("no edit was made")?);
        Ok(())
    }
}

fn tell(kind: &str, times: &mut [Duration], operations: usize) {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    println!("{{\"edit\":\"{kind}\",\"took_ms\":{middle:.2},\"operations\":{operations}}}");
}
