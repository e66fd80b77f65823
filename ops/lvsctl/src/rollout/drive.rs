//! Drives a rollout: follows the cluster, asks the machine, writes what it decides, shows how it goes.

use std::collections::BTreeMap;
use std::time::Duration;

use fulcrum_runtime::backoff::Backoff;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::machine::{Machine, Phase, Step};
use super::orders::Rollout;
use super::view::View;
use crate::cli::Output;
use crate::connect::{Controllers, Refusal};
use crate::exit::{Exit, Failure};
use crate::order::{self, Cluster};
use crate::out;
use crate::text::{Node, to_json_line, to_yaml};
use crate::verbs::status;

/// First and longest pause before the controllers are asked again after a stream has ended or a write was not taken.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So long no controller may answer; then an operator looks, and resumes. Directors and agents go on meanwhile.
const LONGEST_SILENCE: Duration = Duration::from_mins(2);

/// The cluster as it is, with the intent's revision.
///
/// # Errors
/// No controller answers.
pub(crate) async fn ask(controllers: &Controllers) -> Result<(Cluster, u64), Failure> {
    let topology = status::ask(controllers).await?;
    Ok((Cluster::new(&topology), topology.revision))
}

/// Goes on until all real servers of the pool were restarted, or one is bad.
///
/// # Errors
/// [`Exit::Unhealthy`] with why it stopped and how to go on; [`Exit::Unreachable`] when no controller answers for minutes.
pub(crate) async fn drive(
    controllers: &Controllers,
    format: Output,
    rollout: Rollout,
    machine: Machine,
) -> Result<Exit, Failure> {
    let start = Instant::now();
    let told = Told { format, start, servers: BTreeMap::new() };
    let mut driver = Driver { controllers, rollout, machine, start, revision: 0, told };
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut answered = Instant::now();
    loop {
        match driver.follow(&mut answered).await? {
            Some(end) => return Ok(end),
            None if answered.elapsed() > LONGEST_SILENCE => {
                let text = format!(
                    "no controller has answered for {} s; what was ordered stands. When one does, go on with `lvsctl rollout \
                     resume {}`",
                    LONGEST_SILENCE.as_secs(),
                    driver.rollout.pool
                );
                return Err(Failure::new(Exit::Unreachable, text));
            }
            None => tokio::time::sleep(backoff.next()).await,
        }
    }
}

struct Driver<'a> {
    controllers: &'a Controllers,
    rollout: Rollout,
    machine: Machine,
    start: Instant,
    /// The newest that this program wrote.
    revision: u64,
    told: Told,
}

/// What came of an attempt to write.
enum Written {
    /// It stands.
    Yes,
    /// Somebody else wrote meanwhile, or nobody answers: look again.
    NotNow,
    /// Nothing of the rollout is left.
    Finished,
}

impl Driver<'_> {
    /// Follows one stream until the end of the rollout, or its own.
    async fn follow(&mut self, answered: &mut Instant) -> Result<Option<Exit>, Failure> {
        let Ok(mut stream) = self.controllers.watch_topology().await else { return Ok(None) };
        let mut cluster = Cluster::default();
        let mut look_at = Instant::now();
        loop {
            match tokio::time::timeout_at(look_at, stream.next()).await {
                Ok(Some(Ok(response))) => {
                    *answered = Instant::now();
                    if let Some(event) = &response.event {
                        cluster.take(event);
                    }
                    // A burst of news is taken whole before anything is decided.
                    look_at = look_at.min(Instant::now() + FIRST_PAUSE / 4);
                }
                Ok(Some(Err(_)) | None) => return Ok(None),
                Err(_) if !cluster.is_synced => look_at = Instant::now() + FIRST_PAUSE,
                Err(_) => {
                    let view = self.view(&cluster)?;
                    let step = self.machine.step(&view, self.start.elapsed());
                    self.told.see(&view, &self.machine)?;
                    let pause = match step {
                        Step::Wait(at_most) => at_most,
                        Step::Stop(bad) => {
                            return Err(stopped(&self.rollout.pool, &view, &self.machine, &bad));
                        }
                        step => match self.act(&step).await? {
                            Written::Finished => {
                                self.told.finished(&view)?;
                                return Ok(Some(Exit::Ok));
                            }
                            Written::Yes | Written::NotNow => FIRST_PAUSE,
                        },
                    };
                    look_at = Instant::now() + pause;
                }
            }
        }
    }

    fn view(&self, cluster: &Cluster) -> Result<View, Failure> {
        let Rollout { pool, .. } = &self.rollout;
        View::new(cluster, pool, Some(&self.rollout), self.revision).ok_or_else(|| {
            let text =
                format!("pool {pool} is gone; `lvsctl rollout abort {pool}` deletes what is left");
            Failure::new(Exit::NotFound, text)
        })
    }

    /// Writes a step if it is still the one at the newest revision, and at that revision alone: whoever else drives this
    /// rollout, or changes the pool, is never overtaken.
    async fn act(&mut self, step: &Step) -> Result<Written, Failure> {
        let Ok((cluster, revision)) = ask(self.controllers).await else {
            return Ok(Written::NotNow);
        };
        let view = self.view(&cluster)?;
        let again = self.machine.clone().step(&view, self.start.elapsed());
        if again != *step {
            return Ok(Written::NotNow);
        }
        let mut change = match step {
            Step::Drain(names) => self.rollout.drain(&cluster, names),
            Step::Restart(names) => self.rollout.restart(&cluster, names),
            Step::Undrain(names) => self.rollout.undrain(&cluster, names),
            Step::Finish => self.rollout.finish(&cluster),
            Step::Wait(_) | Step::Stop(_) => return Ok(Written::NotNow),
        };
        change.if_revision = revision;
        match order::send(self.controllers, change).await {
            Ok(revision) => {
                self.revision = self.revision.max(revision);
                let is_end = *step == Step::Finish;
                Ok(if is_end { Written::Finished } else { Written::Yes })
            }
            Err(Refusal::Silent(_)) => Ok(Written::NotNow),
            Err(Refusal::Answered(status)) if status.code() == Code::Aborted => Ok(Written::NotNow),
            Err(refusal) => {
                let mut failure = order::refused(refusal, "cannot write the next step");
                failure.text = format!("{}\n{}", failure.text, how_to_go_on(&self.rollout.pool));
                Err(failure)
            }
        }
    }
}

