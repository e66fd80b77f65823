use proptest::prelude::*;

use super::*;
use crate::testing::examples;

fn labelled(mut resource: v1::Resource, labels: &[(&str, &str)]) -> v1::Resource {
    let metadata = resource.metadata.get_or_insert_default();
    metadata.labels =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    resource
}

fn server(port: u32, pool: &str, labels: &[(&str, &str)]) -> v1::Resource {
    labelled(examples::virtual_server("web", port, pool), labels)
}

fn merged(
    current: &v1::Resource,
    given: &v1::Resource,
    paths: &[&str],
) -> Result<v1::Resource, Vec<String>> {
    let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
    merge(current, given, &paths).map_err(|faults| {
        assert!(faults.iter().all(|fault| fault.field.starts_with("update_mask")));
        faults.into_iter().map(|fault| fault.description).collect()
    })
}

#[test]
fn what_is_named_changes_and_nothing_else() {
    let current = server(80, "old", &[("rack", "a"), ("a.b", "1")]);
    let given = server(81, "new", &[("rack", "b"), ("row", "2")]);
    let cases: [(&[&str], v1::Resource); 9] = [
        (&["virtual_server.port"], server(81, "old", &[("rack", "a"), ("a.b", "1")])),
        (&["spec.pool"], server(80, "new", &[("rack", "a"), ("a.b", "1")])),
        (&["spec"], server(81, "new", &[("rack", "a"), ("a.b", "1")])),
        (&["metadata.labels"], server(80, "old", &[("rack", "b"), ("row", "2")])),
        (&["metadata"], server(80, "old", &[("rack", "b"), ("row", "2")])),
        (
            &["metadata.labels.rack", "metadata.labels.`a.b`", "metadata.labels.`row`"],
            server(80, "old", &[("rack", "b"), ("row", "2")]),
        ),
        (&["metadata.revision", "metadata.etag"], current.clone()),
        (&[], server(81, "new", &[("rack", "b"), ("row", "2")])),
        (&["*"], given.clone()),
    ];
    for (paths, expected) in cases {
        assert_eq!(merged(&current, &given, paths).as_ref(), Ok(&expected), "{paths:?}");
    }
    // Without a mask what is not given stays.
    let empty = v1::resource::Spec::VirtualServer(v1::VirtualServer::default());
    let given = v1::Resource { spec: Some(empty), ..examples::site("web") };
    assert_eq!(merged(&current, &given, &[]).as_ref(), Ok(&current));
    // What is named and not given is cleared, also within a message that is not there.
    let cleared = merged(&current, &given, &["spec.port", "metadata.labels.rack"]);
    assert_eq!(cleared.as_ref(), Ok(&server(0, "old", &[("a.b", "1")])));
    assert_eq!(merged(&current, &given, &["spec.tunnel.port"]).as_ref(), Ok(&current));
    let faults = merged(&current, &given, &["spec.tunnel.x"]).expect_err("there is no such field");
    assert!(faults[0].contains("Tunnel has no field"), "{faults:?}");
}

#[test]
fn every_path_that_cannot_be_changed_says_why() {
    let current = server(80, "old", &[]);
    let cases = [
        ("spec.prot", "\"virtual_server.prot\": VirtualServer has no field \"prot\"; it has "),
        ("nothing", "Resource has no field \"nothing\"; it has metadata, site, "),
        ("pool.members", "\"pool.members\": the resource has virtual_server: name fields of that"),
        ("metadata.name", "create another resource"),
        ("spec.port.low", "port has no fields"),
        ("spec..port", "without an empty part"),
        ("", "without an empty part"),
        ("metadata.labels.`a", "close the backtick"),
        ("metadata.labels.`a`b", "put a dot after the backtick"),
        ("metadata.labels.a.b", "name one key of labels, in backticks"),
    ];
    for (path, word) in cases {
        let faults = merged(&current, &current, &[path]).expect_err(path);
        assert!(faults.len() == 1 && faults[0].contains(word), "{path}: {faults:?}");
    }
    let pool = examples::pool("tomcats", &["web1"]);
    let faults = merged(&pool, &pool, &["spec.members.weight"]).expect_err("it is a list");
    assert!(faults[0].ends_with("members is a list: it is changed as a whole"), "{faults:?}");
    let faults = merged(&pool, &pool, &["spec.a", "spec.b"]).expect_err("both are wrong");
    assert_eq!(faults.len(), 2);
    let faults = merged(&pool, &pool, &["*", "spec"]).expect_err("all and more");
    assert!(faults[0].contains("it stands for all"), "{faults:?}");
    let many = vec!["spec"; MAX_PATHS + 1];
    assert!(merged(&pool, &pool, &many).is_err());
    let none = v1::Resource { spec: None, ..pool.clone() };
    let paths = ["spec".to_owned()];
    let faults = merge(&pool, &none, &paths).expect_err("its kind is not told");
    assert_eq!(faults[0].field, "resource.spec");
}

proptest! {
    /// Whatever is named: nobody panics, and what is taken is a resource of the same kind.
    #[test]
    fn any_mask_is_taken_or_refused(
        paths in proptest::collection::vec("(spec|metadata|virtual_server|labels|check|port|vip|`|\\.|\\*|[a-z]){0,8}", 0..4),
    ) {
        let current = server(80, "old", &[("rack", "a")]);
        let given = server(81, "new", &[]);
        if let Ok(merged) = merge(&current, &given, &paths) {
            prop_assert!(matches!(merged.spec, Some(v1::resource::Spec::VirtualServer(_))));
        }
    }
}
