//! Plans and evidence on their way to the kernel.

use std::collections::BTreeSet;
use std::time::Duration;

use fulcrum_ipvs::Table;
use fulcrum_ipvs::plan::{destination_key, virtual_server_key};
use fulcrum_model::fuse::QuorumState;
use fulcrum_model::plan::{DestinationPlan, VirtualServerPlan};
use fulcrum_model::{Evidence, Name, Weight};
use fulcrum_proto::v1;
use fulcrum_runtime::trace::{self, set_parent, traceparent};
use fulcrum_session::PlanCache;
use tokio::time::Instant;
use tracing::Instrument;

use super::follow::{self, Programmed};
use super::{Agent, latch};
use crate::decide::arp::ArpLatch;
use crate::decide::book::{Order, Taken};
use crate::decide::check::Via;
use crate::decide::decided::{Change, Changes, Turn, TurnKind};
use crate::findings::Wanted;
use crate::ipvs::{Answers, Desired, HostSettings};
use crate::memory;
use crate::state_dir::StateDir;

/// Objects of a plan whose change leaves memory behind that is worth giving back.
const MANY_CHANGED: usize = 256;

/// How long the first table of a large plan waits for the next answer of its checks, and how long for all of them while they come
/// in; and the time between two looks at those that came.
const NEXT_ANSWER: Duration = Duration::from_millis(500);
const ALL_ANSWERS: Duration = Duration::from_secs(2);
const LOOK_AT_ANSWERS_EVERY: Duration = Duration::from_millis(100);

/// Virtual servers of a plan that are not handed to the IPVS driver yet.
pub(super) struct Held {
    names: BTreeSet<Name>,
    /// Then they are, unless more answers come in.
    pub(super) until: Duration,
    /// Then they are, whatever is known.
    at_last: Duration,
    span: tracing::Span,
}

impl Agent {
    /// Runs on the plan on disk at once, with no controller.
    pub(super) fn adopt_saved_plan(&mut self) {
        match self.plans.open_saved() {
            Ok(Some(order)) => {
                let revision = order.version.revision;
                let span = tracing::info_span!("plan.apply", director = %self.name, revision, saved = true);
                let version = order.version.clone();
                self.put_in_force(order, &span);
                self.follow(version, std::future::ready(()), &span);
            }
            Ok(None) => tracing::info!("no saved plan: waiting for a controller"),
            Err(reason) => tracing::error!(reason, "the saved plan is left aside"),
        }
    }

    /// Takes a plan of a controller, or refuses it with a reason.
    pub(super) fn plan_update(&mut self, update: &v1::PlanUpdate) {
        let revision = update.version.as_ref().map_or(0, |version| version.revision);
        self.has_spare_memory |= update.objects.len() >= MANY_CHANGED;
        let span = tracing::info_span!("plan.apply", director = %self.name, revision);
        set_parent(&span, &update.traceparent);
        if span.in_scope(|| self.hold_plan(update)) {
            return;
        }
        let taken = span.in_scope(|| self.plans.offer(update));
        self.taken(taken, &span);
    }

    /// Puts in force what the book has taken, or answers why it has not.
    pub(super) fn taken(&mut self, taken: Result<Taken, v1::PlanAck>, span: &tracing::Span) {
        let version = match taken {
            Ok(Taken::New(order)) => {
                let version = order.version.clone();
                self.put_in_force(order, span);
                version
            }
            Ok(Taken::Same(version)) => version,
            Err(ack) => {
                let revision = ack.version.as_ref().map_or(0, |version| version.revision);
                span.in_scope(|| tracing::error!(revision, reason = ack.reason, "plan refused"));
                self.session.ack(ack);
                self.pacer.changed();
                return;
            }
        };
        let saved = self.plan_saver.save(self.plans.told());
        self.follow(version, saved, span);
    }