fn how_to_go_on(pool: &str) -> String {
    format!(
        "Go on with `lvsctl rollout resume {pool}`, or end it with `lvsctl rollout abort {pool}`, which uses again what is drained."
    )
}

/// Why it stopped, what is as it was, and how to go on.
fn stopped(pool: &str, view: &View, machine: &Machine, bad: &[(String, String)]) -> Failure {
    let mut text = format!("the rollout of {pool} has stopped:");
    for (name, why) in bad {
        let drained = view.server(name).is_some_and(|server| server.is_drained);
        let state = if drained { " (it stays drained)" } else { "" };
        text = format!("{text}\n  {name}: {why}{state}");
    }
    for (phase, what) in [(Phase::Finished, "restarted"), (Phase::Due, "not touched")] {
        let of = view.servers.iter().filter(|server| machine.phase(server) == phase);
        let names: Vec<&str> = of.map(|server| server.name.as_str()).collect();
        if !names.is_empty() {
            text = format!("{text}\n  {what}: {}", names.join(", "));
        }
    }
    Failure::new(Exit::Unhealthy, format!("{text}\nMend it first. {}", how_to_go_on(pool)))
}

/// What was shown of each real server last.
struct Told {
    format: Output,
    start: Instant,
    servers: BTreeMap<String, (Phase, String)>,
}

impl Told {
    /// Tells what is new.
    fn see(&mut self, view: &View, machine: &Machine) -> Result<(), Failure> {
        for server in &view.servers {
            let (phase, waits_for) = (machine.phase(server), machine.waits_for(view, server));
            let now = (phase, waits_for.join("; "));
            let known = self.servers.insert(server.name.clone(), now.clone());
            let is_news = known.as_ref().map_or(phase != Phase::Due, |known| *known != now);
            if is_news {
                self.tell(&server.name, phase, &waits_for)?;
            }
        }
        Ok(())
    }

    fn finished(&self, view: &View) -> Result<(), Failure> {
        let (count, time) = (view.servers.len(), self.start.elapsed().as_secs_f64());
        match self.format {
            Output::Table => {
                eprintln!("{}: {count} real servers restarted after {time:.1} s", view.pool);
                Ok(())
            }
            Output::Json | Output::Yaml => self.event(vec![
                ("event".to_owned(), Node::text("finished")),
                ("pool".to_owned(), Node::text(&view.pool)),
                ("real_servers".to_owned(), Node::Plain(count.to_string())),
            ]),
        }
    }

    fn tell(&self, name: &str, phase: Phase, waits_for: &[String]) -> Result<(), Failure> {
        match self.format {
            Output::Table => {
                let waits = if waits_for.is_empty() {
                    String::new()
                } else {
                    format!(", waits for {}", waits_for.join("; "))
                };
                let time = self.start.elapsed().as_secs_f64();
                eprintln!("{time:7.1} s  {name}: {}{waits}", phase.word());
                Ok(())
            }
            Output::Json | Output::Yaml => {
                let waits_for = waits_for.iter().map(|text| Node::text(text)).collect();
                self.event(vec![
                    ("event".to_owned(), Node::text("real-server")),
                    ("real_server".to_owned(), Node::text(name)),
                    ("phase".to_owned(), Node::text(phase.word())),
                    ("waits_for".to_owned(), Node::List(waits_for)),
                ])
            }
        }
    }

    fn event(&self, mut fields: Vec<(String, Node)>) -> Result<(), Failure> {
        let time = format!("{:.3}", self.start.elapsed().as_secs_f64());
        fields.push(("after_s".to_owned(), Node::Plain(time)));
        let node = Node::Map(fields);
        match self.format {
            Output::Yaml => out::print(&format!("---\n{}", to_yaml(&node))),
            Output::Json | Output::Table => out::print(&(to_json_line(&node) + "\n")),
        }
    }
}
