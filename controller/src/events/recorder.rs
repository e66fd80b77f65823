//! Sees, writes down and sends what happens, whenever this controller leads.
//!
//! It follows the hub as watchers do, compares every half second, and proposes what is new as one command: at most two a second, however
//! much happens. A write that fails is derived anew, from what Raft says was told.

mod lead;

use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::event::{Details, IntentDetails};
use fulcrum_proto::v1::{EventKind, EventSeverity, EventSubjectKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::notify::Home;
use crate::raft::{Raft, Role};
use crate::sessions::Hub;

/// Between comparisons.
const INTERVAL: Duration = Duration::from_millis(500);
/// Everything is compared this often even where nothing is new, so that what is well for long is forgotten.
const WHOLE_INTERVAL: Duration = Duration::from_secs(10);
/// Between attempts to begin, while there is no majority.
const RETRY: Duration = Duration::from_millis(500);
/// Writes that were held and are yet to be told: more in half a second are no news.
const HELD: usize = 64;

/// Tells of what happens at this controller.
#[derive(Clone, Debug)]
pub struct Reporter {
    events: mpsc::Sender<v1::Event>,
}

impl Reporter {
    /// A write was held, and why. Told where this controller leads on.
    pub fn held(&self, who: &str, reason: &str) {
        let event = v1::Event {
            kind: EventKind::ChangeHeld.into(),
            severity: EventSeverity::Warning.into(),
            subject: Some(v1::EventSubject {
                kind: EventSubjectKind::Intent.into(),
                name: "held".to_owned(),
            }),
            text: format!("a write by {who} was held"),
            cause: reason.to_owned(),
            traceparent: fulcrum_runtime::trace::traceparent(),
            details: Some(Details::Intent(IntentDetails {
                who: who.to_owned(),
                ..IntentDetails::default()
            })),
            ..Default::default()
        };
        // Left out where there are too many.
        let _ = self.events.try_send(event);
    }
}

/// Sees, writes down and sends.
pub struct Recorder {
    raft: Raft,
    hub: Arc<Hub>,
    me: String,
    home: Home,
    events: mpsc::Receiver<v1::Event>,
}

impl Recorder {
    /// For the controller `me`.
    pub fn new(raft: Raft, hub: Arc<Hub>, me: &str, home: Home) -> (Self, Reporter) {
        let (sender, events) = mpsc::channel(HELD);
        let recorder = Self { raft, hub, me: me.to_owned(), home, events };
        (recorder, Reporter { events: sender })
    }

    /// Does so whenever this controller leads, until `stopping`.
    pub async fn run(mut self, stopping: CancellationToken) {
        let mut leadership = self.raft.leadership();
        loop {
            let leads = async { leadership.wait_for(|now| now.role == Role::Leader).await.is_ok() };
            let leads = tokio::select! {
                () = stopping.cancelled() => return,
                leads = leads => leads,
            };
            if !leads {
                return;
            }
            let no_more = async { _ = leadership.wait_for(|now| now.role != Role::Leader).await };
            let begin_anew = tokio::select! {
                () = stopping.cancelled() => return,
                () = no_more => false,
                () = self.lead() => true,
            };
            if begin_anew {
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
