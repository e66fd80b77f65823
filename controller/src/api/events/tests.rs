//! Pages and filters.

use fulcrum_proto::internal::v1::{EventBatch, EventChange};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;

fn log() -> EventLog {
    let mut log = EventLog::default();
    let change = |number: u32| {
        let kind = if number.is_multiple_of(2) {
            v1::EventKind::RealServerOut
        } else {
            v1::EventKind::RealServerIn
        };
        let event = v1::Event { kind: kind.into(), text: number.to_string(), ..Default::default() };
        EventChange { event: Some(event), ..Default::default() }
    };
    let batch = EventBatch {
        after_sequence: 900,
        changes: (0..10).map(change).collect(),
        ..Default::default()
    };
    log.take(1, &batch, &mut Vec::new());
    log
}

fn texts(answer: &v1::ListEventsResponse) -> Vec<&str> {
    answer.events.iter().map(|event| event.text.as_str()).collect()
}

#[test]
fn pages_go_on_where_the_one_before_ended() {
    let log = log();
    let filter =
        v1::EventFilter { kinds: vec![v1::EventKind::RealServerOut.into()], ..Default::default() };
    let mut request =
        v1::ListEventsRequest { filter: Some(filter), page_size: 2, ..Default::default() };
    let mut pages = Vec::new();
    loop {
        let answer = list(&request, &log).expect("it is good");
        pages.push(texts(&answer).join(" "));
        assert_eq!(answer.dropped_to, 900);
        if answer.next_page_token.is_empty() {
            assert_eq!(answer.last_sequence, log.newest());
            break;
        }
        request.page_token = answer.next_page_token;
    }
    assert_eq!(pages, ["0 2", "4 6", "8"]);
    let newest = v1::ListEventsRequest { newest: true, page_size: 3, ..Default::default() };
    assert_eq!(texts(&list(&newest, &log).expect("it is good")), ["7", "8", "9"]);
}

#[test]
fn what_is_not_kept_and_what_is_wrong_is_said() {
    let log = log();
    let gone = v1::ListEventsRequest { page_token: "899".to_owned(), ..Default::default() };
    let status = list(&gone, &log).expect_err("it is not kept");
    assert_eq!(status.code(), Code::OutOfRange);
    let info = status.get_details_error_info().expect("it says why");
    assert_eq!(
        (info.reason.as_str(), &info.metadata["oldest_sequence"][..]),
        ("EVENTS_NOT_KEPT", "900")
    );
    let bad = v1::ListEventsRequest {
        page_size: 1001,
        page_token: "x".to_owned(),
        newest: true,
        ..Default::default()
    };
    let status = list(&bad, &log).expect_err("three bad fields");
    let fields = status.get_details_bad_request().expect("it names them").field_violations;
    let fields: Vec<&str> = fields.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["page_size", "page_token", "newest"]);
}
