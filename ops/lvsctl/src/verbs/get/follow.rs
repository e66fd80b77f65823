//! `lvsctl get --watch`

use std::time::{Duration, SystemTime};

use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_resources_response::Event;
use fulcrum_runtime::backoff::Backoff;
use tokio_stream::StreamExt;

use super::is_not_kept;
use crate::cli::Output;
use crate::connect::{self, Controllers, Refusal, Traced};
use crate::exit::{Exit, Failure};
use crate::manifest::{kind_of, kind_word};
use crate::out;
use crate::status::clock;
use crate::text::{message_to_node, to_json_line, to_yaml};
use crate::verbs::confirm::is_known;

/// First and longest pause before the controllers are asked again after a stream has ended: a watch outlives upgrades.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Prints what changes until nobody reads any more. It goes on where it was, at whichever controller answers.
pub(super) async fn run(
    controllers: &Controllers,
    mut request: v1::WatchResourcesRequest,
    format: Output,
) -> Result<Exit, Failure> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut has_begun = false;
    loop {
        let ask = |channel: Traced| {
            let request = request.clone();
            async move {
                if !request.label_selector.is_empty() {
                    is_known(channel.clone()).await?;
                }
                connect::intent(channel).watch_resources(request).await
            }
        };
        match controllers.ask(ask).await {
            Err(Refusal::Answered(status)) if has_begun && is_not_kept(&status) => {
                begin_anew(&mut request);
                continue;
            }
            // The first answer tells whether this can work at all.
            Err(refusal) if !has_begun => return Err(refusal.failure("cannot watch")),
            Err(refusal) => eprintln!("lvsctl: {}", refusal.failure("still trying to watch")),
            Ok(mut stream) => {
                has_begun = true;
                let mut is_anew = false;
                while let Some(answer) = stream.next().await {
                    let response = match answer {
                        Ok(response) => response,
                        Err(status) if is_not_kept(&status) => {
                            begin_anew(&mut request);
                            is_anew = true;
                            break;
                        }
                        Err(_) => break,
                    };
                    backoff.reset();
                    if let Some(Event::Bookmark(bookmark)) = &response.event {
                        request.from_revision = bookmark.revision;
                    }
                    if !out::print_part(&tell(&response, format, SystemTime::now()))? {
                        return Ok(Exit::Ok);
                    }
                }
                eprintln!("lvsctl: the controller ended the stream; asking again");
                if request.from_revision == 0 && !is_anew {
                    // Without a bookmark nobody can tell later what it was told and is gone.
                    eprintln!(
                        "lvsctl: it ended before all was told; all comes again, but not what was deleted meanwhile"
                    );
                }
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

fn begin_anew(request: &mut v1::WatchResourcesRequest) {
    eprintln!(
        "lvsctl: revision {} is no longer kept; all that there is comes again, but not what was deleted meanwhile",
        request.from_revision
    );
    request.from_revision = 0;
}

fn tell(response: &v1::WatchResourcesResponse, format: Output, now: SystemTime) -> String {
    let node = || message_to_node("fulcrum.v1.WatchResourcesResponse", response);
    match format {
        Output::Json => to_json_line(&node()) + "\n",
        Output::Yaml => format!("---\n{}", to_yaml(&node())),
        Output::Table => match &response.event {
            Some(Event::Resource(resource)) => {
                let metadata = resource.metadata.clone().unwrap_or_default();
                let v1::Metadata { name, revision, .. } = metadata;
                format!("{} {} {name} at revision {revision}\n", clock(now), kind_of(resource))
            }
            Some(Event::Deleted(gone)) => {
                format!("{} {} {} deleted\n", clock(now), kind_word(gone.kind()), gone.name)
            }
            // Of use to programs alone.
            Some(Event::Bookmark(_)) | None => String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_to_people_and_programs() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(10_691_500);
        let metadata = v1::Metadata { name: "main".to_owned(), revision: 7, ..Default::default() };
        let spec = Some(v1::resource::Spec::Site(v1::Site::default()));
        let site = v1::Resource { metadata: Some(metadata), spec };
        let gone = v1::ResourceName { kind: v1::Kind::Pool.into(), name: "a".to_owned() };
        let cases = [
            (
                Event::Resource(site),
                "02:58:11Z Site main at revision 7\n",
                "{\"resource\":{\"kind\":\"Site\",\"name\":\"main\",\"revision\":7,\"spec\":{}}}\n",
            ),
            (
                Event::Deleted(gone),
                "02:58:11Z Pool a deleted\n",
                "{\"deleted\":{\"kind\":\"Pool\",\"name\":\"a\"}}\n",
            ),
            (
                Event::Bookmark(v1::Bookmark { revision: 9 }),
                "",
                "{\"bookmark\":{\"revision\":9}}\n",
            ),
        ];
        for (event, people, programs) in cases {
            let response = v1::WatchResourcesResponse { event: Some(event) };
            assert_eq!(tell(&response, Output::Table, now), people);
            assert_eq!(tell(&response, Output::Json, now), programs);
        }
    }
}
