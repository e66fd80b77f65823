//! Shows how a drain goes on, until it is done.

use tokio::time::Instant;

use super::outlook::{Count, Outlook};
use super::{Goal, Wish};
use crate::cli::{Global, Output};
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::order::{self, Waiting};
use crate::out;
use crate::text::Node;

/// Waits, if that is wanted, until the drain is done, and tells of each step; then of the outcome.
///
/// # Errors
/// [`Exit::TimedOut`] with what is still waited for, or [`Exit::Unreachable`] when no controller answers at first.
pub(crate) async fn follow(
    controllers: &Controllers,
    global: &Global,
    waiting: Waiting,
    goal: &Goal,
) -> Result<Exit, Failure> {
    let format = global.output.unwrap_or(Output::Table);
    if waiting.is_unwanted() {
        let Goal { real_server, revision, .. } = goal;
        let ordered = format!("{real_server}: ordered at revision {revision}\n");
        order::tell(format, &ordered, || outcome(goal, &Outlook::unseen(Vec::new()), false))?;
        return Ok(Exit::Ok);
    }
    let start = Instant::now();
    let (mut reached, mut last) = (None, String::new());
    let mut is_safe = goal.wish != Wish::Drained;
    order::follow(controllers, start + waiting.timeout, |cluster| {
        let outlook = goal.outlook(cluster);
        let lines = lines(goal, &outlook);
        if format == Output::Table && lines != last {
            out::print(&lines)?;
        }
        last = lines;
        if format == Output::Table && outlook.keeps_from_stopping.is_empty() && !is_safe {
            is_safe = true;
            out::print(&safe(goal))?;
        }
        let is_done = outlook.waits_for.is_empty();
        reached = Some(outlook);
        Ok(is_done)
    })
    .await?;
    let outlook = reached.unwrap_or_else(|| Outlook::unseen(vec![order::UNSEEN.to_owned()]));
    let is_done = outlook.waits_for.is_empty();
    let done_after = is_done.then(|| start.elapsed());
    order::tell_end(format, done_after, || outcome(goal, &outlook, is_done))?;
    if is_done {
        return Ok(Exit::Ok);
    }
    let lines = outlook.waits_for.iter().map(|waits_for| format!("waits for {waits_for}"));
    let remedy =
        "The order stands; run the same again to go on waiting, or give a longer --timeout.";
    Err(order::not_done(waiting.timeout, lines, remedy))
}

/// A line for each virtual server and director.
fn lines(goal: &Goal, outlook: &Outlook) -> String {
    let mut text = String::new();
    for count in &outlook.counts {
        let Count { virtual_server, director, weight, active, inactive, persistent, .. } = count;
        let role = if count.is_active { "" } else { " (does not forward now)" };
        text = format!(
            "{text}{}: {virtual_server} on {director}{role}: weight {weight}, connections {active} active, \
             {inactive} inactive, {persistent} persistent\n",
            goal.real_server
        );
    }
    text
}

/// Once no request can be cut any more. Closed connections that the kernel counts on hold none.
fn safe(goal: &Goal) -> String {
    match &goal.virtual_server {
        None => format!(
            "{}: safe to stop: no active connection, no request under way\n",
            goal.real_server
        ),
        Some(of) => format!("{}: no active connection of {of} is left\n", goal.real_server),
    }
}

fn outcome(goal: &Goal, outlook: &Outlook, is_done: bool) -> Node {
    let plain = |value: &dyn ToString| Node::Plain(value.to_string());
    let counts = outlook.counts.iter().map(|count| {
        Node::Map(vec![
            ("virtual_server".to_owned(), Node::text(&count.virtual_server)),
            ("director".to_owned(), Node::text(&count.director)),
            ("forwards".to_owned(), plain(&count.is_active)),
            ("weight".to_owned(), plain(&count.weight)),
            ("active_connections".to_owned(), plain(&count.active)),
            ("inactive_connections".to_owned(), plain(&count.inactive)),
            ("persistent_connections".to_owned(), plain(&count.persistent)),
        ])
    });
    let waits_for = outlook.waits_for.iter().map(|text| Node::text(text));
    let mut fields = vec![
        ("done".to_owned(), plain(&is_done)),
        ("real_server".to_owned(), Node::text(&goal.real_server)),
        ("revision".to_owned(), plain(&goal.revision)),
        ("connections".to_owned(), Node::List(counts.collect())),
        ("waits_for".to_owned(), Node::List(waits_for.collect())),
    ];
    if goal.virtual_server.is_none() {
        let is_safe = outlook.keeps_from_stopping.is_empty();
        fields.push(("safe_to_stop".to_owned(), plain(&is_safe)));
    }
    Node::Map(fields)
}
