//! Each controller: whether it is reached, by lvsctl itself and by the others, and what it tells of its host.

use std::collections::BTreeMap;

use fulcrum_proto::finding::HostRole;
use fulcrum_proto::v1;

use super::host::{self, Report};
use super::versions;
use super::{Check, Group, Outcome, Trouble};

/// What a controller answered lvsctl itself.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It answered: the controllers as it knows them; none where it has no room for one who asks.
    Told(Vec<v1::ControllerStatus>),
    /// It did not, and why.
    Silent(String),
}

/// Answers by controller. Whoever is not in it was not asked.
pub(crate) type Answers = BTreeMap<String, Answer>;

pub(super) fn groups(topology: &v1::Topology, answers: &Answers) -> Vec<Group> {
    let newest = versions::newest(topology);
    let controllers = topology.controllers.iter();
    controllers.map(|controller| group(controller, topology, answers, &newest)).collect()
}

fn group(
    controller: &v1::ControllerStatus,
    topology: &v1::Topology,
    answers: &Answers,
    newest: &str,
) -> Group {
    let mut checks = vec![reachable(controller, topology, answers)];
    let word = own_word(controller, answers);
    let doubt = match word {
        None => Some("it is out of reach".to_owned()),
        Some(word) => host::doubt_of("it", &word.program_version),
    };
    checks.push(match word {
        Some(word) => versions::of_controller(&word.program_version, newest),
        None => versions::of_controller(newest, newest).not_known("it is out of reach".to_owned()),
    });
    let told = word.map(|word| (word.findings.as_slice(), word.unchecked.as_slice()));
    checks.extend(host::checks(HostRole::Controller, &Report { told, doubt }));
    Group { role: "controller".to_owned(), name: controller.name.clone(), checks }
}

/// What it told lvsctl, else what the controller that was asked heard of it.
fn own_word<'a>(
    controller: &'a v1::ControllerStatus,
    answers: &'a Answers,
) -> Option<&'a v1::ControllerStatus> {
    let told = match answers.get(&controller.name) {
        Some(Answer::Told(known)) => known.iter().find(|known| known.name == controller.name),
        Some(Answer::Silent(_)) | None => None,
    };
    told.or_else(|| controller.reachable.then_some(controller))
}

/// Controllers that do not reach this one, by their own words; where none could be asked, by the word of the one that was.
fn unreached_by(
    controller: &v1::ControllerStatus,
    topology: &v1::Topology,
    answers: &Answers,
) -> Vec<String> {
    let views = answers.iter().filter_map(|(name, answer)| match answer {
        Answer::Told(known) if !known.is_empty() && *name != controller.name => Some((name, known)),
        Answer::Told(_) | Answer::Silent(_) => None,
    });
    let is_away = |known: &[v1::ControllerStatus]| {
        known.iter().any(|known| known.name == controller.name && !known.reachable)
    };
    let mut by: Vec<String> = views
        .filter(|(_, known)| is_away(known))
        .map(|(name, _)| format!("controller {name}"))
        .collect();
    if by.is_empty() && is_away(&topology.controllers) {
        by.push("the controller that was asked".to_owned());
    }
    by
}

fn reachable(
    controller: &v1::ControllerStatus,
    topology: &v1::Topology,
    answers: &Answers,
) -> Check {
    let v1::ControllerStatus { name, endpoint, .. } = controller;
    let silence = match answers.get(name) {
        Some(Answer::Silent(why)) => Some(why),
        Some(Answer::Told(_)) | None => None,
    };
    let by = unreached_by(controller, topology, answers);
    let (who, reaches) =
        (by.join(", "), if by.len() == 1 { "does not reach" } else { "do not reach" });
    let trouble = match (silence, by.is_empty()) {
        (None, true) => None,
        (Some(why), true) => Some(Trouble::warning(
            endpoint,
            format!("it does not answer lvsctl ({why}), and the other controllers reach it"),
            format!(
                "see the network and the packet filters from this host to {endpoint}: `nc -vz {}`; where it is an \
                 address of the cluster's own network, nothing is wrong",
                endpoint.replace(':', " ")
            ),
        )),
        (Some(why), false) => Some(Trouble::error(
            endpoint,
            format!("it does not answer lvsctl ({why}), and {who} {reaches} it either"),
            format!(
                "on {name}'s host `systemctl status fulcrum-controller`, and `journalctl -u fulcrum-controller -n 50` \
                 where it does not run; else see the network to it"
            ),
        )),
        (None, false) => {
            let answers = if answers.contains_key(name) { "it answers lvsctl, but " } else { "" };
            Some(Trouble::error(
                endpoint,
                format!("{answers}{who} {reaches} it"),
                format!(
                    "on {name}'s host `systemctl status fulcrum-controller`; where it runs, see the network between \
                     the controllers' hosts to the port of `raft` in its [[controllers]]"
                ),
            ))
        }
    };
    let check = Check::new("controller-reachable", "it is reached", trouble.into_iter().collect());
    debug_assert_ne!(check.outcome, Outcome::Unknown, "somebody was asked");
    check
}
