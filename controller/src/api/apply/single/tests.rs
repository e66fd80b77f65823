use fulcrum_model::Revision;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::testing::examples;
use crate::testing::states::write;

/// The example set at revision 7.
fn written() -> IntentState {
    let mut state = IntentState { incarnation: 2, ..IntentState::default() };
    write(&mut state, 7, examples::cluster(), &[]);
    state
}

fn intent(state: &IntentState) -> Intent {
    Intent { revision: state.revision, resources: state.resources.clone() }
}

fn create(state: &IntentState, resource: v1::Resource) -> Decision {
    let resource = Some(resource);
    let request = v1::CreateResourceRequest { resource, ..Default::default() };
    decide_create(&request, "anna", state, &intent(state))
}

fn update_request(resource: v1::Resource, paths: &[&str]) -> v1::UpdateResourceRequest {
    let paths = paths.iter().map(ToString::to_string).collect();
    let (resource, update_mask) = (Some(resource), Some(prost_types::FieldMask { paths }));
    v1::UpdateResourceRequest { resource, update_mask, ..Default::default() }
}

fn update(state: &IntentState, request: &v1::UpdateResourceRequest) -> Decision {
    decide_update(request, "anna", state, &intent(state))
}

fn delete(state: &IntentState, request: &v1::DeleteResourceRequest) -> Decision {
    decide_delete(request, "anna", state, &intent(state))
}

fn delete_request(kind: v1::Kind, name: &str) -> v1::DeleteResourceRequest {
    v1::DeleteResourceRequest { kind: kind.into(), name: name.to_owned(), ..Default::default() }
}

fn refused(decision: Decision, code: Code) -> Status {
    let Decision::Refuse(status) = decision else { panic!("it is not refused: {decision:?}") };
    assert_eq!(status.code(), code, "{status:?}");
    status
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let bad = details.bad_request().expect("it names the fields");
    bad.field_violations.iter().map(|violation| violation.field.clone()).collect()
}

#[test]
fn a_resource_is_created_once() {
    let state = written();
    let Decision::Write(write, response) = create(&state, examples::site("east")) else {
        panic!("it is new");
    };
    assert_eq!((write.base_revision, write.put.len(), write.who.as_str()), (7, 1, "anna"));
    assert_eq!(response.changes[0].action(), v1::ChangeAction::Create);
    let status = refused(create(&state, examples::site("main")), Code::AlreadyExists);
    let told = "there is a Site main already, last changed by revision 7: update it instead";
    assert_eq!(status.message(), told);
    let bad = create(&state, examples::virtual_server("a", 70_000, "nowhere"));
    assert_eq!(fields(&refused(bad, Code::InvalidArgument)), ["resource.spec.port"]);
    let bad = create(&state, examples::virtual_server("a", 81, "nowhere"));
    assert_eq!(fields(&refused(bad, Code::InvalidArgument)), ["resource.spec.pool"]);
    let none = v1::CreateResourceRequest { reason: "\n".to_owned(), ..Default::default() };
    let bad = decide_create(&none, "anna", &state, &intent(&state));
    assert_eq!(fields(&refused(bad, Code::InvalidArgument)), ["reason", "resource"]);
}

