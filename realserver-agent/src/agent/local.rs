//! Orders that are given at this agent itself.
//!
//! ```text
//!   freeze: plans are noted and not put in force, VIPs and ARP settings stay; watching and telling go on
//!   drain:  the server is told to be draining, for directors to give it weight 0
//! ```

use std::path::PathBuf;

use fulcrum_model::{Evidence, LocalOrders, LocalRelease, LocalWish, Name};
use fulcrum_proto::convert::{
    freeze_to_wire, local_drain_to_wire, local_order_to_text, real_server_plan_from_objects,
};
use fulcrum_proto::v1;
use fulcrum_session::local_orders;
use tonic::Status;

use super::Agent;
use crate::local::LocalRequest;

/// The orders, and where they are kept.
pub(super) struct Local {
    path: PathBuf,
    boot_id: String,
    pub(super) orders: LocalOrders,
    /// What kept the orders from the disk.
    problem: Option<String>,
}

impl Local {
    /// The orders of an earlier life that stand; none where they cannot be used.
    pub(super) fn open(path: PathBuf, boot_id: &str) -> Self {
        let orders = local_orders::standing(&path, boot_id);
        if let Some(order) = orders.frozen() {
            tracing::warn!(
                order = local_order_to_text(order),
                "still frozen: the host is left alone"
            );
        }
        Self { path, boot_id: boot_id.to_owned(), orders, problem: None }
    }

    /// Puts the orders on disk. What it refuses stands until a restart.
    fn save(&mut self) -> Option<String> {
        let saved = local_orders::save(&self.path, &self.boot_id, &self.orders);
        self.problem = saved.err().map(|error| format!("the local orders are not saved: {error}"));
        if let Some(problem) = &self.problem {
            tracing::error!("{problem}");
        }
        let words = |problem| format!("in force until a restart of the agent: {problem}");
        self.problem.clone().map(words)
    }
}

impl Agent {
    pub(super) async fn request(&mut self, request: LocalRequest) {
        // Whoever asked may be gone.
        match request {
            LocalRequest::Status(reply) => drop(reply.send(self.status())),
            LocalRequest::Freeze(wish, reply) => drop(reply.send(self.freeze(&wish).await)),
            LocalRequest::Thaw(release, reply) => drop(reply.send(self.thaw(&release).await)),
            LocalRequest::Drain(name, wish, reply) => drop(reply.send(self.drain(&name, &wish))),
            LocalRequest::Undrain(name, release, reply) => {
                drop(reply.send(self.undrain(&name, &release)));
            }
        }
        self.tell_observed();
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.local.orders.frozen().is_some()
    }

    fn status(&self) -> v1::GetRealServerStatusResponse {
        v1::GetRealServerStatusResponse {
            name: self.name.to_string(),
            plan: self.cache.version().cloned(),
            controller: self.controller.clone(),
            evidence: Some(v1::Evidence::from(&self.evidence(""))),
            observed: Some(self.observed()),
        }
    }

    async fn freeze(&mut self, wish: &LocalWish) -> Result<v1::FreezeHostResponse, Status> {
        let order = self
            .local
            .orders
            .freeze(local_orders::now(), wish)
            .map_err(local_orders::refuse)?
            .clone();
        tracing::warn!(order = local_order_to_text(&order), "frozen: the host is left alone");
        let warnings = self.local.save().into_iter().collect();
        self.reconcile().await;
        Ok(v1::FreezeHostResponse {
            frozen: Some(freeze_to_wire(&order, self.held_steps)),
            warnings,
        })
    }

    async fn thaw(&mut self, release: &LocalRelease) -> Result<v1::ThawHostResponse, Status> {
        let held_steps = self.held_steps;
        let Some(order) = self.local.orders.thaw(release).map_err(local_orders::refuse)? else {
            return Ok(v1::ThawHostResponse::default());
        };
        tracing::warn!(by = release.owner, was = local_order_to_text(&order), "thawed");
        self.local.save();
        self.go_on().await;
        Ok(v1::ThawHostResponse { ended: Some(freeze_to_wire(&order, held_steps)) })
    }

