use proptest::prelude::*;

use super::*;

fn version(cluster: &str, incarnation: u64, revision: u64) -> v1::PlanVersion {
    v1::PlanVersion { cluster_id: cluster.to_owned(), incarnation, revision, ..Default::default() }
}

fn object(key: &str, vip: &str) -> v1::PlanObject {
    let host = v1::RealServerHostPlan {
        vips: vec![vip.to_owned()],
        servers: Vec::new(),
        tunnels: Vec::new(),
    };
    v1::PlanObject { key: key.to_owned(), object: Some(v1::plan_object::Object::Host(host)) }
}

fn whole(revision: u64, objects: &[v1::PlanObject]) -> v1::PlanUpdate {
    v1::PlanUpdate {
        version: Some(version("c", 1, revision)),
        whole: true,
        objects: objects.to_vec(),
        ..v1::PlanUpdate::default()
    }
}

fn delta(version: v1::PlanVersion, objects: &[v1::PlanObject], removed: &[&str]) -> v1::PlanUpdate {
    v1::PlanUpdate {
        version: Some(version),
        whole: false,
        objects: objects.to_vec(),
        removed: removed.iter().map(|key| (*key).to_owned()).collect(),
        ..v1::PlanUpdate::default()
    }
}

fn keys(set: &BTreeSet<String>) -> Vec<&str> {
    set.iter().map(String::as_str).collect()
}

#[test]
fn updates_change_what_they_tell() -> Result<(), PlanRefused> {
    let mut cache = PlanCache::empty(Path::new("plan"));
    let (a, b, b2) = (object("a", "10.0.0.1"), object("b", "10.0.0.2"), object("b", "10.0.0.3"));

    let change = cache.apply(&whole(5, &[a.clone(), b.clone()]))?;
    assert_eq!((keys(&change.changed), keys(&change.removed)), (vec!["a", "b"], vec![]));

    let change =
        cache.apply(&delta(version("c", 1, 6), std::slice::from_ref(&b2), &["a", "ghost"]))?;
    assert_eq!((keys(&change.changed), keys(&change.removed)), (vec!["b"], vec!["a"]));
    assert_eq!(cache.object("b"), Some(b2.clone()));
    assert_eq!(cache.objects().collect::<Vec<_>>(), std::slice::from_ref(&b2));

    let change = cache.apply(&delta(version("c", 1, 7), &[], &[]))?;
    assert!(change.is_empty());
    assert_eq!(cache.version(), Some(&version("c", 1, 7)));

    let again = whole(7, &[b2, a]);
    let change = cache.apply(&again)?;
    assert_eq!((keys(&change.changed), keys(&change.removed)), (vec!["a"], vec![]));
    assert!(cache.apply(&again)?.is_empty(), "again changes nothing");
    Ok(())
}

#[test]
fn what_must_not_be_applied_is_refused_and_changes_nothing() -> Result<(), PlanRefused> {
    let a = object("a", "10.0.0.1");
    let empty = PlanCache::empty(Path::new("plan"));
    let mut full = empty.clone();
    full.apply(&whole(5, std::slice::from_ref(&a)))?;
    let hollow = v1::PlanObject { key: "x".to_owned(), object: None };
    let cases = [
        (&full, v1::PlanUpdate::default(), "the plan has no version"),
        (&full, delta(version("d", 1, 9), &[], &[]), "of cluster d and this agent belongs to c"),
        (&full, whole(4, &[]), "the plan c/1/4 is older than c/1/5"),
        (&full, delta(version("c", 0, 9), &[], &[]), "the plan c/0/9 is older than c/1/5"),
        (&empty, delta(version("c", 1, 1), &[a], &[]), "send it whole"),
        (&full, delta(version("c", 1, 6), &[hollow], &["a"]), "the object \"x\""),
    ];
    for (before, update, reason) in cases {
        let mut cache = before.clone();
        let refused = cache.apply(&update).expect_err(reason);
        assert!(refused.to_string().contains(reason), "{refused}");
        assert_eq!(&cache, before);
    }
    let mut restored = full;
    restored.apply(&delta(version("c", 2, 1), &[], &[]))?;
    Ok(())
}

#[test]
fn a_saved_plan_is_read_back() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("plan");
    let mut cache = PlanCache::open(&path)?;
    assert_eq!(cache.version(), None);
    cache.save()?;
    assert!(!path.exists(), "no plan, no file");
    cache.apply(&whole(5, &[object("a", "10.0.0.1"), object("b", "10.0.0.2")]))?;
    cache.save()?;
    assert_eq!(PlanCache::open(&path)?, cache);
    Ok(())
}

