//! Which events a policy sends, and where its channels begin. Pure.

use std::str::FromStr as _;
use std::sync::Arc;

use fulcrum_model::resource::{Kind, Resource, Spec};
use fulcrum_model::{CommandChannel, EventKind, NotificationPolicy, SmtpChannel, WebhookChannel};
use fulcrum_proto::convert::event_severity_to_wire;
use fulcrum_proto::selector::Selector;
use fulcrum_proto::v1;
use fulcrum_proto::v1::{EventKind as Wire, EventSeverity, EventSubjectKind};

use crate::events::log::first_of_entry;
use crate::events::world::resource_of;
use crate::sessions::Planned;

/// A channel of a policy.
#[derive(Clone, Debug)]
pub struct Channel {
    /// The policy's name.
    pub policy: String,
    /// The rest of the policy.
    pub spec: Arc<NotificationPolicy>,
    /// Where it goes.
    pub way: Way,
    /// It sends what comes after this sequence, unless it has sent more.
    pub begins_after: u64,
    selector: Selector,
}

/// Where a channel goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Mail.
    Smtp(SmtpChannel),
    /// HTTP.
    Webhook(WebhookChannel),
    /// A program.
    Command(CommandChannel),
}

impl Way {
    /// As it is told.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Smtp(_) => "smtp",
            Self::Webhook(_) => "webhook",
            Self::Command(_) => "command",
        }
    }
}

/// The channels of all policies, ordered by policy.
pub fn channels(planned: &Planned) -> Vec<Channel> {
    // They are the last kind, and few.
    let resources = planned.intent.resources.iter().rev();
    let policies = resources.take_while(|(key, _)| key.kind == Kind::NotificationPolicy);
    let mut channels: Vec<Channel> = policies.flat_map(|(_, policy)| of(policy)).collect();
    channels.reverse();
    channels
}

fn of(resource: &Resource) -> Vec<Channel> {
    let Spec::NotificationPolicy(policy) = &resource.spec else { return Vec::new() };
    let spec = Arc::new(NotificationPolicy::clone(policy));
    let ways = [
        policy.command.clone().map(Way::Command),
        policy.webhook.clone().map(Way::Webhook),
        policy.smtp.clone().map(Way::Smtp),
    ];
    let channel = |way| Channel {
        policy: resource.name.to_string(),
        spec: Arc::clone(&spec),
        way,
        // What happened before it was written is not its affair.
        begins_after: first_of_entry(resource.revision.0 + 1) - 1,
        // It was checked when it was written.
        selector: Selector::from_str(&spec.label_selector).unwrap_or_default(),
    };
    ways.into_iter().flatten().map(channel).collect()
}

impl Channel {
    /// As `POLICY/CHANNEL`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.policy, self.way.as_str())
    }

    /// Whether it sends an event.
    pub fn takes(&self, event: &v1::Event, planned: &Planned) -> bool {
        let spec = &self.spec;
        let is_site = |site: &fulcrum_model::Name| site.as_str() == event.site;
        (spec.kinds.is_empty() || spec.kinds.contains(&EventKind(event.kind)))
            && told_as(event) >= event_severity_to_wire(spec.least_severity)
            && (spec.sites.is_empty() || spec.sites.iter().any(is_site))
            && (spec.label_selector.is_empty() || self.selects(event, planned))
    }

    fn selects(&self, event: &v1::Event, planned: &Planned) -> bool {
        let Some(subject) = &event.subject else { return false };
        let labels = resource_of(subject.kind(), &subject.name).and_then(|(kind, name)| {
            let key = fulcrum_model::resource::ResourceKey { kind, name: name.parse().ok()? };
            planned.intent.resources.get(&key).map(|resource| &resource.labels)
        });
        labels.is_some_and(|labels| self.selector.takes(labels))
    }
}

/// The severity by which an event is chosen: what ends a trouble goes to who was told of it.
fn told_as(event: &v1::Event) -> EventSeverity {
    let of_director =
        event.subject.as_ref().is_some_and(|subject| subject.kind() == EventSubjectKind::Director);
    match event.kind() {
        Wire::QuorumBack | Wire::PlanTaken => EventSeverity::Error,
        Wire::AgentBack if of_director => EventSeverity::Error,
        Wire::AgentBack
        | Wire::RealServerIn
        | Wire::ControllerBack
        | Wire::FindingCleared
        | Wire::CertificateWell
        | Wire::ClockWell
        | Wire::NotificationWorks => EventSeverity::Warning,
        Wire::Unspecified
        | Wire::BecameActive
        | Wire::NobodyActive
        | Wire::SeveralActive
        | Wire::RealServerOut
        | Wire::QuorumLost
        | Wire::DriftRepaired
        | Wire::AgentLost
        | Wire::ControllerLost
        | Wire::LeaderChanged
        | Wire::FindingRaised
        | Wire::CertificateEnds
        | Wire::ClockSkewed
        | Wire::IntentChanged
        | Wire::ChangeWaits
        | Wire::ChangeConfirmed
        | Wire::ChangeReverted
        | Wire::RolledBack
        | Wire::ChangeHeld
        | Wire::PlanRefused
        | Wire::NotificationFailed
        | Wire::NotificationGivenUp
        | Wire::TooMany => event.severity(),
    }
}
