//! Real controllers that are killed at every step of their stores' work, cut off from each other and stopped, while clients write and read; what the
//! clients saw must be explained by one register for each name that does one thing at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fulcrum_proto::v1;
use fulcrum_proto::v1::cluster_service_client::ClusterServiceClient;
use fulcrum_proto::v1::intent_service_client::IntentServiceClient;
use fulcrum_runtime::transport::connect_lazy;
use nix::sys::signal::Signal;
use tonic::Code;
use tonic::transport::Channel;

use super::cluster::SOON;
use super::linear::{self, Done, Operation};
use super::process::{self, Process};
use super::proxy::{Open, Proxy};
use crate::raft::Step;

/// Clients, each with one operation at a time.
const CLIENTS: u64 = 4;
/// Registers.
const KEYS: u64 = 4;
/// A client that has no answer after this long takes what it asked for as unknown.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);
/// Between two operations of a client, so that the history is of many seconds and can be searched.
const PAUSE: Duration = Duration::from_millis(8);
/// How long a controller may take to come to the step at which it is to die.
const STEP_PATIENCE: Duration = Duration::from_secs(6);
/// How often that is tried.
const ATTEMPTS: usize = 3;
/// How long a partition or a pause lasts: some elections.
const FAULT_TIME: Duration = Duration::from_millis(1200);
/// The test that the controllers' processes are started for.
const TEST: &str =
    "testing::faults::whatever_dies_or_is_cut_off_clients_see_one_register_for_each_name";

/// Three controllers as processes, with a way from each to each.
struct Trio {
    processes: Vec<Process>,
    /// By who connects and to whom.
    ways: BTreeMap<(usize, usize), Proxy>,
    apis: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Trio {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // Held together, so that no two of them get the same, and freed before the controllers take them.
        let held: Vec<_> = (0..6)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"))
            .collect();
        let endpoints: Vec<String> =
            held.iter().map(|l| l.local_addr().expect("it is bound").to_string()).collect();
        drop(held);
        let (apis, rafts) = endpoints.split_at(3);
        let mut ways = BTreeMap::new();
        for (from, to) in pairs() {
            ways.insert((from, to), Proxy::to(rafts[to].clone()).await);
        }
        let mut processes = Vec::new();
        for (me, raft) in rafts.iter().enumerate() {
            let raft_of = |other: usize| match ways.get(&(me, other)) {
                Some(way) => way.endpoint.as_str(),
                None => raft.as_str(),
            };
            let path = directory.path().join(format!("c{}.toml", me + 1));
            let text = configuration(me, directory.path(), apis, raft_of);
            std::fs::write(&path, text).expect("a writable directory");
            processes.push(Process::start(&path, TEST, None));
        }
        let trio = Self { processes, ways, apis: apis.to_vec(), _directory: directory };
        trio.until_all_agree().await;
        trio
    }

