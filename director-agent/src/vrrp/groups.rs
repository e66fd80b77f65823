//! Keeps the sync groups of this host together.

use std::collections::BTreeMap;
use std::time::Duration;

use fulcrum_model::Name;
use fulcrum_vrrp::group::{self, Command, Member};

use super::router::Router;
use super::sockets::AdvertSocket;
use crate::addresses::View;

/// A group is at rest after three rounds of commands: it begins, gives way or takes over. The bound
/// keeps a mistake there from holding the thread.
const ROUNDS: usize = 4;

/// Kind of the problem that a member shows while it waits for others.
const SHOWN_AS: &str = "sync_group";

/// The sync groups of this host.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Members by group.
    names: BTreeMap<Name, Vec<Name>>,
    /// Room for how the members of one group stand.
    members: Vec<Member>,
}

impl Groups {
    /// Takes new plans.
    pub(super) fn apply(&mut self, routers: &BTreeMap<Name, Router>) {
        self.names.clear();
        for (name, router) in routers {
            if let Some(group) = router.group() {
                self.names.entry(group.clone()).or_default().push(name.clone());
            }
        }
    }

    /// Lets every group decide, and its members do so.
    pub(super) fn keep_together<'a>(
        &mut self,
        now: Duration,
        view: &View,
        routers: &mut BTreeMap<Name, Router>,
        socket: impl Fn(&str) -> Option<&'a AdvertSocket>,
    ) {
        let members = &mut self.members;
        for (group, names) in &self.names {
            for _ in 0..ROUNDS {
                members.clear();
                let standing = |name| routers.get(name).map(|router| router.member(now));
                members.extend(names.iter().filter_map(standing));
                let decision = group::decide(now, members);
                if members.iter().all(|member| decision.command(*member) == Command::Stay) {
                    break;
                }
                for (name, member) in names.iter().zip(&*members) {
                    if let Some(router) = routers.get_mut(name) {
                        let socket = socket(router.interface());
                        router.obey(now, decision.command(*member), view, socket);
                    }
                }
            }
            explain(now, group, names, routers);
        }
    }
}

/// Says of members that could begin for which others they wait.
fn explain(now: Duration, group: &Name, names: &[Name], routers: &mut BTreeMap<Name, Router>) {
    let stands = |name: &Name| routers.get(name).map(|router| router.member(now));
    let is_faulty = |name: &&Name| matches!(stands(name), Some(Member::Faulty { .. }));
    let faulty: Vec<&str> = names.iter().filter(is_faulty).map(Name::as_str).collect();
    let text = (!faulty.is_empty()).then(|| {
        let faulty = faulty.join(", ");
        format!(
            "sync group {group}: this instance waits for {faulty}, which cannot be Active on this \
             director"
        )
    });
    for name in names {
        let Some(router) = routers.get_mut(name) else { continue };
        match &text {
            Some(text) if router.member(now) == Member::Idle => {
                router.show(now, SHOWN_AS, text.clone());
            }
            Some(_) | None => router.unshow(SHOWN_AS),
        }
    }
}