#[test]
fn the_planner_is_told_only_where_this_release_took_the_plan()
-> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("plan");
    let mut cache = PlanCache::empty(&path);
    let by_planner = v1::PlanVersion { planner: "9.0.0".to_owned(), ..version("c", 1, 5) };
    let update =
        v1::PlanUpdate { version: Some(by_planner), ..whole(5, &[object("a", "10.0.0.1")]) };
    cache.apply(&update)?;
    cache.save()?;
    assert_eq!(PlanCache::open(&path)?, cache);
    // As a release saved it that notes nothing of itself, and as another one did.
    let mut saved = decode(&std::fs::read(&path)?)?;
    for taken_by in ["", "0.0.9"] {
        taken_by.clone_into(&mut saved.taken_by);
        let opened = open_bytes(&encode(&saved))?;
        assert_eq!(opened.version(), Some(&version("c", 1, 5)), "taken by {taken_by:?}");
        assert!(opened.objects().eq(cache.objects()), "it is in force all the same");
    }
    Ok(())
}

fn saved_bytes() -> Vec<u8> {
    encode(&whole(5, &[object("a", "10.0.0.1"), object("b", "10.0.0.2")]))
}

/// Opens a file with these bytes.
fn open_bytes(bytes: &[u8]) -> Result<PlanCache, PlanCacheError> {
    let file = tempfile::NamedTempFile::new().expect("the test's directory takes files");
    std::fs::write(file.path(), bytes).expect("the test's directory takes files");
    PlanCache::open(file.path())
}

#[test]
fn damage_is_told_with_what_happens_next() {
    let good = saved_bytes();
    let delta = encode(&delta(version("c", 1, 1), &[], &[]));
    let cases: [(&[u8], &str); 5] = [
        (b"", "does not begin as a saved plan"),
        (b"fulcrum-plan 2\n", "does not begin as a saved plan"),
        (b"fulcrum-plan 1\nshort", "cut short"),
        (&good[..good.len() - 1], "checksum does not fit"),
        (&delta, "no whole plan"),
    ];
    for (bytes, what) in cases {
        let error = open_bytes(bytes).expect_err(what);
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("the next plan"), "{error}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let good = saved_bytes();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            assert!(decode(&bytes).is_err(), "bit {bit} of byte {at}");
        }
        assert!(decode(&good[..at]).is_err(), "cut at {at}");
    }
}

fn any_update() -> impl Strategy<Value = v1::PlanUpdate> {
    let objects = prop::collection::vec(("[a-e]", 1u8..4), 0..5).prop_map(|pairs| {
        let by_key: BTreeMap<_, _> = pairs.into_iter().collect();
        by_key.into_iter().map(|(key, n)| object(&key, &format!("10.0.0.{n}"))).collect::<Vec<_>>()
    });
    let removed = prop::collection::vec("[a-e]", 0..3);
    (1u64..20, any::<bool>(), objects, removed).prop_map(
        |(revision, is_whole, objects, removed)| {
            let removed: Vec<&str> = removed.iter().map(String::as_str).collect();
            if is_whole {
                whole(revision, &objects)
            } else {
                delta(version("c", 1, revision), &objects, &removed)
            }
        },
    )
}

proptest! {
    /// The version never falls, and an update that was taken leaves exactly the objects that it told.
    #[test]
    fn plans_only_move_forward(updates in prop::collection::vec(any_update(), 1..12)) {
        let mut cache = PlanCache::empty(Path::new("plan"));
        for update in updates {
            let before = cache.clone();
            if cache.apply(&update).is_err() {
                prop_assert_eq!(&cache, &before);
                continue;
            }
            let revision = |cache: &PlanCache| cache.version().map_or(0, |v| v.revision);
            prop_assert!(revision(&cache) >= revision(&before));
            for object in &update.objects {
                prop_assert_eq!(cache.object(&object.key), Some(object.clone()));
            }
            if update.whole {
                prop_assert_eq!(cache.keys().count(), update.objects.len());
            }
            prop_assert!(cache.apply(&update).is_ok_and(|change| change.is_empty()));
        }
    }

    /// No file makes the program panic.
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), has_header: bool) {
        let bytes = if has_header { [HEADER, &bytes].concat() } else { bytes };
        prop_assert!(decode(&bytes).is_err());
    }
}