    fn drain(&mut self, name: &Name, wish: &LocalWish) -> Result<v1::DrainServerResponse, Status> {
        if !self.plan.servers.iter().any(|server| server.real_server == *name) {
            let known = self.plan.servers.iter().map(|server| server.real_server.as_str());
            let known: Vec<&str> = known.collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Status::not_found(format!(
                "{name} is not watched here; those that are: {known}"
            )));
        }
        let order = self
            .local
            .orders
            .drain(local_orders::now(), name, wish)
            .map_err(local_orders::refuse)?;
        let drain = local_drain_to_wire(name, order);
        tracing::warn!(real_server = %name, order = local_order_to_text(order), "drained locally");
        let mut warnings: Vec<String> = self.local.save().into_iter().collect();
        warnings.push(if self.controller.is_empty() {
            "no controller is attached: directors do not hear of it until one is; drain at the directors, by their \
             local sockets"
                .to_owned()
        } else {
            format!(
                "directors hear of it through {} and only while a controller lives; without one drain at the \
                 directors, by their local sockets",
                self.controller
            )
        });
        self.tell("");
        Ok(v1::DrainServerResponse { drain: Some(drain), warnings })
    }

    fn undrain(
        &mut self,
        name: &Name,
        release: &LocalRelease,
    ) -> Result<v1::UndrainServerResponse, Status> {
        let Some(order) = self.local.orders.undrain(name, release).map_err(local_orders::refuse)?
        else {
            return Ok(v1::UndrainServerResponse::default());
        };
        tracing::warn!(real_server = %name, by = release.owner, "drained locally no longer");
        self.local.save();
        self.tell("");
        Ok(v1::UndrainServerResponse { ended: Some(local_drain_to_wire(name, &order)) })
    }

    /// Ends what is over.
    pub(super) async fn expire_local_orders(&mut self) {
        if self.local.orders.is_empty() {
            return;
        }
        let ended = self.local.orders.expire(local_orders::now());
        if ended.is_empty() {
            return;
        }
        ended.iter().for_each(local_orders::log_end);
        self.local.save();
        if ended.iter().any(|ended| ended.real_server.is_none()) {
            self.go_on().await;
        }
        self.tell("");
    }

    /// Notes a plan that came while the host is frozen; answers why it is not in force.
    pub(super) fn hold_plan(&mut self, update: &v1::PlanUpdate) -> Option<String> {
        let order = self.local.orders.frozen()?;
        // On a copy, so that a plan that cannot be read leaves what was noted.
        let mut cache = self.held.as_ref().unwrap_or(&self.cache).clone();
        let noted = cache.apply(update).map_err(|refused| refused.to_string()).and_then(|_| {
            real_server_plan_from_objects(cache.objects()).map_err(|error| error.to_string())
        });
        let reason = match noted {
            Ok(_) => local_orders::not_applied(order),
            Err(reason) => return Some(reason),
        };
        self.held = Some(cache);
        Some(reason)
    }

    /// The freeze has ended: puts in force what was noted, and puts the host right.
    async fn go_on(&mut self) {
        let held = self.held.take();
        let has_plan = held.is_some();
        if let Some(cache) = held {
            self.put_in_force(cache);
        }
        self.reconcile().await;
        if has_plan {
            self.ack(self.cache.version().cloned(), self.standing());
        }
        self.tell("");
    }

    /// The evidence with the orders in it.
    pub(super) fn with_drains(&self, mut evidence: Evidence) -> Evidence {
        for server in &mut evidence.servers {
            if let Some(order) = self.local.orders.drains().get(&server.real_server) {
                *server = crate::draining::draining(server.clone(), order);
            }
        }
        evidence
    }

    /// The freeze and the drains, as they are told.
    pub(super) fn tell_local_orders(&self, observed: &mut v1::RealServerObserved) {
        let orders = &self.local.orders;
        observed.frozen = orders.frozen().map(|order| freeze_to_wire(order, self.held_steps));
        let drains = orders.drains().iter();
        observed.local_drains =
            drains.map(|(name, order)| local_drain_to_wire(name, order)).collect();
    }

    /// The same as what a person must know, with the remedy.
    pub(super) fn local_problems(&self) -> impl Iterator<Item = String> {
        let orders = &self.local.orders;
        let frozen = orders.frozen().map(|order| {
            format!(
                "frozen by {}; {} steps on the host are held back: `lvsctl --socket PATH thaw` there",
                local_order_to_text(order),
                self.held_steps
            )
        });
        let drains = orders.drains().iter().map(|(name, order)| {
            let order = local_order_to_text(order);
            format!("{name} is drained at its agent by {order}: `lvsctl --socket PATH undrain {name}` there")
        });
        frozen.into_iter().chain(drains).chain(self.local.problem.clone())
    }
}
