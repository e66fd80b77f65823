//! Writing: operations to the kernel, its answers to the reconciler.

use std::borrow::Cow;
use std::collections::BTreeSet;

use fulcrum_ipvs::codec::Refusal;
use fulcrum_ipvs::operation::OperationKind;
use fulcrum_ipvs::{Operation, SchedulerName, VirtualServerKey};
use fulcrum_runtime::trace;
use nix::errno::Errno;
use tracing::Instrument as _;

use super::Driver;
use crate::ipvs::error::{IpvsError, IpvsRefused};
use crate::ipvs::modules;
use crate::ipvs::netlink::Outcome;

/// Operations between two looks for newer wishes: a few milliseconds of the kernel's work, in batches that hold the
/// CPU for a shorter time each.
const BURST: usize = 512;

/// How far the operations came.
pub(super) enum Sent {
    /// Each was done or refused, or its answer was lost.
    All,
    /// A newer wish is waiting.
    Interrupted,
    /// The kernel could not be asked.
    Failed,
}

impl Driver {
    /// Sends the operations, in order, until a newer wish comes in.
    pub(super) async fn send(&mut self, operations: &[Operation]) -> Sent {
        let revision = self.wish.as_ref().map_or(0, |wish| wish.revision);
        let span = tracing::info_span!(
            "ipvs.write",
            operations = operations.len(),
            virtual_server = tracing::field::Empty,
            revision,
        );
        // What is repaired later is no part of the trace of what was wanted.
        let settled = self.progress.borrow().settled;
        if let Some(wish) = self.wish.as_ref().filter(|wish| wish.generation > settled) {
            trace::set_parent(&span, &wish.traceparent);
        }
        let first = operations.first().map(Operation::virtual_server);
        if let Some(first) =
            first.filter(|key| operations.iter().all(|o| o.virtual_server() == *key))
        {
            span.record("virtual_server", tracing::field::display(first));
        }
        match self.send_bursts(operations).instrument(span).await {
            Ok(sent) => {
                self.problems.writing = None;
                sent
            }
            Err(error) => {
                let problem = error.to_string();
                if self.problems.writing.as_ref() != Some(&problem) {
                    tracing::error!(%error, "the IPVS table cannot be written");
                }
                self.problems.writing = Some(problem);
                for operation in operations {
                    self.reconciler.unsure(*operation.virtual_server());
                }
                Sent::Failed
            }
        }
    }

    async fn send_bursts(&mut self, operations: &[Operation]) -> Result<Sent, IpvsError> {
        let mut refused = BTreeSet::new();
        let mut rest = operations;
        while let Some(first) = rest.first() {
            let length = self.burst(rest);
            let (burst, after) = rest.split_at(length);
            rest = after;
            let adds = burst.iter().any(|operation| operation.kind() == OperationKind::Add);
            if adds && self.reconciler.journal_is_due() {
                self.write_journal();
            }
            match self.unproven(first) {
                Some(scheduler) => self.try_scheduler(first, scheduler, &mut refused).await?,
                None => self.send_burst(burst, &mut refused).await?,
            }
            if !rest.is_empty() && self.inbox.wishes.has_changed().unwrap_or(false) {
                return Ok(Sent::Interrupted);
            }
        }
        Ok(Sent::All)
    }

    /// How many of `operations` go out together: an operation that may make the kernel load a module goes alone.
    fn burst(&self, operations: &[Operation]) -> usize {
        let position = operations.iter().take(BURST).position(|o| self.unproven(o).is_some());
        match position {
            Some(0) => 1,
            Some(position) => position,
            None => operations.len().min(BURST),
        }
    }

    /// The scheduler that the operation asks for, if the kernel has not shown that it has it.
    fn unproven(&self, operation: &Operation) -> Option<SchedulerName> {
        match operation {
            Operation::AddVirtualServer { settings, .. }
            | Operation::EditVirtualServer { settings, .. } => {
                let scheduler = &settings.scheduler;
                (!self.schedulers.contains(scheduler)).then(|| scheduler.clone())
            }
            Operation::DeleteVirtualServer { .. }
            | Operation::AddDestination { .. }
            | Operation::EditDestination { .. }
            | Operation::DeleteDestination { .. } => None,
        }
    }

