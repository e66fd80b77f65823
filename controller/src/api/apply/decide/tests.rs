use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::testing::examples;

fn request(resources: Vec<v1::Resource>) -> v1::ApplyRequest {
    v1::ApplyRequest { resources, ..Default::default() }
}

fn read_of(request: &v1::ApplyRequest, current: &Intent) -> Result<Ask, Status> {
    read(request, "anna", current)
}

/// The intent after the example set was written at revision 7.
fn written() -> Intent {
    let mut intent = Intent::default();
    let ask = read_of(&request(examples::cluster()), &intent).expect("a good set");
    intent.apply(Revision(7), ask.set.into_iter().map(|(_, resource)| resource), []);
    intent
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let bad = details.bad_request().expect("it names the fields");
    bad.field_violations.iter().map(|violation| violation.field.clone()).collect()
}

#[test]
fn a_new_set_is_written_and_told_per_agent() {
    let empty = Intent::default();
    let ask = read_of(&request(examples::cluster()), &empty).expect("a good set");
    let Decision::Write(write, response) = decide(&ask, &empty, None, |v| v) else {
        panic!("it differs from nothing");
    };
    assert_eq!((write.base_revision, write.put.len(), write.delete.len()), (0, 8, 0));
    assert_eq!(response.changes.len(), 8);
    assert!(response.changes.iter().all(|c| c.action() == v1::ChangeAction::Create));
    let agents: Vec<_> = response.agent_changes.iter().map(|c| c.agent.as_str()).collect();
    assert_eq!(agents, ["director/d1", "director/d2", "realserver/web1", "realserver/web2"]);
    assert_eq!(response.agent_changes[0].changed, ["ipvs", "virtual-server/web", "vrrp/vi-1"]);
}

#[test]
fn what_is_asked_decides() {
    let repeated = |revision| format!("repeated {revision}");
    let cases = [
        (v1::ApplyRequest::default(), None, "answer 0 changes at 7".to_owned()),
        (request(examples::cluster()), None, "answer 0 changes at 7".to_owned()),
        (
            v1::ApplyRequest { validate_only: true, ..request(vec![examples::site("east")]) },
            None,
            "answer 1 changes at 7".to_owned(),
        ),
        (
            v1::ApplyRequest { if_revision: 7, ..request(vec![examples::site("east")]) },
            None,
            "write 1 and 0 at 7".to_owned(),
        ),
        (
            v1::ApplyRequest { if_revision: 6, ..request(vec![examples::site("east")]) },
            None,
            "refuse Aborted".to_owned(),
        ),
        (
            v1::ApplyRequest { if_revision: 6, ..request(vec![examples::site("east")]) },
            Some(Revision(7)),
            repeated(7),
        ),
        (
            v1::ApplyRequest { prune: true, ..request(vec![examples::site("main")]) },
            None,
            "refuse FailedPrecondition".to_owned(),
        ),
        (
            v1::ApplyRequest {
                prune: true,
                allow_drastic: true,
                ..request(vec![examples::site("main")])
            },
            None,
            "write 0 and 7 at 7".to_owned(),
        ),
        (
            request(vec![examples::virtual_server("web2", 81, "nowhere")]),
            None,
            "refuse InvalidArgument".to_owned(),
        ),
    ];
    let intent = written();
    for (request, answered, expected) in cases {
        let ask = read_of(&request, &intent).expect("each resource alone is good");
        let found = match decide(&ask, &intent, answered, |v| v) {
            Decision::Repeated(revision) => repeated(revision.0),
            Decision::Answer(response) => {
                format!("answer {} changes at {}", response.changes.len(), response.revision)
            }
            Decision::Refuse(status) => format!("refuse {:?}", status.code()),
            Decision::Write(write, _) => format!(
                "write {} and {} at {}",
                write.put.len(),
                write.delete.len(),
                write.base_revision
            ),
        };
        assert_eq!(found, expected, "{request:?}");
    }
}

