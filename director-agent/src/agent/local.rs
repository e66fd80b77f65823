//! Orders that are given at this director itself.
//!
//! ```text
//!   freeze: plans are noted and not put in force, decisions go on, and the IPVS driver writes nothing but relays
//!   drain:  the decider gives weight 0, as for the plan's own orders
//! ```
//! An order is answered when the driver obeys it and the disk has it.

use std::time::Duration;

use fulcrum_model::local_order::MAX_DURATION;
use fulcrum_model::{LocalOrder, LocalRelease, LocalWish, Name};
use fulcrum_proto::convert::{freeze_to_wire, local_drain_to_wire, local_order_to_text};
use fulcrum_proto::v1;
use fulcrum_session::local_orders;
use tonic::Status;

use super::Agent;
use crate::decide::weights::Silenced;
use crate::local::{LocalRequest, Reply};

impl Agent {
    /// Puts the saved orders in force, before anything is decided or written.
    pub(super) fn adopt_local_orders(&mut self) {
        if let Some(order) = self.local_orders.frozen() {
            tracing::warn!(order = local_order_to_text(order), "still frozen: nothing is edited");
            self.ipvs.set_frozen(true);
        }
        let drains = self.local_orders.drains();
        self.effect.merge(self.decider.set_local_drains(self.clock.now(), drains));
    }

    pub(super) fn request(&mut self, request: LocalRequest) {
        match request {
            LocalRequest::Status(reply) => {
                // Whoever asked may be gone, here and below.
                let _ = reply.send(self.status());
            }
            LocalRequest::Freeze(wish, reply) => match self.freeze(&wish) {
                Ok(answer) => self.answer_when_done(reply, answer, |answer, warning| {
                    answer.warnings.extend(warning);
                }),
                Err(status) => drop(reply.send(Err(status))),
            },
            LocalRequest::Thaw(release, reply) => match self.thaw(&release) {
                Ok(answer) => self.answer_when_done(reply, answer, |_, _| {}),
                Err(status) => drop(reply.send(Err(status))),
            },
            LocalRequest::Drain(name, wish, reply) => match self.drain(&name, &wish) {
                Ok(answer) => self.answer_when_done(reply, answer, |answer, warning| {
                    answer.warnings.extend(warning);
                }),
                Err(status) => drop(reply.send(Err(status))),
            },
            LocalRequest::Undrain(name, release, reply) => match self.undrain(&name, &release) {
                Ok(answer) => self.answer_when_done(reply, answer, |_, _| {}),
                Err(status) => drop(reply.send(Err(status))),
            },
        }
    }

    fn freeze(&mut self, wish: &LocalWish) -> Result<v1::FreezeResponse, Status> {
        let was_frozen = self.local_orders.frozen().is_some();
        let order = self
            .local_orders
            .freeze(local_orders::now(), wish)
            .map_err(local_orders::refuse)?
            .clone();
        tracing::warn!(
            order = local_order_to_text(&order),
            "frozen: nothing is edited, and VRRP goes on"
        );
        if !was_frozen {
            self.ipvs.set_frozen(true);
            self.answer_for_unfinished_plan(&order);
        }
        let held_edits = self.held_edits();
        Ok(v1::FreezeResponse {
            frozen: Some(freeze_to_wire(&order, held_edits)),
            warnings: Vec::new(),
        })
    }

    fn thaw(&mut self, release: &LocalRelease) -> Result<v1::ThawResponse, Status> {
        let held_edits = self.held_edits();
        let ended = self.local_orders.thaw(release).map_err(local_orders::refuse)?;
        if let Some(order) = &ended {
            tracing::warn!(by = release.owner, was = local_order_to_text(order), "thawed");
            self.go_on();
        }
        Ok(v1::ThawResponse { ended: ended.map(|order| freeze_to_wire(&order, held_edits)) })
    }

    fn drain(&mut self, name: &Name, wish: &LocalWish) -> Result<v1::DrainLocallyResponse, Status> {
        self.local_orders.may_drain(name, wish).map_err(local_orders::refuse)?;
        let virtual_servers: Vec<String> =
            self.decider.virtual_servers_of(name).into_iter().map(Name::to_string).collect();
        if virtual_servers.is_empty() {
            return Err(Status::not_found(format!(
                "{name} is in no pool of this director: `lvsctl --socket` with `status` names those that are"
            )));
        }
        let (now, moment) = (self.clock.now(), local_orders::now());
        let before = self.local_orders.clone();
        let order =
            self.local_orders.drain(moment, name, wish).map_err(local_orders::refuse)?.clone();
        if !wish.force && !before.drains().contains_key(name) {
            let silenced = self.decider.silenced_by(now, name, &order);
            if !silenced.is_empty() {
                self.local_orders = before;
                return Err(Status::failed_precondition(would_silence(name, &silenced)));
            }
        }
        tracing::warn!(real_server = %name, order = local_order_to_text(&order), "drained locally");
        self.follow_drains();
        let sorry = self.decider.sorry_server_of(name);
        let sorry = sorry.into_iter().map(|of| format!("{name} stays the sorry server of {of}"));
        Ok(v1::DrainLocallyResponse {
            drain: Some(local_drain_to_wire(name, &order)),
            virtual_servers,
            warnings: sorry.collect(),
        })
    }

    fn undrain(
        &mut self,
        name: &Name,
        release: &LocalRelease,
    ) -> Result<v1::UndrainLocallyResponse, Status> {
        let ended = self.local_orders.undrain(name, release).map_err(local_orders::refuse)?;
        if ended.is_some() {
            tracing::warn!(real_server = %name, by = release.owner, "drained locally no longer");
            self.follow_drains();
        }
        Ok(v1::UndrainLocallyResponse {
            ended: ended.map(|order| local_drain_to_wire(name, &order)),
        })
    }