    fn put_in_force(&mut self, order: Order, span: &tracing::Span) {
        let now = self.clock.now();
        let Order { version, changed, removed, instances, ipvs } = order;
        self.has_spare_memory |= changed.len() + removed.len() >= MANY_CHANGED;
        let synchronises = instances.values().any(|plan| plan.options.connection_sync.is_some());
        let (mut effect, reindexed) = {
            let seen = self.ipvs_seen.borrow();
            let adopted = |server: &VirtualServerPlan, destination: &DestinationPlan| {
                kernel_weight(&seen.table, server, destination)
            };
            self.decider.change_plan(now, &changed, &removed, adopted)
        };
        let answers = self.answers();
        self.ipvs.set_settings(HostSettings { ordered: ipvs, synchronises, answers });
        for via in reindexed.ended.iter().filter_map(|key| key.via) {
            self.wanted.remove_path(via);
        }
        let has_checks_begun = !reindexed.begun.is_empty();
        self.checks.change(reindexed.begun, &reindexed.ended);
        for old in &reindexed.replaced {
            self.wanted.remove(&old.listen);
        }
        let names = std::mem::take(&mut effect.weights);
        self.effect.merge(effect);
        if changed.len() >= MANY_CHANGED && has_checks_begun {
            self.hold(now, names, span);
        } else {
            span.in_scope(|| self.program(names));
        }
        // Before VRRP has the plan, so that nothing waits for first tries longer than it must.
        self.tracker.apply(&instances);
        self.sync.apply(&instances);
        self.looks_for.send_replace(Wanted::new(self.decider.servers(), &instances));
        self.own_work.put_in_force(now, self.generation, version.revision, &instances);
        self.cut_off.put_in_force(&instances);
        self.gate.hold(now, self.generation, instances);
        if self.local_orders.frozen().is_some() {
            // Started while frozen: what the kernel holds is what serves, and VRRP waits for nothing else.
            self.gate.programmed(self.generation);
        }
    }

    /// Real servers whose answers to checks through VIPs the kernel would drop while we hold the VIPs.
    fn answers(&self) -> BTreeSet<Answers> {
        let answers = self.decider.paths().all().filter_map(|key| {
            let via = key.via.filter(Via::is_answered_by_vip)?;
            via.vip.is_ipv4().then_some(Answers { rip: key.rip, source: key.check.source })
        });
        answers.collect()
    }

    /// Follows the newest table into the kernel on behalf of a plan, in place of the plan before.
    pub(super) fn follow(
        &mut self,
        version: v1::PlanVersion,
        saved: impl Future<Output = ()> + Send + 'static,
        span: &tracing::Span,
    ) {
        self.hello.send_replace(Some(version.clone()));
        let ipvs = self.ipvs.clone();
        let following = follow::plan(ipvs, self.generation, version, saved, self.results.clone());
        let following = tokio::spawn(following.instrument(span.clone()));
        if let Some(before) = self.following.replace(following) {
            before.abort();
        }
        self.pacer.changed();
    }

    /// The kernel has a plan's table, or refuses a part of it.
    pub(super) fn programmed(&mut self, programmed: Programmed) {
        let Programmed { generation, version, refused } = programmed;
        let revision = version.revision;
        self.own_work.programmed(generation, refused.as_deref());
        match &refused {
            None => {
                self.gate.programmed(generation);
                tracing::info!(revision, "plan applied");
                if std::mem::take(&mut self.has_spare_memory) {
                    // It ends by itself.
                    drop(tokio::spawn(memory::give_back_soon()));
                }
            }
            Some(reason) => tracing::error!(revision, reason, "plan not applied whole"),
        }
        if let Some(ack) = self.plans.programmed(version, refused) {
            self.session.ack(ack);
        }
        self.pacer.changed();
    }

    /// Takes evidence, and follows it into the kernel where it changes a weight.
    pub(super) fn evidence(&mut self, now: Duration, wire: &v1::Evidence) {
        let received = Instant::now();
        let evidence = match Evidence::try_from(wire) {
            Ok(evidence) => evidence,
            Err(error) => {
                tracing::warn!(agent = wire.agent, %error, "evidence refused");
                return;
            }
        };
        let span =
            tracing::info_span!("evidence.apply", director = %self.name, agent = %evidence.agent);
        let mut effect = self.decider.evidence(now, evidence);
        let weights = std::mem::take(&mut effect.weights);
        let changes = std::mem::take(&mut effect.changes);
        self.effect.merge(effect);
        if weights.is_empty() {
            return;
        }
        set_parent(&span, &wire.traceparent);
        span.in_scope(|| {
            self.program(weights);
            log_changes(&changes);
        });
        let ipvs = self.ipvs.clone();
        follow::evidence(ipvs, self.generation, received, self.metrics.clone(), span);
    }

    /// Lets a large plan wait for its checks, which most often answer within milliseconds: otherwise each entry would be
    /// written twice, first with weight 0. Until then nobody serves it either way.
    fn hold(&mut self, now: Duration, mut names: BTreeSet<Name>, span: &tracing::Span) {
        let mut at_last = now + ALL_ANSWERS;
        if let Some(before) = self.held.take() {
            names.extend(before.names);
            at_last = at_last.min(before.at_last);
        }
        let until = at_last.min(now + NEXT_ANSWER);
        self.gap.hold(now + LOOK_AT_ANSWERS_EVERY);
        // Whoever waits for the plan waits for what is programmed then.
        self.generation += 1;
        self.held = Some(Held { names, until, at_last, span: span.clone() });
    }

