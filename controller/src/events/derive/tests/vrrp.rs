//! Who became Active, and why.

use fulcrum_proto::v1;
use fulcrum_proto::v1::VrrpState::{Active, Backup, Initialize};

use super::bench::Bench;

#[test]
fn a_failover_is_one_event_that_names_who_and_why() {
    type Edit = fn(&mut Bench);
    let cases: [(&str, Edit, &str); 6] = [
        (
            "power loss: the old Active is silent, and its last word is that it was",
            |bench| bench.agent("director/d1", |status| status.attached = false),
            "director d1 is not heard any more",
        ),
        (
            "a fault",
            |bench| {
                bench.vrrp("d1", Backup);
                bench.director("d1", |observed| {
                    observed.vrrp_instances[0].faults = vec!["interface eth1 is down".to_owned()];
                });
            },
            "director d1 must not be: interface eth1 is down",
        ),
        (
            "its interface",
            |bench| bench.vrrp("d1", Initialize),
            "director d1 has not begun: its interface is down, or it starts",
        ),
        (
            "a priority that fell",
            |bench| {
                bench.vrrp("d1", Backup);
                bench.director("d1", |observed| observed.vrrp_instances[0].priority = 80);
            },
            "its priority 90 is above 80 of director d1",
        ),
        ("it gave up", |bench| bench.vrrp("d1", Backup), "director d1 gave it up"),
        ("an order", hand_over, "ordered by ops: kernel upgrade"),
    ];
    for (what, edit, cause) in cases {
        let mut bench = Bench::new();
        bench.settle();
        edit(&mut bench);
        bench.vrrp("d2", Active);
        let told = bench.after(0);
        let expected =
            format!("BecameActive Warning director d2 is Active in vi-1 because {cause}");
        assert_eq!(told, [expected], "{what}");
    }
}

fn hand_over(bench: &mut Bench) {
    bench.vrrp("d1", Backup);
    bench.intent(|resources| {
        let metadata = v1::Metadata { name: "o".to_owned(), ..Default::default() };
        let order = v1::Handover {
            vrrp_instance: "vi-1".to_owned(),
            to: "d2".to_owned(),
            reason: "kernel upgrade".to_owned(),
            requested_by: "ops".to_owned(),
        };
        let spec = Some(v1::resource::Spec::Handover(order));
        resources.push(v1::Resource { metadata: Some(metadata), spec });
    });
}

#[test]
fn an_active_that_died_is_waited_for_until_its_silence_is_known() {
    let mut bench = Bench::new();
    bench.settle();
    // Its session is not known to have ended yet.
    bench.vrrp("d2", Active);
    assert_eq!(bench.after(3), Vec::<String>::new());
    bench.agent("director/d1", |status| status.attached = false);
    let told = bench.after(0);
    assert_eq!(
        told,
        [
            "BecameActive Warning director d2 is Active in vi-1 because director d1 is not heard any more"
        ]
    );
    let event = bench.state.events.kept_after(0).last().expect("it was told").clone();
    let Some(v1::event::Details::Role(role)) = &event.details else { panic!("{event:?}") };
    assert_eq!((role.active.join(","), role.previous.as_str()), ("d2".to_owned(), "d1"));
    let subject = event.subject.clone().expect("it has one");
    assert_eq!(
        (subject.kind(), subject.name.as_str(), event.site.as_str(), event.told_by.as_str()),
        (v1::EventSubjectKind::VrrpInstance, "vi-1", "main", "c1")
    );
}

#[test]
fn two_that_are_active_and_none_are_told_when_it_lasts() {
    let mut bench = Bench::new();
    bench.settle();
    bench.vrrp("d2", Active);
    assert_eq!(
        bench.after(5),
        [
            "SeveralActive Error directors d1 and d2 are Active in vi-1 at once because they do not hear each other's adverts: \
             look at what is between them"
        ]
    );
    bench.vrrp("d2", Backup);
    assert_eq!(
        bench.after(0),
        [
            "BecameActive Warning director d1 is Active in vi-1 because its priority 100 is above 90 of director d2"
        ]
    );
    bench.vrrp("d1", Backup);
    // Both say so within a moment when one hands over.
    assert_eq!(bench.after(4), Vec::<String>::new());
    bench.director("d1", |observed| {
        observed.vrrp_instances[0].faults = vec!["no route".to_owned()];
    });
    assert_eq!(
        bench.after(1),
        [
            "NobodyActive Error no director is Active in vi-1 because director d1 must not be: no route"
        ]
    );
    // Long after it is told as if nothing had been; at once it would say that it changes often.
    assert_eq!(bench.after(600), Vec::<String>::new());
    bench.vrrp("d1", Active);
    assert_eq!(
        bench.after(0),
        ["BecameActive Info director d1 is Active in vi-1 because nobody was"]
    );
}

#[test]
fn what_is_not_heard_is_not_guessed() {
    let mut bench = Bench::new();
    bench.settle();
    bench.agent("director/d1", |status| status.attached = false);
    bench.agent("director/d2", |status| status.attached = false);
    let told = bench.after(60);
    assert_eq!(told.len(), 2, "only that nobody hears them: {told:?}");
    assert!(told.iter().all(|told| told.starts_with("AgentLost")), "{told:?}");
}
