//! Manifests in, exact output of the program out. There is no controller: what is wrong is told before one is asked.

use std::path::Path;
use std::process::{Command, Output};

/// Nothing listens on port 1 of loopback.
const NOWHERE: &str = "127.0.0.1:1";

fn lvsctl(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lvsctl"))
        .current_dir(directory)
        .env_clear()
        .args(["--endpoint", NOWHERE])
        .args(arguments)
        .output()
        .expect("lvsctl was built")
}

fn golden_directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares with `tests/golden/NAME`; with UPDATE=1 in the environment, writes it.
fn golden(name: &str, found: &str) {
    let path = golden_directory().join(name);
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(&path, found).expect("the golden file is writable");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "run with UPDATE=1 and review the difference of {name}");
}

#[test]
fn all_mistakes_are_told_at_once_and_nothing_is_sent() {
    let files = ["many-mistakes.yaml", "no-yaml.yaml", "anchors.yaml", "bad.json"];
    let arguments: Vec<&str> =
        std::iter::once("apply").chain(files.iter().flat_map(|file| ["-f", file])).collect();
    let output = lvsctl(&golden_directory(), &arguments);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    golden("mistakes.txt", &String::from_utf8_lossy(&output.stderr));
}

#[test]
fn good_manifests_are_sent() {
    // Each example is good, so a controller is asked, and there is none.
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(examples.join("seed.yaml"), folder.path().join("seed.yaml")).expect("copied");
    for (from, file) in [
        (examples.as_path(), "seed.yaml"),
        (examples.as_path(), "dual-active.yaml"),
        (examples.as_path(), "databases.yaml"),
        (examples.as_path(), "dynamic-weights.yaml"),
        (folder.path(), "."),
    ] {
        let output = lvsctl(from, &["apply", "-f", file]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(told.contains("127.0.0.1:1: Connection refused"), "{told}");
    }
}

#[test]
fn what_cannot_be_read_says_so() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    for (arguments, expected) in [
        (["apply", "-f", "absent.yaml"], "cannot read absent.yaml: No such file"),
        (["apply", "-f", "."], "no manifest in .; nothing was sent"),
        (["get", "virtualservr", ""], "did you mean VirtualServer?"),
        (["wait", "--timeout", "2h"], "at most 1h"),
        (["--tls-ca", "ca.pem", "status"], "TLS needs all three"),
        (["--endpoint", "nowhere", "status"], "write host:port"),
    ] {
        let output = lvsctl(empty.path(), &arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_socket_without_a_director_says_so() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    let output = lvsctl(empty.path(), &["--socket", "absent.sock", "ipvs"]);
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("start the agent"), "{told}");
}

#[test]
fn every_shell_gets_its_script() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    for shell in ["bash", "zsh", "fish"] {
        let output = lvsctl(empty.path(), &["completion", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("if-revision"));
    }
}
