//! How far this controller's clock is from each of the others'.
//!
//! The exchange and its arithmetic are the agents' own ([`Comparison`]). Who asks measures, so that of two clocks that differ
//! both controllers tell, and the third tells which of them is wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use fulcrum_proto::finding::{Code, Look};
use fulcrum_proto::internal::v1::CompareClocksRequest;
use fulcrum_proto::internal::v1::mesh_service_client::MeshServiceClient;
use fulcrum_proto::v1;
use fulcrum_runtime::backoff::Backoff;
use fulcrum_session::{ClockReading, Comparison};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code as Reason, Request, Status};

/// Longest time for an answer. A comparison with one that takes longer would say little.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// First wait after a question that was not answered.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait: a peer that is back is compared with soon, and a dead one costs little.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The newest comparison with each peer, or why there is none.
pub type Readings = BTreeMap<String, Result<ClockReading, String>>;

/// Before the first question.
pub fn none_yet(peers: impl Iterator<Item = String>) -> Readings {
    peers.map(|peer| (peer, Err("it was not asked yet".to_owned()))).collect()
}

/// What the comparisons come to.
pub fn judge(readings: &Readings) -> Look {
    if readings.is_empty() {
        let alone = "there is no other controller to compare it with";
        return Look { findings: Vec::new(), unchecked: vec![Code::ClockSkew.unchecked(alone)] };
    }
    Look::merge(readings.iter().map(|(peer, reading)| match reading {
        Ok(reading) => ClockReading::newest(Some(reading)),
        Err(why) => {
            let why = format!("the clock of controller {peer} was not compared with: {why}");
            Look { findings: Vec::new(), unchecked: vec![Code::ClockSkew.unchecked(why)] }
        }
    }))
}

/// Asks a peer again and again, until `shutdown`.
pub async fn follow(
    peer: String,
    channel: Channel,
    readings: watch::Sender<Readings>,
    shutdown: CancellationToken,
) {
    let mut comparison = Comparison::new(&peer, Instant::now());
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let asked = tokio::select! {
            () = shutdown.cancelled() => return,
            asked = ask(&channel, &mut comparison) => asked,
        };
        let next = match &asked {
            Ok(_) => {
                backoff.reset();
                comparison.due()
            }
            // It will not learn it before it is another program.
            Err(status) if status.code() == Reason::Unimplemented => comparison.due(),
            Err(_) => Instant::now() + backoff.next(),
        };
        let reading = asked.map_err(|status| words(&status));
        readings.send_if_modified(|known| {
            let has_changed = known.get(&peer) != Some(&reading);
            known.insert(peer.clone(), reading);
            has_changed
        });
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}

async fn ask(channel: &Channel, comparison: &mut Comparison) -> Result<ClockReading, Status> {
    let mut client = MeshServiceClient::new(channel.clone());
    // So that what it takes to connect is no part of what is measured: an empty answer to nothing but the connection.
    let warm = comparison.ask(SystemTime::now(), Instant::now());
    exchange(&mut client, warm).await?;
    let question = comparison.ask(SystemTime::now(), Instant::now());
    let answer = exchange(&mut client, question).await?;
    comparison
        .hear(&answer, Instant::now())
        .ok_or_else(|| Status::internal("it answers another question"))
}

async fn exchange(
    client: &mut MeshServiceClient<Channel>,
    question: v1::Clock,
) -> Result<v1::Clock, Status> {
    let request = Request::new(CompareClocksRequest { question: Some(question) });
    let answer = tokio::time::timeout(ANSWER_WITHIN, client.compare_clocks(request)).await;
    let answer = answer.map_err(|_| {
        Status::deadline_exceeded(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))
    })?;
    Ok(answer?.into_inner().answer.unwrap_or_default())
}

/// For people.
fn words(status: &Status) -> String {
    match status.code() {
        Reason::Unimplemented => "it is of an older version, which tells no time".to_owned(),
        Reason::Unavailable => "it is out of reach".to_owned(),
        // Of tonic's own codes the others are rare, and their messages say enough.
        _ => status.message().to_owned(),
    }
}

/// The answer to a question.
pub fn answer(question: v1::Clock, received: SystemTime) -> v1::Clock {
    let answered_at = Some(SystemTime::now().into());
    v1::Clock { received_at: Some(received.into()), answered_at, ..question }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_is_told_of() {
        let reading = |controller: &str, ahead_ms| {
            let error = Duration::from_millis(1);
            Ok(ClockReading { controller: controller.to_owned(), ahead_ms, error })
        };
        let alone = judge(&none_yet(std::iter::empty()));
        assert_eq!((alone.findings.len(), alone.unchecked.len()), (0, 1), "nobody looked");
        let mut readings = none_yet(["c2", "c3"].map(str::to_owned).into_iter());
        let look = judge(&readings);
        assert_eq!((look.findings.len(), look.unchecked.len()), (0, 2));
        assert_eq!(
            look.unchecked[0].why,
            "the clock of controller c2 was not compared with: it was not asked yet"
        );
        readings.insert("c2".to_owned(), reading("c2", 20));
        readings.insert("c3".to_owned(), reading("c3", -5_000));
        let look = judge(&readings);
        assert_eq!((look.findings.len(), look.unchecked.len()), (1, 0));
        assert!(
            look.findings[0].found.contains("5.0 s ahead of that of controller c3"),
            "{look:?}"
        );
    }

    #[test]
    fn why_there_is_none_is_told_in_words() {
        for (status, expected) in [
            (Status::unimplemented("x"), "it is of an older version, which tells no time"),
            (Status::unavailable("tcp connect error"), "it is out of reach"),
            (Status::deadline_exceeded("no answer within 2 s"), "no answer within 2 s"),
        ] {
            assert_eq!(words(&status), expected);
        }
    }
}