#[test]
fn a_stale_revision_names_both() {
    let intent = written();
    let asked = v1::ApplyRequest { if_revision: 3, ..request(Vec::new()) };
    let ask = read_of(&asked, &intent).expect("nothing is bad");
    let Decision::Refuse(status) = decide(&ask, &intent, None, |v| v) else {
        panic!("it is stale")
    };
    assert_eq!(status.code(), Code::Aborted);
    let details = status.get_error_details();
    let info = details.error_info().expect("it says why");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("STALE_REVISION", "fulcrum"));
    assert_eq!(info.metadata.get("if_revision").map(String::as_str), Some("3"));
    assert_eq!(info.metadata.get("revision").map(String::as_str), Some("7"));
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_requests_order() {
    let mut set = examples::cluster();
    set.push(examples::virtual_server("bad-port", 70_000, "tomcats"));
    set.push(examples::virtual_server("bad-pool", 81, "nowhere"));
    set.push(examples::site("Bad_Name"));
    let asked = v1::ApplyRequest { request_id: "x".repeat(65), ..request(set) };
    let status = read_of(&asked, &Intent::default()).expect_err("four things are wrong");
    assert_eq!(status.code(), Code::InvalidArgument);
    let fields = fields(&status);
    assert_eq!(fields[0], "request_id");
    for (index, part) in ["resources[8]", "resources[9]", "resources[10]"].iter().enumerate() {
        assert!(fields[index + 1].starts_with(part), "{fields:?}");
    }
    assert!(status.message().ends_with("(and 3 more)"), "{}", status.message());
}

#[test]
fn too_many_resources_are_refused_unread() {
    let asked = request(vec![v1::Resource::default(); MAX_RESOURCES + 1]);
    let status = read_of(&asked, &Intent::default()).expect_err("one too many");
    assert_eq!(fields(&status), ["resources"]);
}

#[test]
fn owners_keep_their_hands_off_each_others_resources() {
    let owned = |owner: &str, sites: &[&str]| v1::ApplyRequest {
        owner: owner.to_owned(),
        prune: true,
        ..request(sites.iter().map(|name| examples::site(name)).collect())
    };
    let mut intent = written();
    let mut apply = |asked: &v1::ApplyRequest| {
        let ask = read_of(asked, &intent).expect("each resource is good");
        match decide(&ask, &intent, None, |v| v) {
            Decision::Write(_, response) => {
                let put: Vec<Resource> =
                    ask.set.into_iter().map(|(_, resource)| resource).collect();
                let gone = response
                    .changes
                    .iter()
                    .filter(|change| change.action() == v1::ChangeAction::Delete);
                let gone: Vec<ResourceKey> = gone
                    .map(|change| ResourceKey {
                        kind: convert::kind_from_wire(change.kind).expect("a kind"),
                        name: change.name.parse().expect("a name"),
                    })
                    .collect();
                let told: Vec<String> = gone.iter().map(ToString::to_string).collect();
                intent.apply(Revision(intent.revision.0 + 1), put, gone);
                told
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(apply(&owned("mail", &["m1", "m2"])), Vec::<String>::new());
    assert_eq!(apply(&owned("dns", &["n1"])), Vec::<String>::new());
    assert_eq!(apply(&owned("mail", &["m1", "m3"])), ["Site m2"]);
    // Whoever has no owner prunes what has none.
    let plain =
        v1::ApplyRequest { prune: true, allow_drastic: true, ..request(examples::cluster()) };
    apply(&request(vec![examples::site("plain")]));
    assert_eq!(apply(&plain), ["Site plain"]);
    let names: Vec<&str> = intent.resources.keys().take(4).map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["m1", "m3", "main", "n1"]);

    let mut labelled = owned("mail", &["m4"]);
    labelled.resources[0]
        .metadata
        .get_or_insert_default()
        .labels
        .insert("fulcrum.owner".to_owned(), "dns".to_owned());
    let cases = [
        (owned("mail", &["m1", "n1"]), "resources[1].name"),
        (labelled, "resources[0].labels"),
        (owned("Not A Name", &[]), "owner"),
    ];
    for (asked, field) in cases {
        let status = read_of(&asked, &intent).expect_err("it is not theirs");
        assert_eq!(fields(&status), [field], "{status:?}");
    }
}

#[test]
fn a_vrid_that_is_left_out_is_allotted_and_kept() {
    let without = |name: &str, vip: &str| {
        let mut instance = examples::vrrp_instance(name, &["d1", "d2"]);
        if let Some(v1::resource::Spec::VrrpInstance(spec)) = &mut instance.spec {
            (spec.vrid, spec.vips) = (0, vec![vip.to_owned()]);
        }
        instance
    };
    let intent = written();
    let set = vec![without("vi-1", "192.168.1.150/24"), without("vi-2", "192.168.1.151/24")];
    let ask = read_of(&request(set), &intent).expect("they are allotted");
    let Decision::Write(write, _) = decide(&ask, &intent, None, |v| v) else {
        panic!("one is new");
    };
    // The other one has 51 and keeps it, so that nothing differs.
    let [v1::Resource { spec: Some(v1::resource::Spec::VrrpInstance(spec)), .. }] = &write.put[..]
    else {
        panic!("{:?}", write.put);
    };
    assert_eq!((spec.vrid, spec.vips[0].as_str()), (1, "192.168.1.151/24"));
}
