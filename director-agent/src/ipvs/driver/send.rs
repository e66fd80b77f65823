//! Writing: operations to the kernel, its answers to the reconciler.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use fulcrum_ipvs::codec::Refusal;
use fulcrum_ipvs::operation::OperationKind;
use fulcrum_ipvs::{Operation, SchedulerName, VirtualServerKey, Worklist};
use fulcrum_runtime::trace;
use nix::errno::Errno;
use tracing::Instrument as _;

use super::{Driver, Written};
use crate::ipvs::error::{IpvsError, IpvsRefused};
use crate::ipvs::modules;
use crate::ipvs::netlink::Undone;

/// Operations between two looks for newer wishes: a few milliseconds of the kernel's work, in batches that hold the
/// CPU for a shorter time each. Somewhat fewer than the refusals that the receive buffer holds, so that one answer is
/// waited for.
const BURST: usize = 1500;

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
    /// Sends what is to be written, in order, until a newer wish comes in.
    pub(super) async fn send(&mut self, work: Worklist) -> Sent {
        let revision = self.wish.as_ref().map_or(0, |wish| wish.revision);
        let span = tracing::info_span!(
            "ipvs.write",
            virtual_server = work.only().map(tracing::field::display),
            revision,
            operations = tracing::field::Empty,
        );
        // What is repaired later is no part of the trace of what was wanted.
        let settled = self.progress.borrow().settled;
        if let Some(wish) = self.wish.as_ref().filter(|wish| wish.generation > settled) {
            trace::set_parent(&span, &wish.traceparent);
        }
        let (mut sent, mut burst, mut work) = (0, Vec::new(), work);
        let sending = self.send_bursts(&mut work, &mut burst, &mut sent);
        let outcome = sending.instrument(span.clone()).await;
        self.written = Written::now();
        self.take_made(work.done());
        span.record("operations", sent);
        match outcome {
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
                for operation in burst {
                    self.reconciler.unsure(*operation.virtual_server());
                }
                Sent::Failed
            }
        }
    }

    /// `burst` is the last of them afterwards, and `sent` counts them.
    async fn send_bursts(
        &mut self,
        work: &mut Worklist,
        burst: &mut Vec<Operation>,
        sent: &mut usize,
    ) -> Result<Sent, IpvsError> {
        let mut refused = BTreeSet::new();
        burst.reserve(work.least().min(BURST));
        loop {
            let mark = work.mark();
            self.reconciler.take(work, BURST, burst);
            if burst.is_empty() {
                return Ok(Sent::All);
            }
            *sent += burst.len();
            self.before_adds(burst);
            if self.is_plain(burst) {
                // What is made in order is taken note of when all of it is: the kernel does not wait for that.
                let undone = self.kernel.write(burst).await?;
                if !undone.is_empty() || !work.note_done(mark) {
                    self.take_outcome(burst, undone, &mut refused);
                }
            } else {
                self.send_burst(burst, &mut refused).await?;
            }
            let is_called = self.inbox.wishes.has_changed().unwrap_or(false)
                || self.inbox.frozen.has_changed().unwrap_or(false);
            if !work.is_empty() && is_called {
                return Ok(Sent::Interrupted);
            }
        }
    }

    /// The journal names what is added before it is.
    fn before_adds(&mut self, burst: &[Operation]) {
        let adds = burst.iter().any(|operation| operation.kind() == OperationKind::Add);
        if adds && self.reconciler.journal_is_due() {
            self.write_journal();
        }
    }

    /// Whether all goes out together, and that it is done is all that can be said of it.
    fn is_plain(&self, burst: &[Operation]) -> bool {
        self.reconciler.is_plain()
            && !tracing::enabled!(tracing::Level::DEBUG)
            && burst.iter().all(|operation| self.unproven(operation).is_none())
    }

    async fn send_burst(
        &mut self,
        burst: &[Operation],
        refused: &mut BTreeSet<VirtualServerKey>,
    ) -> Result<(), IpvsError> {
        let mut rest = burst;
        while let Some(first) = rest.first() {
            let (together, after) = rest.split_at(self.together(rest));
            rest = after;
            match self.unproven(first) {
                Some(scheduler) => self.try_scheduler(first, scheduler, refused).await?,
                None => self.send_together(together, refused).await?,
            }
        }
        Ok(())
    }

    /// How many of `operations` go out together: an operation that may make the kernel load a module goes alone.
    fn together(&self, operations: &[Operation]) -> usize {
        let position = operations.iter().position(|operation| self.unproven(operation).is_some());
        position.map_or(operations.len(), |position| position.max(1))
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
        let mut undone = self.kernel.write(operation).await?;
        if let Some(Undone::Refused(refusal)) = undone.get_mut(&0)
            && refusal.errno == Errno::ENOENT as i32
        {
            match modules::load(&format!("ip_vs_{scheduler}")).await {
                Ok(()) => undone = self.kernel.write(operation).await?,
                Err(reason) => refusal.text = reason,
            }
        }
        if undone.is_empty() {
            self.schedulers.insert(scheduler);
        }
        self.take_outcome(operation, undone, refused);
        Ok(())
    }

    async fn send_together(
        &mut self,
        operations: &[Operation],
        refused: &mut BTreeSet<VirtualServerKey>,
    ) -> Result<(), IpvsError> {
        let mut operations = Cow::Borrowed(operations);
        if !refused.is_empty() {
            operations.to_mut().retain(|operation| !refused.contains(operation.virtual_server()));
        }
        let undone = self.kernel.write(&operations).await?;
        self.take_outcome(&operations, undone, refused);
        Ok(())
    }

    /// Tells the reconciler what is done, and `undone` by its index what is not.
    fn take_outcome(
        &mut self,
        operations: &[Operation],
        undone: BTreeMap<usize, Undone>,
        refused: &mut BTreeSet<VirtualServerKey>,
    ) {
        for first in Operation::by_virtual_server(operations).filter_map(<[_]>::first) {
            self.touched.insert(*first.virtual_server());
        }
        let mut next = 0;
        for (index, why) in undone {
            self.count(operations.get(next..index).unwrap_or_default());
            next = index + 1;
            let Some(operation) = operations.get(index) else { continue };
            let key = *operation.virtual_server();
            match why {
                Undone::Unknown => self.reconciler.unsure(key),
                // What follows from a virtual server that could not be added is no news.
                Undone::Refused(_) if refused.contains(&key) => {}
                Undone::Refused(refusal) => {
                    if matches!(operation, Operation::AddVirtualServer { .. }) {
                        refused.insert(key);
                    }
                    self.take_refusal(operation, refusal);
                }
            }
        }
        self.count(operations.get(next..).unwrap_or_default());
    }

    /// Takes note of new virtual servers that the kernel has made.
    fn take_made(&mut self, keys: &[VirtualServerKey]) {
        for key in keys {
            self.touched.insert(*key);
            if !self.reconciler.is_apart(key) {
                let wanted = self.reconciler.wanted().and_then(|it| it.virtual_servers.get(key));
                let real_servers = wanted.map_or(0, |server| server.destinations.len());
                self.edits.added += 1 + u64::try_from(real_servers).unwrap_or(u64::MAX);
            }
        }
        if !keys.is_empty() {
            self.reconciler.made_whole(keys);
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

    /// Counts what the kernel did. Relays and ways of checks are no part of it, nor is what follows from them.
    fn count(&mut self, operations: &[Operation]) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            for operation in operations {
                tracing::debug!(%operation, "IPVS edit");
            }
        }
        for of_one in Operation::by_virtual_server(operations) {
            let is_apart = |first: &Operation| self.reconciler.is_apart(first.virtual_server());
            if of_one.first().is_some_and(is_apart) {
                continue;
            }
            for operation in of_one {
                match operation.kind() {
                    OperationKind::Add => self.edits.added += 1,
                    OperationKind::Edit => self.edits.edited += 1,
                    OperationKind::Delete => self.edits.deleted += 1,
                }
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
