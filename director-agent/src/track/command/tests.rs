use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use fulcrum_model::vrrp::TrackPace;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;
use tokio::net::unix::pipe;

use super::*;

/// A directory with one program of this text and mode.
fn offer(text: &str, mode: u32) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("check");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
    directory
}

fn command(program: &str, timeout: Duration) -> TrackCommand {
    let pace = TrackPace { timeout, ..TrackPace::default() };
    TrackCommand { program: program.to_owned(), arguments: vec!["a b".to_owned()], pace }
}

const PATIENT: Duration = Duration::from_secs(30);

/// Its commands run as this test does.
fn home(directory: &TempDir) -> CommandHome {
    CommandHome { directory: directory.path().to_owned(), user: None }
}

/// Runs `check` of the directory; its path becomes DIR.
async fn run_check(directory: &TempDir) -> Seen {
    let seen = run(&command("check", PATIENT), Some(&home(directory))).await;
    let path = directory.path().display().to_string();
    seen.map_err(|reason| reason.replace(&path, "DIR"))
}

#[tokio::test]
async fn the_exit_status_decides() {
    let failed = |reason: &str| Err(reason.to_owned());
    let cases = [
        ("exit 0", Ok("command check succeeded".to_owned())),
        ("echo fine; exit 0", Ok("command check succeeded".to_owned())),
        ("exit 3", failed("command check failed, exit status: 3")),
        (
            "echo 'no  uplink'; echo hidden >&2; exit 1",
            failed("command check failed, exit status: 1: no uplink"),
        ),
        ("printf 'a\\033[2Jb' >&2; exit 1", failed("command check failed, exit status: 1: a [2Jb")),
        ("kill -9 $$", failed("command check failed, signal: 9 (SIGKILL)")),
        ("test \"$1\" = 'a b' && test $# = 1", Ok("command check succeeded".to_owned())),
        ("test -z \"$HOME$CARGO_MANIFEST_DIR\"", Ok("command check succeeded".to_owned())),
        ("test \"$PWD\" = /; ! read -r line", Ok("command check succeeded".to_owned())),
    ];
    for (text, expected) in cases {
        let directory = offer(&format!("#!/bin/sh\n{text}\n"), 0o755);
        assert_eq!(run_check(&directory).await, expected, "{text}");
    }
}

#[tokio::test]
async fn output_is_cut_and_never_blocks_the_command() {
    let directory = offer("#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' x\nexit 1\n", 0o755);
    let reason = run_check(&directory).await.expect_err("it fails");
    let kept = "x".repeat(OUTPUT_BYTES);
    assert_eq!(reason, format!("command check failed, exit status: 1: {kept}"));
}

#[tokio::test]
async fn a_descendant_that_stays_holds_nothing_up() {
    let directory = offer("#!/bin/sh\nsleep 60 &\necho up\n", 0o755);
    // The output stays open for longer than the command may take.
    assert!(run_check(&directory).await.is_ok());
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_its_group() {
    let text = "#!/bin/sh\nexec 3>\"$0.life\"\nsleep 600 <&0 &\necho begun >&3\nwait\n";
    let directory = offer(text, 0o755);
    let path = directory.path().join("check.life");
    mkfifo(&path, Mode::S_IRWXU).expect("made");
    let mut life = pipe::OpenOptions::new().open_receiver(&path).expect("a pipe");
    // Its time is over when it and its child run, however long they need to start.
    let has_begun = async {
        let mut said = [0; 6];
        life.read_exact(&mut said).await.expect("what the command says");
        assert_eq!(&said, b"begun\n");
    };
    let seen = seen_until(&command("check", PATIENT), Some(&home(&directory)), has_begun).await;
    assert_eq!(seen, Err("command check did not end within 30s and was killed".to_owned()));
    // Both had the pipe open: it ends when the last of them is dead.
    let ended = tokio::time::timeout(PATIENT, life.read_to_end(&mut Vec::new())).await;
    assert_eq!(ended.expect("the child is dead").expect("a pipe"), 0);
}

#[tokio::test]
async fn what_others_may_have_written_is_not_run() {
    let good = "#!/bin/sh\nexit 0\n";
    let cases = [
        (0o775, "DIR/check may be written by others (mode 775): `chmod 755` it"),
        (0o757, "DIR/check may be written by others (mode 757): `chmod 755` it"),
        (0o644, "DIR/check cannot be executed: `chmod 755` it"),
    ];
    for (mode, expected) in cases {
        let directory = offer(good, mode);
        let expected = format!("command check is not run: {expected}");
        assert_eq!(run_check(&directory).await, Err(expected));
    }
    let directory = offer(good, 0o755);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let expected =
        "command check is not run: DIR may be written by others (mode 777): `chmod 755` it";
    assert_eq!(run_check(&directory).await, Err(expected.to_owned()));
}

#[tokio::test]
async fn only_a_plain_file_of_the_directory_is_run() {
    let directory = offer("#!/bin/sh\nexit 0\n", 0o755);
    symlink("/bin/true", directory.path().join("link")).expect("made");
    fs::create_dir(directory.path().join("sub")).expect("made");
    let unset = "command check is not run: set track_command_dir in the agent's configuration to \
                 the directory of the commands that this host offers";
    assert_eq!(run(&command("check", PATIENT), None).await, Err(unset.to_owned()));
    for program in ["", ".", "..", "../check", "/bin/true", "sub/check", "a\0b"] {
        let seen = run(&command(program, PATIENT), Some(&home(&directory))).await;
        let expected = format!(
            "command {program:?} is not run: name a file of track_command_dir, without a path"
        );
        assert_eq!(seen, Err(expected));
    }
    for (program, expected) in
        [("link", "is no regular file"), ("sub", "is no regular file"), ("none", "put it there")]
    {
        let seen = run(&command(program, PATIENT), Some(&home(&directory))).await;
        let reason = seen.expect_err("refused");
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn it_has_no_capability_of_those_that_are_handed_on() {
    let text = "#!/bin/sh\nread -r _ set <<X\n$(grep CapAmb /proc/self/status)\nX\n[ \"$set\" = 0000000000000000 ]\n";
    let directory = offer(text, 0o755);
    // Whoever may not hand one on has none that could be inherited.
    let net_raw = caps::Capability::CAP_NET_RAW;
    let handed_on = caps::raise(None, CapSet::Inheritable, net_raw)
        .and_then(|()| caps::raise(None, CapSet::Ambient, net_raw));
    assert_eq!(run_check(&directory).await, Ok("command check succeeded".to_owned()));
    if handed_on.is_ok() {
        assert!(caps::has_cap(None, CapSet::Ambient, net_raw).expect("asked"), "we keep ours");
        caps::clear(None, CapSet::Ambient).expect("given up");
    }
}

#[tokio::test]
async fn it_runs_as_the_user_that_is_named() {
    let nobody = 65534;
    // Whoever may not change users can only be named oneself.
    let (user, group) = if geteuid().is_root() {
        (Uid::from_raw(nobody), Gid::from_raw(nobody))
    } else {
        (geteuid(), nix::unistd::getegid())
    };
    let directory = offer("#!/bin/sh\necho groups $(id -G); id -u; id -g; exit 1\n", 0o755);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let home = CommandHome { user: Some((user, group)), ..home(&directory) };
    let seen = run(&command("check", PATIENT), Some(&home)).await.expect_err("it fails");
    assert!(seen.ends_with(&format!(" {user} {group}")), "{seen}");
    if user != geteuid() {
        assert!(seen.contains(&format!("groups {group} {user}")), "no group of ours: {seen}");
    }
}
