//! The edge test: who may import whom, what pure crates never touch, and where the few dangerous things live.
//!
//! It reads `cargo metadata` and the table under `## Dependency table` in ARCHITECTURE.md. A new arrow between our crates
//! changes that table in the same commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Crates that decide and never touch.
const PURE: [&str; 4] = ["fulcrum-model", "fulcrum-intent", "fulcrum-vrrp", "fulcrum-ipvs"];
/// What pure crates never depend on, through no crate at all.
const TOUCHING: [&str; 11] = [
    "tokio",
    "tonic",
    "prost",
    "nix",
    "neli",
    "rtnetlink",
    "netlink-packet-route",
    "sled",
    "tracing",
    "socket2",
    "rustix",
];
/// Folders of the house; hidden ones and `target` are the tools'.
const FOLDERS: [&str; 5] = ["controller", "director-agent", "ops", "proto", "realserver-agent"];

fn root() -> PathBuf {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.parent().and_then(Path::parent).expect("ops/lab stands in the workspace").to_owned()
}

fn metadata() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        // A machine that only builds has not fetched what other systems need.
        .other_options(["--offline", "--locked", "--filter-platform", &platform].map(str::to_owned))
        .exec()
        .expect("cargo metadata of the workspace")
}

/// The table of ARCHITECTURE.md: crate and what it may import.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let section = text.split("## Dependency table").nth(1).expect("a section Dependency table");
    let section = section.split("\n## ").next().expect("its text");
    let mut table = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [name, imports] = cells.as_slice() else {
            panic!("the dependency table has two columns: {line}");
        };
        if *name == "crate" || name.starts_with("--") {
            continue;
        }
        let imports = match *imports {
            "nothing" => BTreeSet::new(),
            list => list.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect(),
        };
        table.insert((*name).to_owned(), imports);
    }
    assert!(!table.is_empty(), "the dependency table of ARCHITECTURE.md is empty");
    table
}

#[test]
fn our_crates_import_what_architecture_says() {
    let metadata = metadata();
    let ours: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let mut found = BTreeMap::new();
    for package in metadata.workspace_packages() {
        let imports: BTreeSet<String> = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
            .map(|dependency| dependency.name.clone())
            .filter(|name| ours.contains(name))
            .collect();
        found.insert(package.name.to_string(), imports);
    }
    assert_eq!(
        found,
        table(),
        "left: what cargo metadata says; right: the dependency table of ARCHITECTURE.md"
    );
}

#[test]
fn programs_never_import_programs_not_even_in_tests() {
    let metadata = metadata();
    let programs: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .filter(|package| package.targets.iter().any(cargo_metadata::Target::is_bin))
        .map(|package| package.name.to_string())
        .collect();
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            assert!(
                !programs.contains(&dependency.name),
                "{} imports the program {}",
                package.name,
                dependency.name
            );
        }
    }
}

#[test]
fn pure_crates_touch_nothing() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    for pure in PURE {
        let start = metadata
            .workspace_packages()
            .into_iter()
            .find(|package| package.name == pure)
            .unwrap_or_else(|| panic!("{pure} is no crate of the workspace"));
        let mut reached = BTreeSet::new();
        let mut open = vec![&start.id];
        while let Some(id) = open.pop() {
            if !reached.insert(id) {
                continue;
            }
            let normal = nodes[id].deps.iter().filter(|dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            });
            open.extend(normal.map(|dependency| &dependency.pkg));
        }
        for id in reached {
            let name = metadata[id].name.as_str();
            assert!(!TOUCHING.contains(&name), "the pure crate {pure} reaches {name}");
        }
        let bans = start.manifest_path.with_file_name("clippy.toml");
        assert!(bans.exists(), "the pure crate {pure} has no clippy.toml with its bans");
    }
}

#[test]
fn dangerous_things_live_in_one_file_each() {
    // Ways to open a socket, by crate or by hand: IPVS speaks generic netlink, addresses and links rtnetlink.
    let generic_netlink: &[&str] = &["NlRouter::connect", "NlSocket::connect"];
    let rtnetlink: &[&str] = &["rtnetlink::new_", "AddressFamily::Netlink"];
    let raw_sockets: &[&str] = &["Type::RAW", "AddressFamily::Packet"];
    let cases = [
        ("controller", &["sled::"] as &[&str]),
        ("director-agent", generic_netlink),
        ("director-agent", rtnetlink),
        ("director-agent", raw_sockets),
        ("realserver-agent", generic_netlink),
        ("realserver-agent", rtnetlink),
        ("realserver-agent", raw_sockets),
    ];
    for (folder, words) in cases {
        let files: Vec<PathBuf> = sources(&root().join(folder))
            .into_iter()
            .filter(|path| {
                let code = code_of(&fs::read_to_string(path).expect("a source file"));
                words.iter().any(|word| code.contains(word))
            })
            .collect();
        assert!(files.len() <= 1, "{words:?} may be in one file of {folder}, not in {files:?}");
    }
}

#[test]
fn the_house_has_no_other_rooms() {
    for entry in fs::read_dir(root()).expect("the workspace").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !name.starts_with('.') && name != "target" {
            assert!(FOLDERS.contains(&name.as_str()), "the house has no room called {name}");
        }
    }
}

/// All Rust files of a folder's programs: those of `target` are not theirs, and examples are tools of measurements.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the house").flatten() {
            let path = entry.path();
            if path.is_dir()
                && path.file_name().is_some_and(|name| name != "target" && name != "examples")
            {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The code without its comment lines.
fn code_of(source: &str) -> String {
    source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}
