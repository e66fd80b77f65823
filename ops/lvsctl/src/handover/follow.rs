//! Follows the topology until what was wished has come true.

use tokio::time::Instant;

use super::Goal;
use super::outlook::Outlook;
use crate::cli::{Global, Output};
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::order::{self, Waiting};
use crate::out;
use crate::text::Node;

/// Waits, if that is wanted, until every goal is reached, and tells of each step; then of the outcome.
///
/// # Errors
/// [`Exit::TimedOut`] with what is still waited for, or [`Exit::Unreachable`] when no controller answers at first.
pub(crate) async fn follow(
    controllers: &Controllers,
    global: &Global,
    waiting: Waiting,
    goals: &[Goal],
) -> Result<Exit, Failure> {
    let format = global.output.unwrap_or(Output::Table);
    if waiting.is_unwanted() {
        return tell_unwaited(goals, format);
    }
    let start = Instant::now();
    let mut told = Told { format, lines: Vec::new() };
    let reached = watch(controllers, start + waiting.timeout, goals, &mut told).await?;
    let is_done = reached.iter().all(|outlook| outlook.waits_for.is_empty());
    let done_after = is_done.then(|| start.elapsed());
    order::tell_end(format, done_after, || outcome(goals, &reached, is_done))?;
    if is_done {
        return Ok(Exit::Ok);
    }
    let waiting_on = goals.iter().zip(&reached).filter(|(_, it)| !it.waits_for.is_empty());
    let lines = waiting_on
        .map(|(goal, it)| format!("{}: waits for {}", goal.instance, it.waits_for.join(", ")));
    let remedy = "The order stands; `lvsctl status` tells more.";
    Err(order::not_done(waiting.timeout, lines, remedy))
}

/// How far each goal is when all are reached or the time is over.
async fn watch(
    controllers: &Controllers,
    deadline: Instant,
    goals: &[Goal],
    told: &mut Told,
) -> Result<Vec<Outlook>, Failure> {
    let mut reached: Vec<Outlook> = Vec::new();
    order::follow(controllers, deadline, |cluster| {
        reached = goals.iter().map(|goal| goal.outlook(cluster)).collect();
        told.steps(goals, &reached)?;
        Ok(reached.iter().all(|outlook| outlook.waits_for.is_empty()))
    })
    .await?;
    Ok(or_unseen(reached, goals))
}

/// Where no snapshot came in time, that is what is waited for.
fn or_unseen(reached: Vec<Outlook>, goals: &[Goal]) -> Vec<Outlook> {
    if !reached.is_empty() {
        return reached;
    }
    let waits_for = vec![order::UNSEEN.to_owned()];
    goals.iter().map(|_| Outlook { active: Vec::new(), waits_for: waits_for.clone() }).collect()
}

/// What was told of each goal last.
struct Told {
    format: Output,
    lines: Vec<String>,
}

impl Told {
    fn steps(&mut self, goals: &[Goal], reached: &[Outlook]) -> Result<(), Failure> {
        self.lines.resize(goals.len(), String::new());
        for ((goal, outlook), last) in goals.iter().zip(reached).zip(&mut self.lines) {
            let line = line(goal, outlook);
            if self.format == Output::Table && *last != line {
                out::print(&line)?;
            }
            *last = line;
        }
        Ok(())
    }
}

fn line(goal: &Goal, outlook: &Outlook) -> String {
    let active = match outlook.active.as_slice() {
        [] => "nobody is Active".to_owned(),
        [one] => format!("{one} is Active"),
        several => format!("{} are Active", several.join(" and ")),
    };
    let instance = &goal.instance;
    if outlook.waits_for.is_empty() {
        return format!("{instance}: {active}\n");
    }
    format!("{instance}: {active}; waiting for {}\n", outlook.waits_for.join(", "))
}

fn tell_unwaited(goals: &[Goal], format: Output) -> Result<Exit, Failure> {
    let unseen = Outlook { active: Vec::new(), waits_for: Vec::new() };
    let unseen: Vec<Outlook> = goals.iter().map(|_| unseen.clone()).collect();
    let ordered = goals.iter().map(|Goal { instance, revision, .. }| {
        format!("{instance}: ordered at revision {revision}\n")
    });
    order::tell(format, &ordered.collect::<String>(), || outcome(goals, &unseen, false))?;
    Ok(Exit::Ok)
}

fn outcome(goals: &[Goal], reached: &[Outlook], is_done: bool) -> Node {
    let texts = |texts: &[String]| Node::List(texts.iter().map(|text| Node::text(text)).collect());
    let instances = goals.iter().zip(reached).map(|(goal, outlook)| {
        Node::Map(vec![
            ("instance".to_owned(), Node::text(&goal.instance)),
            ("revision".to_owned(), Node::Plain(goal.revision.to_string())),
            ("active".to_owned(), texts(&outlook.active)),
            ("waits_for".to_owned(), texts(&outlook.waits_for)),
        ])
    });
    Node::Map(vec![
        ("done".to_owned(), Node::Plain(is_done.to_string())),
        ("instances".to_owned(), Node::List(instances.collect())),
    ])
}
