//! Messages as people and programs read them. Pure.

use std::fmt::Write as _;
use std::sync::LazyLock;

use fulcrum_proto::{FILE_DESCRIPTOR_SET, v1};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};

use super::queue::Message;

static EVENT: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build made them");
    pool.get_message_by_name("fulcrum.v1.Event").expect("the API has it")
});

/// Longest subject of a mail in bytes: more than any program shows.
const MOST_SUBJECT_BYTES: usize = 160;

/// Whom a message is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The policy.
    pub policy: String,
    /// The channel.
    pub channel: &'static str,
    /// The controller.
    pub controller: String,
    /// The cluster's id.
    pub cluster_id: String,
}

impl Sender {
    /// Names the message: the same for each try, whichever controller makes it.
    pub fn id(&self, message: &Message) -> String {
        let first = message.events.first().map_or(0, |(event, _)| event.sequence);
        let Self { policy, channel, cluster_id, .. } = self;
        format!("{policy}.{channel}.{first}-{}.{cluster_id}", message.upto)
    }
}

/// A severity in one word.
pub fn severity(event: &v1::Event) -> &'static str {
    match event.severity() {
        v1::EventSeverity::Unspecified | v1::EventSeverity::Info => "info",
        v1::EventSeverity::Warning => "warning",
        v1::EventSeverity::Error => "error",
    }
}

/// The subject of a mail: the worst that happened.
pub fn subject(message: &Message, router_id: &str) -> String {
    let worst = message
        .events
        .iter()
        .max_by_key(|(event, _)| (event.severity, std::cmp::Reverse(event.sequence)));
    let text = worst.map_or("nothing happened", |(event, _)| event.text.as_str());
    let word = worst.map_or("info", |(event, _)| severity(event));
    let more = match message.events.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.truncate(text.floor_char_boundary(MOST_SUBJECT_BYTES));
    format!("[{router_id}] {word}: {text}{more}")
}

/// The text of a mail.
pub fn body(message: &Message, sender: &Sender) -> String {
    let mut text = String::new();
    if message.lost_some {
        text.push_str("Some events before these were no longer kept, and are not told.\n\n");
    }
    for (event, count) in &message.events {
        let time = event.time.map(|time| time.to_string()).unwrap_or_default();
        // Writing to a text does not fail.
        let _ = writeln!(text, "{time}  {}  {}", severity(event), event.text);
        if !event.cause.is_empty() {
            let _ = writeln!(text, "    because: {}", event.cause);
        }
        if *count > 1 {
            let _ = writeln!(text, "    {count} times; this is the latest");
        }
        if event.untold > 0 {
            let _ =
                writeln!(text, "    {} changes before it were not told one by one", event.untold);
        }
        let site =
            if event.site.is_empty() { String::new() } else { format!(", site {}", event.site) };
        let _ = writeln!(text, "    event {}{site}", event.sequence);
    }
    let Sender { policy, controller, cluster_id, .. } = sender;
    let _ = write!(
        text,
        "\n-- \nFulcrum: policy {policy}, told by controller {controller} of cluster {cluster_id}.\n\
         All that is kept: lvsctl events\n"
    );
    text
}

/// As JSON: proto's own mapping, with the fields' own names.
pub fn json(message: &Message, sender: &Sender) -> Value {
    let events = message.events.iter().map(|(event, count)| {
        let mut value = event_to_json(event);
        if let Value::Object(fields) = &mut value {
            fields.insert("count".to_owned(), json!(count));
        }
        value
    });
    let events: Vec<Value> = events.collect();
    json!({
        "id": sender.id(message),
        "policy": sender.policy,
        "controller": sender.controller,
        "cluster_id": sender.cluster_id,
        "lost_some": message.lost_some,
        "events": events,
    })
}

fn event_to_json(event: &v1::Event) -> Value {
    let bytes = event.encode_to_vec();
    let dynamic = DynamicMessage::decode(EVENT.clone(), &bytes[..]).expect("it was just encoded");
    let options = SerializeOptions::new().use_proto_field_name(true);
    // What the API's own descriptors decoded can be written.
    dynamic.serialize_with_options(serde_json::value::Serializer, &options).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests;
