//! The namespaces, and what happens in them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::kernel::{Result, shell};
use crate::peers::say;

/// Connections that the client holds.
const CONNECTIONS: usize = 200;
/// Longest wait for anything: the gate's own bound, and the slow machine of the lab.
const PATIENCE: Duration = Duration::from_secs(40);

/// Runs every case; each prints a line.
pub(crate) fn run(dir: &Path) -> Result<()> {
    network()?;
    let state = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let mut server = Part::spawn("r", &["serve"])?;
    server.wait("the real server listens", |line| line == "listening")?;
    let director = |name: &str, address, priority| {
        Part::spawn(name, &["director", address, priority, &state(name)])
    };
    let mut strong = director("a", "10.0.0.1", "200")?;
    strong.wait("the strong director is Active", |line| line.starts_with("role Active"))?;
    let mut client = Part::spawn("c", &["hold", &CONNECTIONS.to_string()])?;
    client.wait("the client has its connections", |line| line == "alive 100")?;

    // The other comes when all connections are there: the kernel alone would tell it of the talkers only.
    let mut weak = director("b", "10.0.0.2", "100")?;
    let began = Instant::now();
    weak.wait("the Backup knows all", |line| line.contains(" missing 0 "))?;
    say(&format!("backup_knows_all_ms {}", began.elapsed().as_millis()))?;

    // Power loss.
    strong.kill_with_link("a")?;
    weak.wait("the Backup takes over", |line| line.starts_with("role Active"))?;
    alive(&mut client, "failover")?;

    // Failback: the strong one comes back with no connection at all, and waits until it knows them.
    ip("-n a link set eth0 up")?;
    flush_connections("a")?;
    let began = Instant::now();
    let mut strong = director("a", "10.0.0.1", "200")?;
    strong.wait("the strong one takes over", |line| line.starts_with("role Active"))?;
    say(&format!("failback_ms {}", began.elapsed().as_millis()))?;
    alive(&mut client, "failback")?;

    // A planned stop, with relay.
    weak.wait("the other follows", |line| line.contains(" missing 0 "))?;
    strong.end()?;
    weak.wait("the other takes over", |line| line.starts_with("role Active"))?;
    alive(&mut client, "planned stop")?;
    // The relay is over, and the old director gone: only what is really known here goes on.
    std::thread::sleep(Duration::from_secs(4));
    alive(&mut client, "after the relay")?;
    drop((server, weak, client));
    Ok(())
}

fn alive(client: &mut Part, what: &str) -> Result<()> {
    client.tell("all")?;
    let line = client.wait("the client tries its connections", |line| line.starts_with("alive"))?;
    say(&format!("{what}: {line}"))?;
    if line == format!("alive {CONNECTIONS} of {CONNECTIONS}") {
        return Ok(());
    }
    Err(format!("{what}: {line}").into())
}

/// A director that was off has an empty table.
fn flush_connections(namespace: &str) -> Result<()> {
    // Without its virtual servers and with this set, what is left of connections goes with the next look.
    shell(&format!("ip netns exec {namespace} ipvsadm -C"))?;
    shell(&format!("ip netns exec {namespace} ipvsadm --stop-daemon master"))?;
    let listing = format!("ip netns exec {namespace} cat /proc/net/ip_vs_conn");
    let lines = shell(&listing)?.lines().count();
    say(&format!("entries left in the table of {namespace}: {}", lines.saturating_sub(1)))
        .map_err(Into::into)
}

fn network() -> Result<()> {
    ip("link add br0 type bridge mcast_snooping 0")?;
    ip("link set br0 up")?;
    for (name, host) in [("a", 1), ("b", 2), ("c", 9), ("r", 11)] {
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add v{name} type veth peer name eth0 netns {name}"))?;
        ip(&format!("link set v{name} master br0 up"))?;
        ip(&format!("-n {name} addr add 10.0.0.{host}/24 dev eth0"))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        ip(&format!("-n {name} link set lo up"))?;
    }
    for sysctl in ["arp_ignore=1", "arp_announce=2"] {
        shell(&format!("ip netns exec r sysctl -qw net.ipv4.conf.all.{sysctl}"))?;
    }
    ip("-n r addr add 10.0.0.100/32 dev lo")?;
    Ok(())
}

fn ip(words: &str) -> Result<String> {
    shell(&format!("ip {words}"))
}

/// A part of this program in a namespace. It is killed when dropped.
struct Part {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    name: String,
}

impl Part {
    fn spawn(namespace: &str, words: &[&str]) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let (sender, lines) = channel();
        let name = format!("{namespace} {}", words[0]);
        let told = name.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(std::result::Result::ok) {
                eprintln!("[{told}] {line}");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Ok(Self { child, input, lines, name })
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.input.as_mut().ok_or("it was told to end")?, "{line}")?;
        Ok(())
    }

    fn wait(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        let mut last = String::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if is_it(&line) => return Ok(line),
                Ok(line) => last = line,
                Err(error) => {
                    return Err(format!("{what}: {error}; {} said last {last:?}", self.name).into());
                }
            }
        }
    }

    /// The link goes down in the same moment, as when the power fails.
    fn kill_with_link(mut self, namespace: &str) -> Result<()> {
        ip(&format!("-n {namespace} link set eth0 down"))?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// A planned stop.
    fn end(&mut self) -> Result<()> {
        self.input = None;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
