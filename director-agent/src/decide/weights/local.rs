//! Orders at the director itself to drain, on their way into the weights.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fulcrum_model::fuse::OwnProbe;
use fulcrum_model::{LocalOrder, Name, Weight};

use super::Decider;
use crate::decide::decided::{Decided, DecidedPool, Effect};
use crate::decide::past::Past;

/// A virtual server that a drain would leave without a sound real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silenced {
    /// The virtual server.
    pub virtual_server: Name,
    /// Who would be left, in words.
    pub left: String,
}

impl Decider {
    /// Takes these orders in place of those before. What they touch is decided anew.
    pub fn set_local_drains(
        &mut self,
        now: Duration,
        drains: &BTreeMap<Name, LocalOrder>,
    ) -> Effect {
        let before = std::mem::replace(&mut self.local_drains, drains.clone());
        let differs = |name: &&Name| before.get(*name) != drains.get(*name);
        let changed: BTreeSet<&Name> = before.keys().chain(drains.keys()).filter(differs).collect();
        if changed.is_empty() {
            return Effect::default();
        }
        let is_touched = |name: &&Name| {
            self.index.servers().get(*name).is_some_and(|server| {
                server.destinations.iter().any(|member| changed.contains(&member.real_server))
            })
        };
        let touched = self.index.servers().keys().filter(is_touched).cloned().collect();
        // Who ordered what is told beside the weights, too.
        Effect { to_tell: true, ..self.redo(now, &touched) }
    }

    /// The virtual servers in whose pools a real server is, ordered.
    pub fn virtual_servers_of(&self, real_server: &Name) -> Vec<&Name> {
        let servers = self.index.servers().iter().filter(|(_, server)| {
            server.destinations.iter().any(|member| member.real_server == *real_server)
        });
        servers.map(|(name, _)| name).collect()
    }

    /// The virtual servers whose sorry server a real server is, ordered. No drain touches it there.
    pub fn sorry_server_of(&self, real_server: &Name) -> Vec<&Name> {
        let servers = self.index.servers().iter().filter(|(_, server)| {
            server.sorry_server.as_ref().is_some_and(|sorry| sorry.real_server == *real_server)
        });
        servers.map(|(name, _)| name).collect()
    }

    /// The virtual servers that have a sound real server now and would have none if this one were drained by `order`. Decided
    /// as it would be, by the same laws.
    pub fn silenced_by(
        &mut self,
        now: Duration,
        real_server: &Name,
        order: &LocalOrder,
    ) -> Vec<Silenced> {
        let names: Vec<Name> = self.virtual_servers_of(real_server).into_iter().cloned().collect();
        let before = self.local_drains.clone();
        self.local_drains.insert(real_server.clone(), order.clone());
        let mut silenced = Vec::new();
        for name in names {
            let known = self.index.servers().get(&name).zip(self.pools.get(&name));
            let Some((server, pool)) = known else { continue };
            let after = self.decide(now, server, &Past::of_pool(pool));
            if is_sound(pool) && !is_sound(&after) {
                silenced.push(Silenced { virtual_server: name, left: left(&after, real_server) });
            }
        }
        self.local_drains = before;
        silenced
    }
}

/// Some real server of the pool takes connections, and not merely because all fail.
fn is_sound(pool: &DecidedPool) -> bool {
    pool.members.iter().any(serves_well)
}

fn serves_well(decided: &Decided) -> bool {
    decided.weight() > Weight::ZERO && !matches!(decided.probe, Some(OwnProbe::Failing(_)))
}

