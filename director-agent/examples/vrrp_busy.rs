//! Adverts of 10 ms while the host's processors and its netlink are busy: how often does a Backup take over from an Active
//! that lives, and how late does the VRRP thread wake?
//!
//! `cargo run --release -p fulcrum-director --example vrrp_busy -- --seconds 30` as root. It makes two network namespaces with
//! a wire between them, runs the agent's VRRP in each, keeps every processor busy, changes routes in both, and prints one JSON
//! line. It fails when there was a false failover, and needs no IPVS. Its namespaces are gone afterwards.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use fulcrum_director::vrrp::VrrpHandle;
use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::resource::{VrrpChecksum, VrrpVersion};
use fulcrum_model::{Name, Priority, Vrid, VrrpOptions};
use fulcrum_vrrp::Role;

const VIP: &str = "10.98.0.150/32";
const INTERFACE: &str = "wire0";
const PRIORITIES: [u64; 2] = [100, 90];
/// How long the two may take to start and elect.
const ELECT: Duration = Duration::from_secs(20);
/// Programs that want a processor, for each processor.
const SPINNERS: usize = 2;
/// Routes that are added and deleted again in one breath.
const ROUTES: u8 = 100;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Time between adverts, a multiple of 10 ms.
    #[arg(long, default_value_t = 10)]
    interval_ms: u64,
    /// How long the load lasts.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// A router, in the namespace that it is started in, until its input ends.
    #[command(hide = true)]
    Router { interval_ms: u64, number: u8 },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.part {
        Some(Part::Router { interval_ms, number }) => router(interval_ms, number).map(|()| true),
        None => measure(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vrrp_busy: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Tells each change of its role, and at the end how it went.
#[tokio::main]
async fn router(interval_ms: u64, number: u8) -> Result<()> {
    let state_dir = std::env::temp_dir().join(format!("vrrp-busy-{}", std::process::id()));
    std::fs::create_dir_all(&state_dir)?;
    let (handle, mut snapshots) = VrrpHandle::spawn(&state_dir)?;
    let name: Name = "busy".parse()?;
    handle.apply([(name.clone(), plan(name.clone(), interval_ms, number)?)].into());
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let mut ended = std::pin::pin!(ended);
    let mut role = None;
    loop {
        tokio::select! {
            changed = snapshots.changed() => changed?,
            _ = &mut ended => break,
        }
        let now = snapshots.borrow_and_update().instances.get(&name).map(|status| status.role);
        if now != role {
            role = now;
            say(&if role == Some(Role::Active) { "active" } else { "not active" })?;
        }
    }
    let last = snapshots.borrow().clone();
    let status = last.instances.get(&name).context("the instance is not told of")?;
    say(&serde_json::json!({
        "became_active": status.became_active,
        "adverts_sent": status.adverts_sent,
        "wakes": last.lateness.wakes,
        "late_us_p999": last.lateness.p999.as_micros(),
        "late_us_max": last.lateness.max.as_micros(),
    }))?;
    handle.stop().await;
    std::fs::remove_dir_all(&state_dir)?;
    Ok(())
}

fn say(what: &impl std::fmt::Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}")?;
    out.flush()?;
    Ok(())
}

fn plan(name: Name, interval_ms: u64, number: u8) -> Result<VrrpInstancePlan> {
    Ok(VrrpInstancePlan {
        name,
        vrid: Vrid::new(51)?,
        version: VrrpVersion::V3,
        advert_interval: Duration::from_millis(interval_ms),
        interface: INTERFACE.to_owned(),
        priority: Priority::new(PRIORITIES[usize::from(number)])?,
        preempt: true,
        auth_pass: None,
        vips: vec![VIP.parse()?],
        source: IpAddr::from([10, 98, 0, number + 1]),
        unicast_peers: Vec::new(),
        checksum: VrrpChecksum::Deployed,
        take_over: false,
        options: VrrpOptions::default(),
    })
}

/// Two namespaces and the wire between them, gone when dropped.
struct Ground {
    namespaces: [String; 2],
}

impl Ground {
    fn make() -> Result<Self> {
        let namespaces = [0, 1].map(|number| format!("vrrp-busy-{}-{number}", std::process::id()));
        let ground = Self { namespaces };
        let [first, second] = &ground.namespaces;
        for namespace in [first, second] {
            ip(&["netns", "add", namespace])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        let peer = ["type", "veth", "peer", "name", INTERFACE, "netns", second];
        ip(&[["link", "add", INTERFACE, "netns", first].as_slice(), &peer].concat())?;
        for (number, namespace) in ground.namespaces.iter().enumerate() {
            let address = format!("10.98.0.{}/24", number + 1);
            ip(&["-n", namespace, "address", "add", &address, "dev", INTERFACE])?;
            ip(&["-n", namespace, "link", "set", INTERFACE, "up"])?;
        }
        Ok(ground)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // It may not have been made.
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).output().context("cannot run ip (iproute2)")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}; it needs root", words.join(" "), why.trim());
    }
    Ok(())
}