    /// Answers once the driver has what was ordered and the disk too. What the disk refuses stands until a restart.
    fn answer_when_done<T: Send + 'static>(
        &mut self,
        reply: Reply<Result<T, Status>>,
        mut answer: T,
        warn: impl FnOnce(&mut T, Option<String>) + Send + 'static,
    ) {
        let saved = self.local_orders_saver.save(self.local_orders.clone());
        self.pacer.changed();
        // Weights first: whoever drains waits for them in the kernel's table.
        self.flush_effect(self.clock.now());
        let (ipvs, generation) = (self.ipvs.clone(), self.generation);
        let is_frozen = self.local_orders.frozen().is_some();
        let fault = self.local_orders_saver.later_fault();
        tokio::spawn(async move {
            ipvs.froze().await;
            if !is_frozen {
                // What the kernel refuses is told by itself, in the status.
                let _ = tokio::time::timeout(IN_KERNEL, ipvs.converged(generation)).await;
            }
            saved.await;
            let warning = fault().map(|fault| {
                format!(
                    "in force, but not saved, so that a restart of the director ends it: {fault}"
                )
            });
            warn(&mut answer, warning);
            let _ = reply.send(Ok(answer));
        });
    }

    /// Ends what is over.
    pub(super) fn expire_local_orders(&mut self) {
        if self.local_orders.is_empty() {
            return;
        }
        let ended = self.local_orders.expire(local_orders::now());
        if ended.is_empty() {
            return;
        }
        ended.iter().for_each(local_orders::log_end);
        // Nobody waits for it: an order that is over is over after a restart, too.
        drop(self.local_orders_saver.save(self.local_orders.clone()));
        if ended.iter().any(|ended| ended.real_server.is_none()) {
            self.go_on();
        }
        self.follow_drains();
        self.pacer.changed();
    }

    /// When the next of them is over.
    pub(super) fn next_local_expiry(&self, now: Duration) -> Option<Duration> {
        if self.local_orders.is_empty() {
            return None;
        }
        let left = self.local_orders.next_expiry(local_orders::now())?;
        Some(now + left.min(MAX_DURATION))
    }

    fn follow_drains(&mut self) {
        let drains = self.local_orders.drains();
        self.effect.merge(self.decider.set_local_drains(self.clock.now(), drains));
    }

    /// The newest generation that VRRP needs to know of: while frozen, whatever is wanted counts as programmed.
    pub(super) fn settled(&self) -> u64 {
        match self.local_orders.frozen() {
            Some(_) => self.generation,
            None => self.ipvs_seen.borrow().generation,
        }
    }

    /// A plan that is on its way into the kernel does not arrive there now.
    fn answer_for_unfinished_plan(&mut self, order: &LocalOrder) {
        let is_under_way = self.following.as_ref().is_some_and(|task| !task.is_finished());
        let version = self.plans.in_force().filter(|_| is_under_way).cloned();
        if version.is_some() {
            self.session.ack(v1::PlanAck {
                version,
                applied: false,
                reason: local_orders::not_applied(order),
            });
        }
    }

    /// Notes a plan that came while the director is frozen, if it is; whether it did.
    pub(super) fn hold_plan(&mut self, update: &v1::PlanUpdate) -> bool {
        let Some(order) = self.local_orders.frozen() else { return false };
        let ack = self.plans.hold(update, local_orders::not_applied(order));
        tracing::warn!(reason = ack.reason, "plan held");
        self.session.ack(ack);
        self.pacer.changed();
        true
    }

    /// The freeze has ended: puts in force what was held, and lets the driver write.
    fn go_on(&mut self) {
        self.ipvs.set_frozen(false);
        self.own_work.thawed(self.clock.now());
        self.pacer.changed();
        let Some(released) = self.plans.release() else { return };
        let span = tracing::info_span!("plan.apply", director = %self.name, thawed = true);
        self.taken(released, &span);
    }

    fn held_edits(&self) -> u64 {
        u64::try_from(self.ipvs_seen.borrow().held_edits).unwrap_or(u64::MAX)
    }

    /// The freeze and the drains, as they are told.
    pub(super) fn tell_local_orders(&self, observed: &mut v1::DirectorObserved) {
        let frozen = self.local_orders.frozen();
        observed.frozen = frozen.map(|order| freeze_to_wire(order, self.held_edits()));
        let drains = self.local_orders.drains().iter();
        observed.local_drains =
            drains.map(|(name, order)| local_drain_to_wire(name, order)).collect();
    }

    /// The same as what a person must know, with the remedy.
    pub(super) fn local_problems(&self) -> impl Iterator<Item = String> {
        let frozen = self.local_orders.frozen().map(|order| {
            let (order, held) = (local_order_to_text(order), self.held_edits());
            format!(
                "frozen by {order}; {held} edits of IPVS are held back: `lvsctl --socket PATH thaw` on the director"
            )
        });
        let drains = self.local_orders.drains().iter().map(|(name, order)| {
            let order = local_order_to_text(order);
            format!("{name} is drained at the director by {order}: `lvsctl --socket PATH undrain {name}` there")
        });
        frozen.into_iter().chain(drains)
    }
}

/// Whoever orders waits no longer for the kernel's table than this: a kernel that refuses is told of in the status.
const IN_KERNEL: Duration = Duration::from_secs(5);

fn would_silence(name: &Name, silenced: &[Silenced]) -> String {
    let left = silenced.iter().map(|Silenced { virtual_server, left }| {
        format!("virtual server {virtual_server} would be left with {left}")
    });
    let left: Vec<String> = left.collect();
    format!(
        "without {name} {}; bring another real server back first, or mean it by force (lvsctl: --force)",
        left.join(", ")
    )
}
