use std::time::Duration;

use super::*;

fn change(kind: v1::Kind, name: &str, action: v1::ChangeAction) -> v1::Change {
    v1::Change { kind: kind.into(), name: name.to_owned(), action: action.into() }
}

fn revision(number: u64) -> v1::Revision {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(number);
    v1::Revision {
        revision: number,
        base_revision: number - 1,
        time: Some(time.into()),
        who: "anna".to_owned(),
        ..v1::Revision::default()
    }
}

#[test]
fn a_line_tells_who_changed_what_and_why() {
    let changes: Vec<v1::Change> =
        ["a", "b", "c"].map(|name| change(v1::Kind::Pool, name, v1::ChangeAction::Update)).into();
    let revisions = vec![
        v1::Revision {
            origin: v1::RevisionOrigin::Revert.into(),
            origin_revision: 11,
            reason: "nobody confirmed it within 5m".to_owned(),
            ..revision(12)
        },
        v1::Revision {
            confirm_by: Some(prost_types::Timestamp { seconds: 10_691, nanos: 0 }),
            reason: "second VIP".to_owned(),
            ..revision(11)
        },
        v1::Revision {
            origin: v1::RevisionOrigin::Confirm.into(),
            origin_revision: 9,
            ..revision(10)
        },
        v1::Revision {
            origin: v1::RevisionOrigin::Rollback.into(),
            origin_revision: 4,
            reason: "it was better".to_owned(),
            changes: vec![change(v1::Kind::Site, "x", v1::ChangeAction::Delete)],
            change_count: 1,
            ..revision(9)
        },
        v1::Revision { changes, change_count: 7, who: String::new(), ..revision(8) },
        v1::Revision { change_count: 9, changes_dropped: true, ..revision(7) },
    ];
    let mut answer =
        v1::ListRevisionsResponse { revisions, oldest_revision: 7, ..Default::default() };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
    assert_eq!(
        lines(&answer, now),
        "REVISION  AGE  WHO   CHANGED                             WHY\n\
         12        0s   anna  nothing                             undoes 11: nobody confirmed it within 5m\n\
         11        0s   anna  nothing                             waits to be confirmed until 02:58:11Z: second VIP\n\
         10        0s   anna  nothing                             confirms 9\n\
         9         1s   anna  -Site/x                             rollback to 4: it was better\n\
         8         2s   ?     ~Pool/a ~Pool/b ~Pool/c and 4 more\n\
         7         3s   anna  9 resources\n\
         rollback reaches back to revision 7\n"
    );
    answer.next_page_token = "7".to_owned();
    let end =
        "older ones are kept too: give a larger --limit\nrollback reaches back to revision 7\n";
    assert!(lines(&answer, now).ends_with(end), "{}", lines(&answer, now));
}

#[test]
fn one_revision_tells_each_field() {
    let site = |description: &str, label: &str| {
        let labels = [("rack".to_owned(), label.to_owned())].into();
        let metadata =
            v1::Metadata { name: "main".to_owned(), labels, revision: 3, ..Default::default() };
        let spec = v1::Site { description: description.to_owned() };
        Some(v1::Resource { metadata: Some(metadata), spec: Some(v1::resource::Spec::Site(spec)) })
    };
    let differences = vec![
        v1::ResourceDifference { before: site("old", "a"), after: site("new", "a") },
        v1::ResourceDifference { before: None, after: site("", "b") },
        v1::ResourceDifference { before: site("old", "a"), after: None },
    ];
    let answer = v1::GetRevisionResponse { revision: Some(revision(9)), differences };
    assert_eq!(
        one(&answer),
        "revision 9, after 8\n  time  1970-01-01T00:00:09Z\n  who   anna\n\
         updated Site main\n  -spec.description: old\n  +spec.description: new\n\
         created Site main\n  +labels.rack: b\n\
         deleted Site main\n  -labels.rack: a\n  -spec.description: old\n"
    );
}