/// A running part, killed when dropped.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("it has no output")?);
        Ok(Self { child, lines })
    }

    fn router(namespace: &str, interval_ms: u64, number: u8) -> Result<Self> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(std::env::current_exe()?);
        command.args(["router", &interval_ms.to_string(), &number.to_string()]);
        Self::start(command)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            bail!("a router has ended early");
        }
        Ok(line.trim_end().to_owned())
    }

    /// Its last line, and all that it said before.
    fn finish(mut self) -> Result<(serde_json::Value, Vec<String>)> {
        drop(self.child.stdin.take());
        let mut said = Vec::new();
        loop {
            let line = self.line()?;
            if line.starts_with('{') {
                self.child.wait()?;
                return Ok((serde_json::from_str(&line)?, said));
            }
            said.push(line);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn measure(arguments: &Arguments) -> Result<bool> {
    let ground = Ground::make()?;
    let [first, second] = &ground.namespaces;
    let mut active = Running::router(first, arguments.interval_ms, 0)?;
    let begin = Instant::now();
    while active.line()? != "active" {
        if begin.elapsed() > ELECT {
            bail!("the first router does not become Active");
        }
    }
    let backup = Running::router(second, arguments.interval_ms, 1)?;
    let processors = std::thread::available_parallelism()?.get();
    let spinners = (0..processors * SPINNERS).map(|_| {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        Running::start(command)
    });
    let spinners = spinners.collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    let mut edits = 0;
    while begin.elapsed() < Duration::from_secs(arguments.seconds) {
        for namespace in &ground.namespaces {
            edits += change_routes(namespace)?;
        }
    }
    // The Backup first: a planned stop of the Active is a failover that is due.
    let (backup, _) = backup.finish()?;
    drop(spinners);
    let (active, said) = active.finish()?;
    let became = |router: &serde_json::Value| router["became_active"].as_u64().unwrap_or_default();
    // Each change after the first "active" is one too many.
    let false_failovers = became(&backup) + u64::try_from(said.len())?;
    say(&serde_json::json!({
        "interval_ms": arguments.interval_ms,
        "seconds": arguments.seconds,
        "processors": processors,
        "busy_programs": processors * SPINNERS,
        "netlink_edits": edits,
        "false_failovers": false_failovers,
        "active": active,
        "backup": backup,
    }))?;
    Ok(false_failovers == 0)
}

/// Adds and deletes routes; answers with the number of requests.
fn change_routes(namespace: &str) -> Result<usize> {
    let change = |verb| (1..=ROUTES).map(move |n| format!("route {verb} 10.99.{n}.0/24 dev lo\n"));
    let lines: Vec<String> = change("add").chain(change("del")).collect();
    let mut child = Command::new("ip")
        .args(["-n", namespace, "-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run ip")?;
    child.stdin.take().context("ip has no input")?.write_all(lines.concat().as_bytes())?;
    if !child.wait()?.success() {
        bail!("ip -batch has failed");
    }
    Ok(lines.len())
}
