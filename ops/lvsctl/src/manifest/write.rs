//! From a resource to its manifest, which apply takes back.

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

use crate::text::{Node, spec_to_node};

/// A resource's kind as manifests spell it; empty when it has none.
pub(crate) fn kind_of(resource: &v1::Resource) -> &'static str {
    match &resource.spec {
        None => "",
        Some(Spec::Site(_)) => "Site",
        Some(Spec::Director(_)) => "Director",
        Some(Spec::VrrpInstance(_)) => "VrrpInstance",
        Some(Spec::RealServer(_)) => "RealServer",
        Some(Spec::Pool(_)) => "Pool",
        Some(Spec::VirtualServer(_)) => "VirtualServer",
        Some(Spec::Handover(_)) => "Handover",
        Some(Spec::Drain(_)) => "Drain",
        Some(Spec::Restart(_)) => "Restart",
        Some(Spec::NotificationPolicy(_)) => "NotificationPolicy",
        Some(Spec::AccessRule(_)) => "AccessRule",
        Some(Spec::JoinToken(_)) => "JoinToken",
    }
}

/// A kind as manifests spell it.
pub(crate) fn kind_word(kind: v1::Kind) -> &'static str {
    match kind {
        v1::Kind::Unspecified => "?",
        v1::Kind::Site => "Site",
        v1::Kind::Director => "Director",
        v1::Kind::VrrpInstance => "VrrpInstance",
        v1::Kind::RealServer => "RealServer",
        v1::Kind::Pool => "Pool",
        v1::Kind::VirtualServer => "VirtualServer",
        v1::Kind::Handover => "Handover",
        v1::Kind::Drain => "Drain",
        v1::Kind::Restart => "Restart",
        v1::Kind::NotificationPolicy => "NotificationPolicy",
        v1::Kind::AccessRule => "AccessRule",
        v1::Kind::JoinToken => "JoinToken",
    }
}

/// A spec of a kind with none of its fields; none where no kind is given.
pub(crate) fn empty_spec(kind: v1::Kind) -> Option<Spec> {
    Some(match kind {
        v1::Kind::Unspecified => return None,
        v1::Kind::Site => Spec::Site(v1::Site::default()),
        v1::Kind::Director => Spec::Director(v1::Director::default()),
        v1::Kind::VrrpInstance => Spec::VrrpInstance(v1::VrrpInstance::default()),
        v1::Kind::RealServer => Spec::RealServer(v1::RealServer::default()),
        v1::Kind::Pool => Spec::Pool(v1::Pool::default()),
        v1::Kind::VirtualServer => Spec::VirtualServer(v1::VirtualServer::default()),
        v1::Kind::Handover => Spec::Handover(v1::Handover::default()),
        v1::Kind::Drain => Spec::Drain(v1::Drain::default()),
        v1::Kind::Restart => Spec::Restart(v1::Restart::default()),
        v1::Kind::NotificationPolicy => Spec::NotificationPolicy(v1::NotificationPolicy::default()),
        v1::Kind::AccessRule => Spec::AccessRule(v1::AccessRule::default()),
        v1::Kind::JoinToken => Spec::JoinToken(v1::JoinToken::default()),
    })
}

/// The manifest of a resource.
pub(crate) fn resource_to_node(resource: &v1::Resource) -> Node {
    let metadata = resource.metadata.clone().unwrap_or_default();
    let mut fields = vec![
        ("kind".to_owned(), Node::text(kind_of(resource))),
        ("name".to_owned(), Node::Text(metadata.name)),
    ];
    if !metadata.labels.is_empty() {
        let labels = metadata.labels.into_iter().map(|(key, value)| (key, Node::Text(value)));
        fields.push(("labels".to_owned(), Node::Map(labels.collect())));
    }
    if metadata.revision != 0 {
        fields.push(("revision".to_owned(), Node::Plain(metadata.revision.to_string())));
    }
    let spec = match &resource.spec {
        None => Node::Map(Vec::new()),
        Some(Spec::Site(spec)) => spec_to_node("fulcrum.v1.Site", spec),
        Some(Spec::Director(spec)) => spec_to_node("fulcrum.v1.Director", spec),
        Some(Spec::VrrpInstance(spec)) => spec_to_node("fulcrum.v1.VrrpInstance", spec),
        Some(Spec::RealServer(spec)) => spec_to_node("fulcrum.v1.RealServer", spec),
        Some(Spec::Pool(spec)) => spec_to_node("fulcrum.v1.Pool", spec),
        Some(Spec::VirtualServer(spec)) => spec_to_node("fulcrum.v1.VirtualServer", spec),
        Some(Spec::Handover(spec)) => spec_to_node("fulcrum.v1.Handover", spec),
        Some(Spec::Drain(spec)) => spec_to_node("fulcrum.v1.Drain", spec),
        Some(Spec::Restart(spec)) => spec_to_node("fulcrum.v1.Restart", spec),
        Some(Spec::NotificationPolicy(spec)) => spec_to_node("fulcrum.v1.NotificationPolicy", spec),
        Some(Spec::AccessRule(spec)) => spec_to_node("fulcrum.v1.AccessRule", spec),
        Some(Spec::JoinToken(spec)) => spec_to_node("fulcrum.v1.JoinToken", spec),
    };
    fields.push(("spec".to_owned(), spec));
    Node::Map(fields)
}