    fn cluster_of(&self, index: usize) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(connect_lazy(&self.apis[index], None).expect("a good endpoint"))
    }

    /// What a controller tells of all; `None` when it does not answer.
    async fn told_by(&self, index: usize) -> Option<v1::GetClusterResponse> {
        let mut client = self.cluster_of(index);
        let asked = client.get_cluster(v1::GetClusterRequest {});
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
        answer.ok().and_then(Result::ok).map(tonic::Response::into_inner)
    }

    /// The leader's place, as soon as some controller knows it.
    async fn leader(&self) -> usize {
        let known = tokio::time::timeout(SOON, async {
            loop {
                for index in 0..3 {
                    let told =
                        self.told_by(index).await.map(|told| told.leader).unwrap_or_default();
                    if let Some(number) = told.strip_prefix('c') {
                        return number.parse::<usize>().expect("names are c1 to c3") - 1;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        known.await.unwrap_or_else(|_| self.fail("no controller knows a leader"))
    }

    /// Until each answers and has all that the leader has, nearly.
    async fn until_all_agree(&self) {
        for index in 0..3 {
            let agreed = tokio::time::timeout(SOON, async {
                loop {
                    let told = self.told_by(index).await.unwrap_or_default();
                    let is_near = |m: &v1::Member| m.behind_entries.is_some_and(|by| by < 50);
                    if told.members.len() == 3 && told.members.iter().all(is_near) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            if agreed.await.is_err() {
                self.fail(&format!("controller {} does not find the others", index + 1));
            }
        }
    }

    fn fail(&self, what: &str) -> ! {
        for process in &self.processes {
            let said = process.said();
            let lines: Vec<&str> = said.lines().collect();
            println!("{}\n--", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        panic!("{what}");
    }

    /// Has a controller die at a step of its work, and starts it again. Whether it came to the step.
    async fn die_at(&mut self, index: usize, step: Step, before: u64) -> bool {
        self.processes[index].restart(Some((step, before)));
        let has_died = self.processes[index].dies_within(STEP_PATIENCE).await;
        self.processes[index].restart(None);
        has_died
    }

    /// The same at a step of an election, which the end of the leader brings about.
    async fn die_electing(&mut self, index: usize, leader: usize, step: Step) -> bool {
        self.processes[index].restart(Some((step, 0)));
        self.processes[leader].kill();
        let has_died = self.processes[index].dies_within(STEP_PATIENCE).await;
        self.processes[index].restart(None);
        self.processes[leader].restart(None);
        has_died
    }

    fn cut(&self, from: usize, to: usize, open: Open) {
        self.ways[&(from, to)].set(open);
    }

    fn heal(&self) {
        self.ways.values().for_each(|way| way.set(Open::WHOLE));
    }
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..3).flat_map(|from| (0..3).map(move |to| (from, to))).filter(|(from, to)| from != to)
}

fn configuration<'a>(
    me: usize,
    directory: &Path,
    apis: &[String],
    raft_of: impl Fn(usize) -> &'a str,
) -> String {
    let data_dir = directory.join(format!("data{}", me + 1));
    let mut text = format!("name = \"c{}\"\ndata_dir = {data_dir:?}\n", me + 1);
    text.push_str("[raft]\nheartbeat_ms = 50\nelection_min_ms = 200\nelection_max_ms = 400\n");
    for (other, api) in apis.iter().enumerate() {
        let (number, raft) = (other + 1, raft_of(other));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[[controllers]]\nid = {number}\nname = \"c{number}\"\napi = \"{api}\"\nraft = \"{raft}\"\n"
        );
    }
    text
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    history: Mutex<BTreeMap<String, Vec<Operation>>>,
    /// The revision that each acknowledged write was told, by what it wrote.
    acknowledged: Mutex<BTreeMap<u64, u64>>,
    unknown: AtomicU64,
    next_value: AtomicU64,
    is_over: AtomicBool,
}

/// Writes and reads one register after the other, by one controller after the other, until it is over.
async fn client(number: u64, apis: Vec<String>, seen: Arc<Seen>, begun: Instant) {
    let clients: Vec<IntentServiceClient<Channel>> = apis
        .iter()
        .map(|api| IntentServiceClient::new(connect_lazy(api, None).expect("a good endpoint")))
        .collect();
    let now = || u64::try_from(begun.elapsed().as_nanos()).expect("less than centuries");
    // Mixed enough for four clients, and the same each time.
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while !seen.is_over.load(Ordering::Relaxed) {
        mixed ^= mixed << 13;
        mixed ^= mixed >> 7;
        mixed ^= mixed << 17;
        let mut client = clients[usize::try_from(mixed % 3).expect("small")].clone();
        let key = format!("k{}", (mixed >> 8) % KEYS);
        let called = now();
        let (done, is_known) = if (mixed >> 16).is_multiple_of(2) {
            let value = seen.next_value.fetch_add(1, Ordering::Relaxed) + 1;
            (Done::Write(value), write(&mut client, &key, value, &seen).await)
        } else {
            match read(&mut client, &key).await {
                Some(value) => (Done::Read(value), true),
                None => (Done::Read(0), false),
            }
        };
        let answered = is_known.then(now);
        if !is_known {
            seen.unknown.fetch_add(1, Ordering::Relaxed);
        }
        let operation = Operation { called, answered, done };
        lock(&seen.history).entry(key).or_default().push(operation);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn write(
    client: &mut IntentServiceClient<Channel>,
    key: &str,
    value: u64,
    seen: &Seen,
) -> bool {
    let spec = v1::Site { description: value.to_string() };
    let resource = v1::Resource {
        metadata: Some(v1::Metadata { name: key.to_owned(), ..Default::default() }),
        spec: Some(v1::resource::Spec::Site(spec)),
    };
    let request = v1::ApplyRequest {
        resources: vec![resource],
        reason: value.to_string(),
        ..Default::default()
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, client.apply(request)).await {
        Ok(Ok(answer)) => {
            lock(&seen.acknowledged).insert(value, answer.into_inner().revision);
            true
        }
        Ok(Err(_)) | Err(_) => false,
    }
}

/// What the register holds; `None` when nobody answered in time.
async fn read(client: &mut IntentServiceClient<Channel>, key: &str) -> Option<u64> {
    let kind = v1::Kind::Site.into();
    let request = v1::GetRequest { kind, name: key.to_owned(), stale: false };
    match tokio::time::timeout(ANSWER_TIMEOUT, client.get(request)).await {
        Ok(Ok(answer)) => match answer.into_inner().resource.and_then(|resource| resource.spec) {
            Some(v1::resource::Spec::Site(site)) => {
                Some(site.description.parse().expect("only numbers are written"))
            }
            other => panic!("a site was asked for: {other:?}"),
        },
        Ok(Err(status)) if status.code() == Code::NotFound => Some(0),
        Ok(Err(_)) | Err(_) => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each step once, on the leader where it can be; gives the steps that a controller died at.
async fn die_at_each_step(trio: &mut Trio, seen: &Seen) -> BTreeSet<Step> {
    let mut died_at = BTreeSet::new();
    for step in Step::ALL {
        // Who leads may have changed meanwhile, so that another one would have come to it.
        for attempt in 0..ATTEMPTS {
            if die_at(trio, seen, step, attempt).await {
                died_at.insert(step);
                break;
            }
        }
    }
    died_at
}

async fn die_at(trio: &mut Trio, seen: &Seen, step: Step, attempt: usize) -> bool {
    let leader = trio.leader().await;
    let other = (leader + 1) % 3;
    let place = Step::ALL.iter().position(|of_all| *of_all == step).expect("it is one of them");
    let index = match step {
        // Only a follower is sent a snapshot: one that was away for long.
        Step::InstallWritten => {
            trio.processes[other].kill();
            until_more_is_written(seen, 90).await;
            other
        }
        // A leader that is cut off writes what others will not have.
        Step::TruncateMarked => {
            cut_off(trio, leader, Open::CUT);
            until_more_is_written(seen, 10).await;
            trio.processes[leader].kill();
            trio.heal();
            leader
        }
        Step::VoteWritten | Step::VoteSynced => {
            return trio.die_electing(other, leader, step).await;
        }
        _ if (place + attempt).is_multiple_of(2) => leader,
        _ => other,
    };
    // Not always at the first: what was done just before differs.
    let before = match step {
        Step::AppendBegins | Step::AppendWritten | Step::AppendSynced | Step::AppendMarked => 12,
        Step::ApplyBegins | Step::ApplyWritten => 8,
        Step::VoteWritten
        | Step::VoteSynced
        | Step::SnapshotBegins
        | Step::SnapshotSaved
        | Step::InstallWritten
        | Step::PurgeBegins
        | Step::PurgeWritten
        | Step::TruncateMarked => 0,
    };
    trio.die_at(index, step, before).await
}

async fn until_more_is_written(seen: &Seen, more: usize) {
    let before = lock(&seen.acknowledged).len();
    let written = tokio::time::timeout(3 * SOON, async {
        while lock(&seen.acknowledged).len() < before + more {
            tokio::time::sleep(PAUSE).await;
        }
    });
    written.await.expect("two controllers of three take writes");
}

fn cut_off(trio: &Trio, whom: usize, open: Open) {
    for (from, to) in pairs().filter(|(from, to)| *from == whom || *to == whom) {
        trio.cut(from, to, open);
    }
}

/// Partitions of every kind, and pauses.
async fn cut_and_pause(trio: &Trio) {
    for open in [Open::CUT, Open::DEAF, Open::MUTE] {
        let leader = trio.leader().await;
        // Of the leader's own connections alone, so that the others still reach it; and then in both directions.
        for to in (0..3).filter(|to| *to != leader) {
            trio.cut(leader, to, open);
        }
        tokio::time::sleep(FAULT_TIME).await;
        trio.heal();
        let leader = trio.leader().await;
        cut_off(trio, leader, open);
        tokio::time::sleep(FAULT_TIME).await;
        trio.heal();
    }
    for _ in 0..2 {
        let leader = trio.leader().await;
        trio.processes[leader].signal(Signal::SIGSTOP);
        tokio::time::sleep(FAULT_TIME).await;
        trio.processes[leader].signal(Signal::SIGCONT);
        tokio::time::sleep(FAULT_TIME / 4).await;
    }
}

#[test]
fn whatever_dies_or_is_cut_off_clients_see_one_register_for_each_name() {
    process::serve_if_asked();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("threads can be started").block_on(run());
}

async fn run() {
    let begun = Instant::now();
    let mut trio = Trio::start().await;
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|number| tokio::spawn(client(number, trio.apis.clone(), Arc::clone(&seen), begun)))
        .collect();
    let died_at = die_at_each_step(&mut trio, &seen).await;
    cut_and_pause(&trio).await;
    trio.until_all_agree().await;
    seen.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client does not panic");
    }

    // Every write that was acknowledged is in the history, at the revision that was told, by its reason.
    let acknowledged = lock(&seen.acknowledged).clone();
    let newest = *acknowledged.values().max().expect("something was written");
    for api in &trio.apis {
        let kept = kept_reasons(api, newest).await;
        let oldest = kept.keys().next().copied().unwrap_or_default();
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|(_, revision)| **revision >= oldest)
            .filter(|(value, revision)| kept.get(*revision) != Some(&value.to_string()))
            .collect();
        assert!(lost.is_empty(), "{api} lost what was acknowledged: {lost:?}");
    }

    let history = lock(&seen.history).clone();
    let operations: usize = history.values().map(Vec::len).sum();
    let tried = match linear::check(&history) {
        Ok(tried) => tried,
        Err(fault) => trio.fail(&format!("{fault:#?}")),
    };
    println!(
        "{{\"operations\": {operations}, \"unknown\": {}, \"acknowledged_writes\": {}, \"died_at\": {}, \"orders_tried\": {tried}, \"seconds\": {}}}",
        seen.unknown.load(Ordering::Relaxed),
        acknowledged.len(),
        died_at.len(),
        begun.elapsed().as_secs(),
    );
    let missed: Vec<_> = Step::ALL.into_iter().filter(|step| !died_at.contains(step)).collect();
    assert!(missed.is_empty(), "no controller came to {missed:?}");
    assert!(acknowledged.len() > 100, "too little was written to tell: {}", acknowledged.len());
}

/// Why each kept revision was made, by revision, once a controller has that one.
async fn kept_reasons(api: &str, newest: u64) -> BTreeMap<u64, String> {
    let mut client = IntentServiceClient::new(connect_lazy(api, None).expect("a good endpoint"));
    let listed = tokio::time::timeout(SOON, async {
        loop {
            let request = v1::ListRevisionsRequest { page_size: 1000, ..Default::default() };
            if let Ok(answer) = client.list_revisions(request).await {
                let revisions = answer.into_inner().revisions;
                let kept: BTreeMap<u64, String> =
                    revisions.into_iter().map(|it| (it.revision, it.reason)).collect();
                if kept.keys().next_back().is_some_and(|last| *last >= newest) {
                    return kept;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    listed.await.expect("it has the newest revision soon")
}
