//! What apply reads, and what get prints for it to read again.

use fulcrum_proto::convert::{resource_from_wire, resource_to_wire};
use fulcrum_proto::v1;

use super::{Manifest, Mistake, check, mistake, read};
use crate::cli::Output;
use crate::verbs::get;

const SEED: &str = include_str!("../../../examples/seed.yaml");

fn read_well(text: &str) -> Vec<Manifest> {
    let mut mistakes = Vec::new();
    let manifests = read("seed.yaml", text, &mut mistakes);
    check(&manifests, &mut mistakes);
    assert_eq!(mistakes, Vec::<Mistake>::new());
    manifests
}

/// As the server keeps them: defaults filled in.
fn as_kept(manifests: &[Manifest]) -> Vec<v1::Resource> {
    let mut errors = Vec::new();
    let kept = manifests
        .iter()
        .enumerate()
        .filter_map(|(index, manifest)| resource_from_wire(index, &manifest.resource, &mut errors));
    let kept: Vec<v1::Resource> = kept.map(|resource| resource_to_wire(&resource)).collect();
    assert_eq!(errors, Vec::new());
    kept
}

#[test]
fn what_get_prints_apply_takes_back() {
    let mut kept = as_kept(&read_well(SEED));
    assert_eq!(kept.len(), 8);
    for (revision, resource) in (7..).zip(&mut kept) {
        if let Some(metadata) = &mut resource.metadata {
            metadata.revision = revision;
            metadata.labels.insert("since".to_owned(), "2024-10-16".to_owned());
            metadata.labels.insert("odd".to_owned(), "a: \"b\" # c\n".to_owned());
        }
    }
    for format in [Output::Yaml, Output::Json] {
        let text = get::render(&kept, false, format);
        let mut again = as_kept(&read_well(&text));
        for (resource, kept) in again.iter_mut().zip(&kept) {
            // The revision is the server's to tell, and is not read.
            if let (Some(metadata), Some(kept)) = (&mut resource.metadata, &kept.metadata) {
                metadata.revision = kept.revision;
            }
        }
        assert_eq!(again, kept, "{text}");
    }
}

#[test]
fn the_seed_is_printed_in_full() {
    let kept = as_kept(&read_well(SEED));
    let expected = "\
kind: Pool
name: tomcats
spec:
  members:
  - real_server: web1
    weight: 1
  - real_server: web2
    weight: 1
  check:
    tcp: {}
    interval: 6s
    timeout: 10s
    retries: 3
    retry_delay: 8s
    rise: 1
  agent: required
  quorum:
    weight: 1
";
    assert_eq!(get::render(&kept[6..7], true, Output::Yaml), expected);
    let expected = "\
kind: VrrpInstance
name: vi-1
spec:
  site: main
  vrid: 51
  version: v2
  advert_interval: 1s
  vips:
  - 192.168.1.150/24
  members:
  - director: d1
    priority: 100
  - director: d2
    priority: 90
  auth_pass: \"1111\"
  checksum: deployed
  unicast_min_ttl: 255
  announce:
    repeat: 2
    repeat_after: 1s
    refresh: 60s
";
    assert_eq!(get::render(&kept[3..4], true, Output::Yaml), expected);
    let expected = "{\n  \"kind\": \"Director\",\n  \"name\": \"d1\",\n  \"spec\": {\n    \"site\": \"main\",\n    \
                    \"dip\": \"192.168.1.135\",\n    \"interface\": \"eth0\"\n  }\n}\n";
    assert_eq!(get::render(&kept[1..2], true, Output::Json), expected);
    assert_eq!(
        get::render(&kept[..2], false, Output::Table),
        "KIND      NAME  REVISION\nSite      main  0\nDirector  d1    0\n"
    );
}

#[test]
fn what_the_server_refuses_is_told_at_its_line() {
    let manifests = read_well(SEED);
    let told = |field: &str| match mistake(&manifests, field, "80: no") {
        Ok(mistake) => mistake.to_string(),
        Err(other) => other,
    };
    let line = |text: &str| 1 + SEED.lines().position(|line| line.starts_with(text)).expect(text);
    assert_eq!(
        told("resources[7].spec.port"),
        format!("seed.yaml:{}:9: spec.port: 80: no", line("  port: 80 # DR"))
    );
    assert_eq!(
        told("resources[3].spec.members[1].priority"),
        format!("seed.yaml:{}:15: spec.members[1].priority: 80: no", line("    priority: 90"))
    );
    // A field that is not in the file: the nearest thing around it.
    assert_eq!(
        told("resources[3].spec.members[1].interface"),
        format!("seed.yaml:{}:5: spec.members[1].interface: 80: no", line("    priority: 90") - 1)
    );
    assert_eq!(told("resources[9].spec.port"), "resources[9].spec.port: 80: no");
    assert_eq!(told("VirtualServer/web.spec.pool"), "VirtualServer/web.spec.pool: 80: no");
}

#[test]
fn lists_json_and_empty_documents_are_read() {
    for (text, expected) in [
        ("", 0),
        ("# nothing\n---\n---\n", 0),
        ("{\"kind\": \"Site\", \"name\": \"a\", \"spec\": {}}", 1),
        ("[{\"kind\": \"Site\", \"name\": \"a\"}, {\"kind\": \"Site\", \"name\": \"b\"}]", 2),
        ("- kind: Site\n  name: a\n---\nkind: Site\nname: b\nspec: {description: two}\n", 2),
    ] {
        let mut mistakes = Vec::new();
        let manifests = read("f", text, &mut mistakes);
        assert_eq!(manifests.len(), expected, "{text:?} {mistakes:?}");
    }
}
