//! Controllers as processes of their own, so that kill -9 and SIGSTOP are what they are.
//!
//! The test's own binary is started again for the one test that asks for it, and serves then instead of testing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;

use super::cluster::SOON;
use crate::config::Config;
use crate::raft::{Pace, Step, Steps};
use crate::serve;

/// Names the configuration file to serve from.
const CONFIG: &str = "FULCRUM_TEST_SERVE";
/// Names the step at which to die and how often it is passed before, as `AppendSynced:3`.
const DIE_AT: &str = "FULCRUM_TEST_DIE_AT";

/// Serves if this process was started for that, until it is killed.
pub(crate) fn serve_if_asked() {
    let Ok(path) = std::env::var(CONFIG) else { return };
    let config = Config::load(Path::new(&path)).expect("the test wrote it");
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter("fulcrum_controller=info,openraft=warn")
        .init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let served = runtime.expect("threads can be started").block_on(async {
        let mut raft = serve::raft_config(&config);
        // Snapshots and purges come often enough to die in.
        raft.pace =
            Pace { snapshot_entries: 30, kept_entries: 5, lag_entries: 40, purge_entries: 4 };
        raft.steps = steps();
        let listeners = serve::bind(&config).await?;
        serve::run_with(config, raft, listeners, CancellationToken::new()).await
    });
    // Only when it could not go on: whoever waits for it finds the words in its log.
    eprintln!("the controller ended: {served:?}");
    std::process::exit(1);
}

fn steps() -> Steps {
    let Ok(told) = std::env::var(DIE_AT) else { return Steps::default() };
    let (name, before) = told.split_once(':').expect("a step and a number");
    let before: u64 = before.parse().expect("a number");
    let step = Step::ALL.into_iter().find(|step| format!("{step:?}") == name).expect("a step");
    let passed = AtomicU64::new(0);
    Steps::told_to(move |at| {
        if at == step && passed.fetch_add(1, Ordering::Relaxed) == before {
            // As kill -9 from outside: nothing is flushed, nobody is told.
            let _ = kill(Pid::this(), Signal::SIGKILL);
            std::thread::sleep(Duration::from_mins(1));
        }
    })
}

/// A controller.
#[derive(Debug)]
pub(crate) struct Process {
    config: PathBuf,
    log: PathBuf,
    test: &'static str,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    /// Starts one from a configuration file, for the test of that name, to die at a step if one is given.
    pub(crate) fn start(config: &Path, test: &'static str, die_at: Option<(Step, u64)>) -> Self {
        let log = config.with_extension("log");
        let child = spawn(config, &log, test, die_at);
        Self { config: config.to_owned(), log, test, child }
    }

    /// Starts it again, once it is dead.
    pub(crate) fn restart(&mut self, die_at: Option<(Step, u64)>) {
        self.kill();
        self.child = spawn(&self.config, &self.log, self.test, die_at);
    }

    /// Waits until it has died by itself; whether it has.
    pub(crate) async fn dies_within(&mut self, longest: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + longest.min(SOON);
        loop {
            if self.child.try_wait().expect("it is our child").is_some() {
                return true;
            }
            if tokio::time::Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// As kill -9.
    pub(crate) fn kill(&mut self) {
        // It may have died before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        // It may have died before.
        let _ = kill(Pid::from_raw(id), signal);
    }

    /// What it said, to be shown when a test fails.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn spawn(config: &Path, log: &Path, test: &str, die_at: Option<(Step, u64)>) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log);
    let log = log.expect("a writable directory");
    let mut command = Command::new(std::env::current_exe().expect("this test's own binary"));
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CONFIG, config)
        .env_remove(DIE_AT)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file can be shared"))
        .stderr(log);
    if let Some((step, before)) = die_at {
        command.env(DIE_AT, format!("{step:?}:{before}"));
    }
    command.spawn().expect("the test's binary starts")
}