#[test]
fn fields_are_changed_while_the_etag_holds() {
    let state = written();
    let mut other = examples::web_by_least_connections();
    if let Some(v1::resource::Spec::VirtualServer(spec)) = &mut other.spec {
        spec.pool = "nowhere".to_owned();
    }
    let request = update_request(other.clone(), &["spec.scheduler"]);
    let Decision::Write(write, _) = update(&state, &request) else { panic!("it differs") };
    let Some(v1::resource::Spec::VirtualServer(written)) = &write.put[0].spec else {
        panic!("{write:?}");
    };
    assert_eq!((written.scheduler(), written.pool.as_str()), (v1::Scheduler::Wlc, "tomcats"));
    let dry = v1::UpdateResourceRequest { validate_only: true, ..request.clone() };
    let told = outcome(&Forwarded::Update(dry), &state).expect("as it would be");
    assert_eq!(told.metadata.map(|metadata| metadata.revision), Some(0));

    let status =
        refused(update(&state, &update_request(other.clone(), &[])), Code::InvalidArgument);
    assert_eq!(fields(&status), ["resource.spec.pool"]);
    let bad =
        refused(update(&state, &update_request(other.clone(), &["spec.x"])), Code::InvalidArgument);
    assert_eq!(fields(&bad), ["update_mask"]);

    let mut with_etag = |etag: &str| {
        other.metadata.get_or_insert_default().etag = etag.to_owned();
        update(&state, &update_request(other.clone(), &["spec.scheduler"]))
    };
    assert!(matches!(with_etag("2-7"), Decision::Write(..)));
    let status = refused(with_etag("2-6"), Code::Aborted);
    let told = "VirtualServer web has changed since etag \"2-6\" was read, last by revision 7: read it again";
    assert_eq!(status.message(), told);
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("it says why").reason, "STALE_ETAG");

    let absent = update_request(examples::site("east"), &["spec.description"]);
    refused(update(&state, &absent), Code::NotFound);
    let absent = v1::UpdateResourceRequest { allow_missing: true, ..absent };
    assert!(matches!(update(&state, &absent), Decision::Write(..)));
    let same = update_request(examples::site("main"), &["*"]);
    assert!(matches!(update(&state, &same), Decision::Answer(_)));
    let told = outcome(&Forwarded::Update(same), &state).map(|wire| etag::tell(&state, wire));
    let metadata = told.and_then(|wire| wire.metadata).expect("it is there");
    assert_eq!((metadata.revision, metadata.etag.as_str()), (7, "2-7"));
    let nameless = update_request(v1::Resource::default(), &[]);
    let status = refused(update(&state, &nameless), Code::InvalidArgument);
    assert_eq!(fields(&status), ["resource.spec", "resource.name"]);
}

#[test]
fn a_resource_is_deleted_while_the_etag_holds_and_nobody_needs_it() {
    let mut state = written();
    let web = delete_request(v1::Kind::VirtualServer, "web");
    // It is the only one.
    refused(delete(&state, &web), Code::FailedPrecondition);
    let meant = v1::DeleteResourceRequest { allow_drastic: true, ..web.clone() };
    let Decision::Write(write, _) = delete(&state, &meant) else { panic!("it is meant") };
    assert_eq!((write.put.len(), write.delete.len()), (0, 1));
    let status =
        refused(delete(&state, &delete_request(v1::Kind::Pool, "tomcats")), Code::InvalidArgument);
    assert_eq!(fields(&status), ["VirtualServer/web.spec.pool"]);
    let stale = v1::DeleteResourceRequest { etag: "1-7".to_owned(), ..meant.clone() };
    refused(delete(&state, &stale), Code::Aborted);
    let none = delete_request(v1::Kind::Pool, "none");
    refused(delete(&state, &none), Code::NotFound);
    let gone = v1::DeleteResourceRequest { etag: "2-7".to_owned(), ..none.clone() };
    let status = refused(delete(&state, &gone), Code::Aborted);
    assert_eq!(status.message(), "Pool none is gone since etag \"2-7\" was read");
    let none = v1::DeleteResourceRequest { allow_missing: true, ..none };
    assert!(matches!(delete(&state, &none), Decision::Answer(_)));
    let status = refused(
        delete(&state, &delete_request(v1::Kind::Unspecified, "No")),
        Code::InvalidArgument,
    );
    assert_eq!(fields(&status), ["kind", "name"]);

    // Asked again, each is answered as the first time.
    let named = v1::DeleteResourceRequest { request_id: "r".to_owned(), ..meant };
    let Decision::Write(write, _) = delete(&state, &named) else { panic!("it is meant") };
    crate::testing::states::take(&mut state, 9, *write);
    assert!(matches!(delete(&state, &named), Decision::Repeated(Revision(9))));
}
