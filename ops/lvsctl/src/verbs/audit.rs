//! `lvsctl audit`

use std::time::{Duration, SystemTime};

use fulcrum_proto::convert::duration_from_text;
use fulcrum_proto::v1;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers, Refusal};
use crate::exit::{Exit, Failure};
use crate::manifest::kind_word;
use crate::out;
use crate::table::Table;
use crate::text::{Node, message_to_node, to_json_line, to_yaml};

/// Most revisions of one page.
const PAGE: u32 = 200;
/// Changes that a line names.
const NAMED: usize = 3;

/// From when on, and how much.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only what happened within this time, such as 24h; all that is kept when not given.
    #[arg(long, value_name = "DURATION", value_parser = parse_since)]
    since: Option<Duration>,
    /// With -o json or yaml: each changed resource as it was before and after. One more call for each revision.
    #[arg(long)]
    differences: bool,
    /// Tell what the controller asked has, without asking the leader: it may be old. For when no controller leads.
    #[arg(long)]
    stale: bool,
}

fn parse_since(text: &str) -> Result<Duration, String> {
    duration_from_text(text).ok_or_else(|| "write a number and its unit, such as 24h".to_owned())
}

/// Something that happened.
enum Event {
    /// The revision, and with --differences what it changed.
    Written(Box<v1::Revision>, Option<Box<v1::GetRevisionResponse>>),
    /// The controller, and what it refused.
    Refused(String, v1::Refusal),
}

