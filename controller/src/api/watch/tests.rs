use std::collections::BTreeMap;

use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::*;
use crate::api::served::QUEUED;
use crate::testing::{examples, states};

/// All events until the round is over, in words.
fn told(round: &mut Round, state: &IntentState) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(event) = round.next(state) {
        words.push(match event {
            Event::Resource(resource) => {
                let metadata = resource.metadata.expect("it has its name");
                format!("{}@{}", metadata.name, metadata.revision)
            }
            Event::Deleted(name) => format!("-{}", name.name),
            Event::Bookmark(bookmark) => format!("={}", bookmark.revision),
        });
    }
    words
}

fn filter(kind: v1::Kind, prefix: &str, labels: &[(&str, &str)]) -> Filter {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut violations = Vec::new();
    let filter = Filter::read(kind.into(), prefix, &labels, "", &mut violations);
    assert_eq!(violations, []);
    filter
}

fn labelled(name: &str, rack: &str) -> v1::Resource {
    let mut site = examples::site(name);
    if let Some(metadata) = &mut site.metadata {
        metadata.labels.insert("rack".to_owned(), rack.to_owned());
    }
    site
}

#[test]
fn all_is_told_first_and_then_what_changes() {
    let mut state = IntentState::default();
    let mut round = Round::new(Filter::default(), None);
    round.begin(&state).expect("nothing is too old");
    assert_eq!(told(&mut round, &state), ["=0"]);
    assert!(!round.lags(&state));
    states::write(&mut state, 3, vec![examples::site("a"), examples::site("b")], &[]);
    states::write(&mut state, 5, vec![examples::site("c")], &[(v1::Kind::Site, "a")]);
    assert!(round.lags(&state));
    round.begin(&state).expect("it is kept");
    assert_eq!(told(&mut round, &state), ["-a", "b@3", "c@5", "=5"]);
    let mut other = Round::new(Filter::default(), None);
    other.begin(&state).expect("nothing is too old");
    assert_eq!(told(&mut other, &state), ["b@3", "c@5", "=5"]);
    let mut resumed = Round::new(Filter::default(), Some(Revision(3)));
    resumed.begin(&state).expect("it is kept");
    assert_eq!(told(&mut resumed, &state), ["-a", "c@5", "=5"]);
}

#[test]
fn a_slow_watcher_is_told_once_what_changed_twice() {
    let mut state = IntentState::default();
    states::write(&mut state, 3, vec![examples::site("a"), examples::site("b")], &[]);
    let mut round = Round::new(Filter::default(), None);
    round.begin(&state).expect("nothing is too old");
    let first = round.next(&state);
    assert!(matches!(first, Some(Event::Resource(_))), "{first:?}");
    states::write(&mut state, 4, vec![labelled("b", "x")], &[]);
    states::write(&mut state, 5, vec![labelled("b", "y")], &[]);
    // As it is now, though the bookmark promises less.
    assert_eq!(told(&mut round, &state), ["b@5", "=3"]);
    assert!(round.lags(&state));
    round.begin(&state).expect("it is kept");
    assert_eq!(told(&mut round, &state), ["b@5", "=5"]);
}

#[test]
fn what_leaves_a_filter_is_told_as_deleted_and_a_quiet_watcher_gets_bookmarks() {
    let mut state = IntentState::default();
    states::write(&mut state, 3, vec![labelled("a1", "x"), labelled("a2", "y")], &[]);
    let mut round = Round::new(filter(v1::Kind::Site, "a", &[("rack", "x")]), None);
    round.begin(&state).expect("nothing is too old");
    assert_eq!(told(&mut round, &state), ["a1@3", "=3"]);
    states::write(
        &mut state,
        4,
        vec![examples::site("b"), examples::director("a3", "10.0.0.1")],
        &[],
    );
    round.begin(&state).expect("it is kept");
    assert_eq!(told(&mut round, &state), ["=4"]);
    states::write(&mut state, 5, vec![labelled("a1", "y")], &[]);
    round.begin(&state).expect("it is kept");
    assert_eq!(told(&mut round, &state), ["-a1", "=5"]);
}

#[test]
fn what_is_no_longer_kept_cannot_be_followed() {
    let mut state = IntentState::default();
    let mut round = Round::new(Filter::default(), Some(Revision(2)));
    states::write(&mut state, 2, vec![examples::site("a")], &[]);
    let kept = u64::try_from(fulcrum_intent::history::MAX_REVISIONS).expect("a small number");
    for index in 3..3 + kept {
        states::write(&mut state, index, vec![labelled("a", &index.to_string())], &[]);
    }
    round.begin(&state).expect("the base of the oldest is known");
    states::write(&mut state, 3 + kept, vec![examples::site("a")], &[]);
    let status = Round::new(Filter::default(), Some(Revision(2))).begin(&state);
    let status = status.expect_err("it was dropped");
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("the oldest that is kept is 3"), "{status:?}");
    // Nor what is yet to come.
    let status = Round::new(Filter::default(), Some(Revision(9999))).begin(&state);
    assert_eq!(status.expect_err("there is none").code(), Code::OutOfRange);
}

/// A watcher of more than is queued, and the one place that it takes.
struct Served {
    stream: ReceiverStream<Told>,
    places: Arc<Semaphore>,
    stopping: CancellationToken,
    // Changes nothing, and is there.
    _states: watch::Sender<Arc<IntentState>>,
}

fn served(sites: usize, stall: Duration) -> Served {
    let mut state = IntentState::default();
    let put = (0..sites).map(|number| examples::site(&format!("s{number}"))).collect();
    states::write(&mut state, 3, put, &[]);
    let (sender, states) = watch::channel(Arc::new(state));
    let (places, stopping) = (Arc::new(Semaphore::new(1)), CancellationToken::new());
    let place = Arc::clone(&places).try_acquire_owned().expect("it is free");
    let watcher = Watcher::new(Filter::default(), None, states, stopping.clone(), place);
    let stream = watcher.expect("nothing is too old").serve(stall);
    Served { stream, places, stopping, _states: sender }
}

async fn is_free(places: &Semaphore) -> bool {
    tokio::time::timeout(Duration::from_secs(30), places.acquire()).await.is_ok()
}

#[tokio::test]
async fn a_watcher_that_does_not_read_loses_its_place() {
    let served = served(2 * QUEUED, Duration::from_millis(20));
    assert!(is_free(&served.places).await);
    // What was queued is still told; then it ends.
    assert_eq!(served.stream.collect::<Vec<_>>().await.len(), QUEUED);
}

#[tokio::test]
async fn a_watcher_whose_client_goes_loses_its_place() {
    for sites in [1, 2 * QUEUED] {
        let served = served(sites, Duration::from_hours(1));
        assert_eq!(served.places.available_permits(), 0);
        drop(served.stream);
        assert!(is_free(&served.places).await, "{sites}");
    }
}

#[tokio::test]
async fn a_controller_that_stops_tells_those_who_read_and_waits_for_none() {
    let slow = served(2 * QUEUED, Duration::from_hours(1));
    slow.stopping.cancel();
    assert!(is_free(&slow.places).await);
    let mut reads = served(1, Duration::from_hours(1));
    for _ in 0..2 {
        assert!(matches!(reads.stream.next().await, Some(Ok(_))), "the site and the bookmark");
    }
    reads.stopping.cancel();
    let last = reads.stream.next().await.expect("it is told").expect_err("it ends");
    assert_eq!(last.code(), Code::Unavailable);
    assert!(reads.stream.next().await.is_none());
}