/// Who is left without this real server, with why each of them does not serve; of many the first.
fn left(pool: &DecidedPool, without: &Name) -> String {
    /// A person reads no more of them.
    const MOST: usize = 5;
    if let Some(sorry) = pool.serving_sorry_server() {
        return format!("its sorry server {} alone", sorry.real_server);
    }
    let others = || pool.members.iter().filter(|decided| decided.real_server != *without);
    let tell = |decided: &Decided| {
        let reason = decided.reasons.first().map(String::as_str).unwrap_or_default();
        format!("{} of weight {} ({reason})", decided.real_server, decided.weight())
    };
    let mut told: Vec<String> = others().take(MOST).map(tell).collect();
    if let Some(more @ 1..) = others().count().checked_sub(MOST) {
        told.push(format!("{more} more"));
    }
    if told.is_empty() { "nobody".to_owned() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use fulcrum_model::plan::DrainPlan;
    use fulcrum_model::resource::AgentRequirement;
    use fulcrum_model::{Check, Port, Verdict};

    use super::*;
    use crate::decide::arp::ArpLatch;
    use crate::decide::check::CheckKey;
    use crate::decide::decided::TurnKind;
    use crate::decide::fixtures::{destination, evidence, name, probed, rip, virtual_server};

    const S: fn(u64) -> Duration = Duration::from_secs;

    /// Name, who fails, who is to be drained; virtual servers with who would be left.
    type SilencedCase = (
        &'static str,
        &'static [&'static str],
        &'static str,
        &'static [(&'static str, &'static str)],
    );

    fn order(owner: &str) -> LocalOrder {
        let since = SystemTime::UNIX_EPOCH;
        LocalOrder {
            owner: owner.to_owned(),
            reason: "it is slow".to_owned(),
            since,
            expires_at: since + S(900),
            up_until: S(900),
        }
    }

    fn drains(names: &[&str]) -> BTreeMap<Name, LocalOrder> {
        names.iter().map(|text| (name(text), order("bob"))).collect()
    }

    /// `web` has web1 and web2, `mail` has web2 alone. All are up but those that `fail`.
    fn decider(fail: &[&str]) -> Decider {
        let mut decider = Decider::new(ArpLatch::default());
        let plans =
            [virtual_server("web", 1, &["web1", "web2"]), virtual_server("mail", 1, &["web2"])];
        let [web, mut mail] = plans;
        mail.listen =
            fulcrum_model::Listen::Fwmark { mark: 7.try_into().expect("one"), is_ipv6: false };
        decider.change_plan(S(0), &[Arc::new(web), Arc::new(mail)], &[], |_, _| None);
        for text in ["web1", "web2"] {
            let key = CheckKey::new(rip(text), Port::new(80).expect("a port"), &Check::default());
            let probe = if fail.contains(&text) {
                OwnProbe::Failing("refused".to_owned())
            } else {
                OwnProbe::Passing
            };
            probed(&mut decider, S(1), &key, probe);
            decider.evidence(S(1), evidence(text, 1, Verdict::Up, Some(true)));
        }
        decider
    }

    fn weights(decider: &Decider, virtual_server: &str) -> Vec<u16> {
        let pool = decider.pool(&name(virtual_server)).expect("it is planned");
        pool.members.iter().map(|member| member.weight().get()).collect()
    }

    #[test]
    fn a_local_drain_takes_the_weight_and_gives_it_back() {
        let mut decider = decider(&[]);
        assert_eq!((weights(&decider, "web"), weights(&decider, "mail")), (vec![8, 8], vec![8]));
        let effect = decider.set_local_drains(S(2), &drains(&["web1", "web9"]));
        assert_eq!(effect.weights, [name("web")].into(), "mail has no web1");
        assert_eq!(effect.changes.count, 1);
        assert_eq!(
            &effect.changes.told[0].reasons[..],
            ["drained by bob: it is slow (drain local/bob)"]
        );
        assert_eq!(weights(&decider, "web"), [0, 8]);
        assert_eq!(decider.set_local_drains(S(2), &drains(&["web1", "web9"])), Effect::default());

        let effect = decider.set_local_drains(S(3), &drains(&["web9"]));
        assert!(effect.turns.iter().any(|turn| matches!(turn.kind, TurnKind::DrainEnds(_))));
        assert_eq!(weights(&decider, "web"), [8, 8]);
    }

    #[test]
    fn it_stands_from_the_first_decision_on_and_beside_the_plans_order() {
        let mut decider = Decider::new(ArpLatch::default());
        decider.set_local_drains(S(0), &drains(&["web1"]));
        let mut plan = virtual_server("web", 1, &["web1", "web2"]);
        plan.agent = AgentRequirement::None;
        let adopted = Weight::new(8).ok();
        decider.change_plan(S(0), &[Arc::new(plan.clone())], &[], |_, _| adopted);
        assert_eq!(weights(&decider, "web"), [0, 8], "found in the kernel with a weight");

        let drain = DrainPlan {
            name: name("d"),
            reason: "new kernel".to_owned(),
            requested_by: "ann".to_owned(),
            grace: None,
        };
        let ordered = fulcrum_model::plan::DestinationPlan {
            drain: Some(Box::new(drain)),
            ..destination("web1")
        };
        plan.destinations = [ordered, destination("web2")].into();
        let (effect, _) = decider.change_plan(S(1), &[Arc::new(plan)], &[], |_, _| None);
        let drains_begun =
            effect.turns.iter().filter(|turn| matches!(turn.kind, TurnKind::DrainBegins(..)));
        assert_eq!(drains_begun.count(), 0, "it was drained already: nothing counts twice");
        let effect = decider.set_local_drains(S(2), &BTreeMap::new());
        assert_eq!((effect.turns.len(), effect.weights.len()), (0, 0), "the plan's order stands");
        assert_eq!(weights(&decider, "web"), [0, 8]);
    }

    #[test]
    fn a_drain_that_would_silence_a_pool_is_foreseen() {
        let cases: [SilencedCase; 5] = [
            ("the other serves", &[], "web1", &[]),
            ("nobody else is in mail", &[], "web2", &[("mail", "nobody")]),
            (
                "the other fails",
                &["web2"],
                "web1",
                &[("web", "web2 of weight 0 (own probe fails: refused)")],
            ),
            ("it fails itself, and so does mail", &["web2"], "web2", &[]),
            ("it is in no pool", &[], "web3", &[]),
        ];
        for (what, fail, real_server, expected) in cases {
            let mut decider = decider(fail);
            let before = (weights(&decider, "web"), weights(&decider, "mail"));
            let silenced = decider.silenced_by(S(2), &name(real_server), &order("bob"));
            let found: Vec<_> =
                silenced.iter().map(|s| (s.virtual_server.as_str(), s.left.as_str())).collect();
            assert_eq!(found, expected, "{what}");
            assert_eq!((weights(&decider, "web"), weights(&decider, "mail")), before, "{what}");
            assert_eq!(decider.set_local_drains(S(2), &BTreeMap::new()), Effect::default());
        }
        let mut decider = decider(&[]);
        decider.set_local_drains(S(2), &drains(&["web2"]));
        let silenced = decider.silenced_by(S(3), &name("web1"), &order("ann"));
        assert_eq!(
            silenced[0].left,
            "web2 of weight 0 (drained by bob: it is slow (drain local/bob))"
        );
    }

    #[test]
    fn who_has_it_is_known() {
        let decider = decider(&[]);
        assert_eq!(decider.virtual_servers_of(&name("web2")), [&name("mail"), &name("web")]);
        assert_eq!(decider.virtual_servers_of(&name("web1")), [&name("web")]);
        assert!(decider.sorry_server_of(&name("web1")).is_empty());
    }
}