impl Event {
    fn time(&self) -> SystemTime {
        let time = match self {
            Self::Written(revision, _) => revision.time,
            Self::Refused(_, refusal) => refusal.time,
        };
        time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { since, differences, stale } = arguments;
    let tls = global.tls()?;
    let controllers = Controllers::new(&global.endpoint, tls.as_ref())?;
    let from = since.and_then(|since| SystemTime::now().checked_sub(since));
    let from = from.unwrap_or(SystemTime::UNIX_EPOCH);
    let failed = |refusal: Refusal| refusal.failure("cannot tell what happened");
    let mut events = written(&controllers, from, stale).await.map_err(failed)?;
    if differences {
        for event in &mut events {
            if let Event::Written(revision, differences) = event {
                *differences =
                    difference(&controllers, revision.revision, stale).await.map(Box::new);
            }
        }
    }
    let mut silent = Vec::new();
    for endpoint in endpoints(&controllers).await.map_err(failed)? {
        // Each controller knows what it refused itself.
        let one = Controllers::new(std::slice::from_ref(&endpoint), tls.as_ref())?;
        let asked = one.ask(|channel| async move {
            connect::access(channel).list_refusals(v1::ListRefusalsRequest {}).await
        });
        match asked.await {
            Ok(v1::ListRefusalsResponse { refusals, controller }) => {
                let refused = refusals.into_iter();
                events.extend(refused.map(|it| Event::Refused(controller.clone(), it)));
            }
            Err(_) => silent.push(endpoint),
        }
    }
    events.retain(|event| event.time() >= from);
    events.sort_by_key(Event::time);
    out::print(&match global.output.unwrap_or(Output::Table) {
        Output::Table => table(&events),
        Output::Json => events.iter().map(|event| to_json_line(&node(event))).collect(),
        Output::Yaml => {
            let documents = events.iter().map(|event| to_yaml(&node(event)));
            documents.flat_map(|document| ["---\n".to_owned(), document]).collect()
        }
    })?;
    if silent.is_empty() {
        return Ok(Exit::Ok);
    }
    let text = format!("what these controllers refused is not known: {}", silent.join(", "));
    Err(Failure::new(Exit::Unreachable, text))
}

/// The kept revisions from then on.
async fn written(
    controllers: &Controllers,
    from: SystemTime,
    stale: bool,
) -> Result<Vec<Event>, Refusal> {
    let (mut events, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListRevisionsRequest { page_size: PAGE, page_token, stale };
        let answer = controllers.ask(|channel| {
            let request = request.clone();
            async move { connect::intent(channel).list_revisions(request).await }
        });
        let answer = answer.await?;
        let page = answer.revisions.into_iter();
        events.extend(page.map(|revision| Event::Written(Box::new(revision), None)));
        let is_enough = events.last().is_some_and(|oldest| oldest.time() < from);
        if is_enough || answer.next_page_token.is_empty() {
            return Ok(events);
        }
        page_token = answer.next_page_token;
    }
}

/// What a revision changed; none where that is not kept.
async fn difference(
    controllers: &Controllers,
    revision: u64,
    stale: bool,
) -> Option<v1::GetRevisionResponse> {
    let request = v1::GetRevisionRequest { revision, stale };
    let asked = controllers
        .ask(|channel| async move { connect::intent(channel).get_revision(request).await });
    asked.await.ok()
}

async fn endpoints(controllers: &Controllers) -> Result<Vec<String>, Refusal> {
    let asked = controllers.ask(|channel| async move {
        connect::topology(channel).get_status(v1::GetStatusRequest {}).await
    });
    let topology = asked.await?.topology.unwrap_or_default();
    Ok(topology.controllers.into_iter().map(|controller| controller.endpoint).collect())
}

fn table(events: &[Event]) -> String {
    let mut table = Table::default();
    table.row(["TIME", "WHO", "WHAT", "WHY"].map(Into::into));
    for event in events {
        let time = prost_types::Timestamp::from(event.time()).to_string();
        let row = match event {
            Event::Written(revision, _) => {
                [time, revision.who.clone(), changed(revision), revision.reason.clone()]
            }
            Event::Refused(controller, refusal) => {
                let v1::Refusal { who, address, method, reason, count, .. } = refusal;
                let times = if *count > 1 { format!(" {count} times") } else { String::new() };
                let what = format!("refused by {controller}{times}: {method}");
                [time, format!("{who} from {address}"), what, reason.clone()]
            }
        };
        table.row(row.map(Into::into));
    }
    table.render("")
}

fn changed(revision: &v1::Revision) -> String {
    let changes = revision.changes.iter().take(NAMED);
    let named: Vec<String> = changes
        .map(|change| {
            let action = match change.action() {
                v1::ChangeAction::Create => "+",
                v1::ChangeAction::Delete => "-",
                v1::ChangeAction::Update | v1::ChangeAction::Unspecified => "~",
            };
            format!("{action}{} {}", kind_word(change.kind()), change.name)
        })
        .collect();
    let more = usize::try_from(revision.change_count).unwrap_or(usize::MAX);
    let more = more.saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("revision {}: {}{more}", revision.revision, named.join(", "))
}

fn node(event: &Event) -> Node {
    match event {
        Event::Written(_, Some(answer)) => {
            Node::Map(vec![("written".to_owned(), message_to_node(GET, answer.as_ref()))])
        }
        Event::Written(revision, None) => Node::Map(vec![(
            "written".to_owned(),
            Node::Map(vec![("revision".to_owned(), message_to_node(REVISION, revision.as_ref()))]),
        )]),
        Event::Refused(controller, refusal) => Node::Map(vec![
            ("refused".to_owned(), message_to_node(REFUSAL, refusal)),
            ("controller".to_owned(), Node::text(controller)),
        ]),
    }
}

const GET: &str = "fulcrum.v1.GetRevisionResponse";
const REVISION: &str = "fulcrum.v1.Revision";
const REFUSAL: &str = "fulcrum.v1.Refusal";

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Vec<Event> {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let change = |action: v1::ChangeAction, name: &str| v1::Change {
            kind: v1::Kind::Drain.into(),
            name: name.to_owned(),
            action: action.into(),
        };
        let revision = v1::Revision {
            revision: 7,
            time: time(1_000),
            who: "spiffe://fulcrum/operator/anna".to_owned(),
            reason: "a new disk".to_owned(),
            changes: vec![
                change(v1::ChangeAction::Create, "web1"),
                change(v1::ChangeAction::Delete, "web2"),
            ],
            change_count: 5,
            ..v1::Revision::default()
        };
        let refusal = v1::Refusal {
            time: time(2_000),
            who: "spiffe://fulcrum/director/d1".to_owned(),
            address: "192.0.2.1".to_owned(),
            method: "fulcrum.v1.IntentService/Apply".to_owned(),
            reason: "it may not".to_owned(),
            count: 3,
        };
        vec![Event::Written(Box::new(revision), None), Event::Refused("c1".to_owned(), refusal)]
    }

    #[test]
    fn what_was_written_and_refused_is_told() {
        let text = table(&events());
        for part in [
            "1970-01-01T00:16:40Z",
            "revision 7: +Drain web1, -Drain web2 and 3 more",
            "a new disk",
            "spiffe://fulcrum/director/d1 from 192.0.2.1",
            "refused by c1 3 times: fulcrum.v1.IntentService/Apply",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let lines: Vec<String> = events().iter().map(|event| to_json_line(&node(event))).collect();
        assert!(lines.iter().all(|line| line.trim_end().lines().count() == 1), "{lines:?}");
        assert!(lines[0].contains("\"revision\"") && lines[1].contains("\"controller\""));
    }
}
