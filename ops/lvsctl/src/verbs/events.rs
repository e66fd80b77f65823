//! `lvsctl events`

use std::time::{Duration, SystemTime};

use fulcrum_proto::convert::duration_from_text;
use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_events_response::Told;
use fulcrum_runtime::backoff::Backoff;
use tokio_stream::StreamExt as _;
use tonic_types::StatusExt as _;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers};
use crate::events::{self, KINDS, SEVERITIES};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::suggest::suggest;
use crate::text::{message_to_node, to_json, to_json_line, to_yaml};

/// First and longest pause before the controllers are asked again after a stream has ended: it outlives upgrades.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Which events to tell.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Go on with what happens, event by event, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Only what happened in this long before now, such as 10m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// Only these kinds of events, such as became-active,real-server-out.
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    kinds: Vec<v1::EventKind>,
    /// Only what matters at least so much: info, warning or error.
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    severity: Option<v1::EventSeverity>,
    /// Only events about this thing, by its name or as vrrp-instance/NAME.
    #[arg(long, value_name = "NAME", value_parser = subject)]
    about: Option<v1::EventSubject>,
    /// Only events of this site.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Most events to print of those that were, the newest; up to 1000.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let format = global.output.unwrap_or(Output::Table);
    let filter = arguments.filter(SystemTime::now());
    let request = v1::ListEventsRequest {
        filter: Some(filter.clone()),
        page_size: arguments.limit,
        page_token: String::new(),
        newest: true,
    };
    let answer = controllers
        .ask(|channel| {
            let request = request.clone();
            async move { connect::events(channel).list_events(request).await }
        })
        .await
        .map_err(|refusal| refusal.failure("cannot tell the events"))?;
    if !arguments.follow {
        let name = "fulcrum.v1.ListEventsResponse";
        let text = match format {
            Output::Table => events::lines(&answer.events),
            Output::Json => to_json(&message_to_node(name, &answer)),
            Output::Yaml => to_yaml(&message_to_node(name, &answer)),
        };
        out::print(&text)?;
        return Ok(Exit::Ok);
    }
    for event in &answer.events {
        out::print(&tell(event, format))?;
    }
    let request =
        v1::WatchEventsRequest { filter: Some(filter), from_sequence: answer.last_sequence };
    follow(&controllers, request, format).await
}

/// Prints what happens until nobody reads any more. It goes on where it was, at whichever controller answers.
async fn follow(
    controllers: &Controllers,
    mut request: v1::WatchEventsRequest,
    format: Output,
) -> Result<Exit, Failure> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut has_begun = false;
    loop {
        let asked = controllers.ask(|channel| {
            let request = request.clone();
            async move { connect::events(channel).watch_events(request).await }
        });
        match asked.await {
            Err(connect::Refusal::Answered(status)) if has_begun && is_not_kept(&status) => {
                begin_anew(&mut request);
                continue;
            }
            // The first answer tells whether this can work at all.
            Err(refusal) if !has_begun => return Err(refusal.failure("cannot follow the events")),
            Err(refusal) => eprintln!("lvsctl: {}", refusal.failure("still trying to follow")),
            Ok(mut stream) => {
                has_begun = true;
                while let Some(answer) = stream.next().await {
                    let told = match answer {
                        Ok(response) => response.told,
                        Err(status) if is_not_kept(&status) => {
                            begin_anew(&mut request);
                            break;
                        }
                        Err(_) => break,
                    };
                    backoff.reset();
                    match told {
                        Some(Told::Event(event)) => {
                            request.from_sequence = event.sequence;
                            if !out::print_part(&tell(&event, format))? {
                                return Ok(Exit::Ok);
                            }
                        }
                        Some(Told::Bookmark(mark)) => request.from_sequence = mark.sequence,
                        None => {}
                    }
                }
                eprintln!("lvsctl: the controller ended the stream; asking again");
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

fn is_not_kept(status: &tonic::Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == "EVENTS_NOT_KEPT")
}

fn begin_anew(request: &mut v1::WatchEventsRequest) {
    eprintln!(
        "lvsctl: events after {} are no longer kept; it goes on with the oldest that is",
        request.from_sequence
    );
    request.from_sequence = 0;
}

fn tell(event: &v1::Event, format: Output) -> String {
    let node = || message_to_node("fulcrum.v1.Event", event);
    match format {
        Output::Json => to_json_line(&node()) + "\n",
        Output::Yaml => format!("---\n{}", to_yaml(&node())),
        Output::Table => events::line(event),
    }
}

impl Arguments {
    fn filter(&self, now: SystemTime) -> v1::EventFilter {
        let since = self.since.and_then(|since| now.checked_sub(since));
        let about = self.about.clone().unwrap_or_default();
        v1::EventFilter {
            kinds: self.kinds.iter().map(|kind| i32::from(*kind)).collect(),
            least_severity: self.severity.unwrap_or_default().into(),
            subject_kind: about.kind,
            subject_name: about.name,
            site: self.site.clone().unwrap_or_default(),
            since: since.map(Into::into),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    duration_from_text(text)
        .ok_or_else(|| "write a number and a unit of h, m, s or ms, such as 10m".to_owned())
}

/// A word of an enumeration, in either spelling.
fn word(text: &str) -> String {
    text.to_lowercase().replace('-', "_")
}

fn kind(text: &str) -> Result<v1::EventKind, String> {
    let text = word(text);
    let known = KINDS.iter().find(|(known, _)| **known == text);
    known.map(|(_, kind)| *kind).ok_or_else(|| {
        let words = KINDS.iter().map(|(known, _)| known.as_str());
        match suggest(&text, words.clone()) {
            Some(similar) => format!("there is no such kind of event; did you mean {similar}?"),
            None => format!("use {}", words.collect::<Vec<_>>().join(", ")),
        }
    })
}

fn severity(text: &str) -> Result<v1::EventSeverity, String> {
    let text = word(text);
    let known = SEVERITIES.iter().find(|(known, _)| **known == text);
    known.map(|(_, severity)| *severity).ok_or_else(|| "use info, warning or error".to_owned())
}

fn subject(text: &str) -> Result<v1::EventSubject, String> {
    let Some((kind, name)) = text.split_once('/') else {
        return Ok(v1::EventSubject { kind: 0, name: text.to_owned() });
    };
    let known = format!("EVENT_SUBJECT_KIND_{}", word(kind).to_uppercase());
    let kind = v1::EventSubjectKind::from_str_name(&known)
        .filter(|kind| *kind != v1::EventSubjectKind::Unspecified);
    let kind = kind.ok_or_else(|| {
        "use director, real_server_agent, controller, vrrp_instance, real_server, virtual_server, intent, notification or \
         cluster before the name"
            .to_owned()
    })?;
    Ok(v1::EventSubject { kind: kind.into(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_either_spelling() {
        assert_eq!(kind("became-active"), Ok(v1::EventKind::BecameActive));
        assert_eq!(kind("REAL_SERVER_OUT"), Ok(v1::EventKind::RealServerOut));
        let error = kind("became_activ").expect_err("there is none");
        assert!(error.contains("did you mean became_active?"), "{error}");
        assert_eq!(severity("Error"), Ok(v1::EventSeverity::Error));
        severity("unspecified").expect_err("nobody means that");
        let about = subject("vrrp-instance/vi-1").expect("it is one");
        assert_eq!(
            (about.kind(), about.name.as_str()),
            (v1::EventSubjectKind::VrrpInstance, "vi-1")
        );
        assert_eq!(subject("web1").map(|about| about.kind), Ok(0));
        subject("host/web1").expect_err("there is no such subject");
    }
}