    /// Sends the first operation that asks for a scheduler, alone. The kernel loads the module by itself where it can;
    /// where it cannot, we try.
    async fn try_scheduler(
        &mut self,
        operation: &Operation,
        scheduler: SchedulerName,
        refused: &mut BTreeSet<VirtualServerKey>,
    ) -> Result<(), IpvsError> {
        let operation = std::slice::from_ref(operation);
        let mut outcomes = self.kernel.write(operation).await?;
        if let [Outcome::Refused(refusal)] = outcomes.as_mut_slice()
            && refusal.errno == Errno::ENOENT as i32
        {
            match modules::load(&format!("ip_vs_{scheduler}")).await {
                Ok(()) => outcomes = self.kernel.write(operation).await?,
                Err(reason) => refusal.text = reason,
            }
        }
        if outcomes == [Outcome::Done] {
            self.schedulers.insert(scheduler);
        }
        self.take_outcomes(operation, outcomes, refused);
        Ok(())
    }

    async fn send_burst(
        &mut self,
        burst: &[Operation],
        refused: &mut BTreeSet<VirtualServerKey>,
    ) -> Result<(), IpvsError> {
        let mut burst = Cow::Borrowed(burst);
        if !refused.is_empty() {
            burst.to_mut().retain(|operation| !refused.contains(operation.virtual_server()));
        }
        let outcomes = self.kernel.write(&burst).await?;
        self.take_outcomes(&burst, outcomes, refused);
        Ok(())
    }

    fn take_outcomes(
        &mut self,
        operations: &[Operation],
        outcomes: Vec<Outcome>,
        refused: &mut BTreeSet<VirtualServerKey>,
    ) {
        if outcomes.iter().all(|outcome| *outcome == Outcome::Done) {
            self.touched.extend(operations.iter().map(Operation::virtual_server));
            self.count(operations);
            return;
        }
        for (operation, outcome) in operations.iter().zip(outcomes) {
            let key = *operation.virtual_server();
            self.touched.insert(key);
            match outcome {
                Outcome::Done => self.count(std::slice::from_ref(operation)),
                Outcome::Unknown => self.reconciler.unsure(key),
                // What follows from a virtual server that could not be added is no news.
                Outcome::Refused(_) if refused.contains(&key) => {}
                Outcome::Refused(refusal) => {
                    if matches!(operation, Operation::AddVirtualServer { .. }) {
                        refused.insert(key);
                    }
                    self.take_refusal(operation, refusal);
                }
            }
        }
    }

    fn take_refusal(&mut self, operation: &Operation, refusal: Refusal) {
        let key = *operation.virtual_server();
        if is_surprise(operation, refusal.errno) && self.surprised.insert(key) {
            // Refused for what another program did meanwhile: read, and the next plan knows better.
            tracing::debug!(%operation, errno = refusal.errno, "the kernel holds something else than was thought");
            self.reconciler.unsure(key);
            return;
        }
        let words = IpvsRefused::of(operation, &refusal);
        if self.reconciler.refused(operation, refusal) {
            tracing::error!("{words}");
        }
    }

    /// Counts what the kernel did. Relays are no part of it, nor is what follows from them.
    fn count(&mut self, operations: &[Operation]) {
        for operation in operations {
            tracing::debug!(%operation, "IPVS edit");
            if self.reconciler.is_relay(operation.virtual_server()) {
                continue;
            }
            match operation.kind() {
                OperationKind::Add => self.edits.added += 1,
                OperationKind::Edit => self.edits.edited += 1,
                OperationKind::Delete => self.edits.deleted += 1,
            }
        }
        let repairs = self.reconciler.all_done(operations);
        self.edits.drift_repaired += u64::try_from(repairs).unwrap_or(u64::MAX);
    }
}

/// Whether that errno says that the table is not as we thought, rather than that the operation cannot be.
fn is_surprise(operation: &Operation, errno: i32) -> bool {
    let errno = Errno::from_raw(errno);
    match operation {
        Operation::AddVirtualServer { .. } => errno == Errno::EEXIST,
        Operation::AddDestination { .. } => matches!(errno, Errno::EEXIST | Errno::ESRCH),
        Operation::EditVirtualServer { .. } | Operation::DeleteVirtualServer { .. } => {
            errno == Errno::ESRCH
        }
        Operation::EditDestination { .. } | Operation::DeleteDestination { .. } => {
            matches!(errno, Errno::ESRCH | Errno::ENOENT)
        }
    }
}