    /// Programs what the inputs since the last time ask for, and what was held, unless that waits for more.
    pub(super) fn program_effect(
        &mut self,
        now: Duration,
        weights: BTreeSet<Name>,
        changes: &Changes,
    ) {
        let is_settled = self.held.is_some() && self.decider.is_settled();
        if let Some(held) = &mut self.held
            && now < held.until
            && !is_settled
            && !changes.touches_service
        {
            if !weights.is_empty() {
                held.names.extend(weights);
                held.until = held.at_last.min(now + NEXT_ANSWER);
                self.gap.hold(now + LOOK_AT_ANSWERS_EVERY);
            }
        } else if self.held.is_some() || !weights.is_empty() {
            self.program(weights);
        }
    }

    /// Writes the weights of these virtual servers, and of those that were held, into the wanted table and hands it to the IPVS
    /// driver.
    pub(super) fn program(&mut self, mut names: BTreeSet<Name>) {
        let began = self.clock.now();
        let mut traceparent = traceparent();
        if let Some(held) = self.held.take() {
            names.extend(held.names);
            traceparent = held.span.in_scope(trace::traceparent);
        }
        self.wanted.put(&self.decider, &names);
        self.generation += 1;
        self.ipvs.set_desired(Desired {
            generation: self.generation,
            revision: self.plans.in_force().map_or(0, |version| version.revision),
            table: self.wanted.table().clone(),
            allowances: self.wanted.allowances().clone(),
            traceparent,
        });
        let now = self.clock.now();
        self.gap.took(now, now.saturating_sub(began));
    }
}

/// Logs weights that changed, with the strongest reason.
pub(super) fn log_changes(changes: &Changes) {
    for Change { virtual_server, real_server, before, after, reasons } in &changes.told {
        let reason = reasons.first().map(String::as_str).unwrap_or_default();
        tracing::info!(%virtual_server, %real_server, %before, %after, reason, "weight changed");
    }
    if let more @ 1.. = changes.count - changes.told.len() {
        tracing::info!(more, "weights changed besides");
    }
}

/// Turns that are logged one by one; of a whole rack the rest is counted.
const LOGGED_TURNS: usize = 20;

/// Logs what began or ended for pools.
pub(super) fn log_turns(turns: &[Turn]) {
    for Turn { virtual_server, kind } in turns.iter().take(LOGGED_TURNS) {
        match kind {
            TurnKind::QuorumLost(QuorumState { in_rotation, needed, .. }) => {
                tracing::warn!(%virtual_server, in_rotation, needed, "quorum lost");
            }
            TurnKind::QuorumMet(QuorumState { in_rotation, .. }) => {
                tracing::info!(%virtual_server, in_rotation, "quorum met again");
            }
            TurnKind::SorryServerBegins(real_server) => {
                tracing::warn!(%virtual_server, %real_server, "the sorry server serves");
            }
            TurnKind::SorryServerEnds(real_server) => {
                tracing::info!(%virtual_server, %real_server, "the sorry server serves no longer");
            }
            TurnKind::DrainBegins(real_server, order) => {
                tracing::info!(%virtual_server, %real_server, order, "drain begins");
            }
            TurnKind::DrainEnds(real_server) => {
                tracing::info!(%virtual_server, %real_server, "drain ends");
            }
        }
    }
    if let Some(more @ 1..) = turns.len().checked_sub(LOGGED_TURNS) {
        tracing::info!(more, "quorums and drains changed besides");
    }
}

/// The weight that the kernel holds. What another program set beyond our range counts as our greatest.
fn kernel_weight(
    table: &Table,
    server: &VirtualServerPlan,
    destination: &DestinationPlan,
) -> Option<Weight> {
    let name = destination_key(&server.listen, destination);
    let held = table.destination(&virtual_server_key(&server.listen), &name)?;
    let weight = held.settings.weight;
    Weight::new(u64::from(weight.min(u32::from(u16::MAX)))).ok()
}

/// The plan on disk; none where it cannot be used.
pub(super) fn saved_plan(state_dir: &StateDir) -> PlanCache {
    PlanCache::open(&state_dir.plan()).unwrap_or_else(|error| {
        tracing::error!(%error, "starting without a plan");
        PlanCache::empty(&state_dir.plan())
    })
}

/// The latch on disk; an empty one where it cannot be used.
pub(super) fn saved_latch(state_dir: &StateDir) -> ArpLatch {
    latch::load(&state_dir.latch()).unwrap_or_else(|error| {
        tracing::error!(%error, "real servers in dr wait for their agents' next report");
        ArpLatch::default()
    })
}
