//! The book of plans: what was told, what is in force, what was refused and why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fulcrum_model::plan::{DestinationPlan, IPVS_KEY, VirtualServerPlan, VrrpInstancePlan};
use fulcrum_model::{IpvsSettings, Name, PlanVersion, Shared};
use fulcrum_proto::convert::director_plan_from_objects;
use fulcrum_proto::v1;
use fulcrum_proto::v1::PlanObject;
use fulcrum_proto::v1::plan_object::Object;
use fulcrum_session::PlanCache;

use super::plan::{Servers, faults, guard};

/// Most faults of a plan that its refusal names: a person reads no more, and the answer stays small.
const MOST_FAULTS: usize = 20;

/// The plans of this agent.
#[derive(Debug)]
pub struct PlanBook {
    /// The plan as it was told, also where it was refused: a controller tells changes against it. Shared with whoever
    /// saves it.
    told: Arc<PlanCache>,
    /// Keys of objects that were told, or told to go, and are not in force yet.
    pending: BTreeSet<String>,
    servers: Servers,
    /// The real servers of virtual servers: those who have the same share them.
    destinations: Shared<[DestinationPlan]>,
    instances: BTreeMap<Name, VrrpInstancePlan>,
    ipvs: IpvsSettings,
    in_force: Option<v1::PlanVersion>,
    /// Told while the director is frozen, and to be put in force afterwards.
    held: Option<v1::PlanVersion>,
    refused: Option<String>,
    not_programmed: Option<String>,
}

/// A change to put in force.
#[derive(Debug, PartialEq)]
pub struct Order {
    /// The plan's version with it.
    pub version: v1::PlanVersion,
    /// Virtual servers that are new or differ.
    pub changed: Vec<Arc<VirtualServerPlan>>,
    /// Virtual servers that go.
    pub removed: Vec<Name>,
    /// All VRRP instances.
    pub instances: BTreeMap<Name, VrrpInstancePlan>,
    /// The host's IPVS as a whole.
    pub ipvs: IpvsSettings,
}

/// An update that is taken.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// A change to put in force.
    New(Order),
    /// The plan in force, under another version.
    Same(v1::PlanVersion),
}

impl PlanBook {
    /// Opens the book with the saved plan, which may be none, and is not in force yet.
    pub fn new(saved: PlanCache) -> Self {
        Self {
            pending: saved.keys().cloned().collect(),
            told: Arc::new(saved),
            servers: Servers::new(),
            destinations: Shared::default(),
            instances: BTreeMap::new(),
            ipvs: IpvsSettings::default(),
            in_force: None,
            held: None,
            refused: None,
            not_programmed: None,
        }
    }

    /// The saved plan, put in force; none when there is none.
    ///
    /// # Errors
    /// Why it cannot be put in force.
    pub fn open_saved(&mut self) -> Result<Option<Order>, String> {
        let Some(version) = self.told.version().cloned() else { return Ok(None) };
        let order = self.put_in_force(version);
        order.map(Some).inspect_err(|reason| self.refused = Some(reason.clone()))
    }

    /// Takes an update, which is in force from now on, or refuses it.
    ///
    /// # Errors
    /// The answer that tells why it is refused; the plan before stays in force.
    pub fn offer(&mut self, update: &v1::PlanUpdate) -> Result<Taken, v1::PlanAck> {
        let taken = self.accept(update).map_err(|reason| {
            self.refused = Some(reason.clone());
            v1::PlanAck { version: update.version.clone(), applied: false, reason }
        })?;
        self.refused = None;
        Ok(taken)
    }

    /// Takes note of an update while the director is frozen, and puts nothing in force. The answer tells why.
    pub fn hold(&mut self, update: &v1::PlanUpdate, frozen: String) -> v1::PlanAck {
        let reason = match self.note(update) {
            Ok(version) => {
                self.held = Some(version);
                self.refused = None;
                frozen
            }
            Err(reason) => {
                self.refused = Some(reason.clone());
                reason
            }
        };
        v1::PlanAck { version: update.version.clone(), applied: false, reason }
    }

    /// Puts in force what was held; none when nothing was.
    ///
    /// # Errors
    /// As [`Self::offer`].
    pub fn release(&mut self) -> Option<Result<Taken, v1::PlanAck>> {
        let version = self.held.take()?;
        Some(self.take(version.clone()).map_err(|reason| {
            self.refused = Some(reason.clone());
            v1::PlanAck { version: Some(version), applied: false, reason }
        }))
    }

    fn accept(&mut self, update: &v1::PlanUpdate) -> Result<Taken, String> {
        let version = self.note(update)?;
        self.take(version)
    }

    /// Takes note of what is told, unless it must not be; what it changes is pending then.
    fn note(&mut self, update: &v1::PlanUpdate) -> Result<v1::PlanVersion, String> {
        let version = update.version.clone().unwrap_or_default();
        let offered = PlanVersion::try_from(&version).map_err(|error| error.to_string())?;
        let running = self.in_force.as_ref().and_then(|v| PlanVersion::try_from(v).ok());
        if update.whole {
            let kept: BTreeSet<&str> = update.objects.iter().map(|o| o.key.as_str()).collect();
            let keeps = |name: &Name| {
                self.servers.get(name).is_some_and(|server| kept.contains(server.key().as_str()))
            };
            guard(&self.servers, running.as_ref(), &offered, keeps)?;
        }
        let change = Arc::make_mut(&mut self.told).apply(update).map_err(|e| e.to_string())?;
        self.pending.extend(change.changed.into_iter().chain(change.removed));
        Ok(version)
    }

    /// Puts in force what is pending, if anything is.
    fn take(&mut self, version: v1::PlanVersion) -> Result<Taken, String> {
        let is_running = self.in_force.as_ref().is_some_and(|v| PlanVersion::try_from(v).is_ok());
        if self.pending.is_empty() && is_running {
            self.in_force = Some(version.clone());
            return Ok(Taken::Same(version));
        }
        self.put_in_force(version).map(Taken::New)
    }

    /// Reads what is pending and puts it in force, or leaves all as it was.
    fn put_in_force(&mut self, version: v1::PlanVersion) -> Result<Order, String> {
        let Read { changed, instances: read_instances, ipvs: read_ipvs } = self.read_pending()?;
        let own_keys = changed.iter().map(|server| server.key());
        let own_keys = own_keys.chain(read_instances.values().map(VrrpInstancePlan::key));
        let is_ipvs = |object: &PlanObject| matches!(object.object, Some(Object::Ipvs(_)));
        let ipvs = self.told.object(IPVS_KEY).filter(is_ipvs);
        let own_keys: BTreeSet<String> = own_keys.chain(ipvs.map(|object| object.key)).collect();

        let gone: BTreeSet<&String> =
            self.pending.iter().filter(|key| !self.told.contains(key)).collect();
        let is_gone = |key: String| !gone.is_empty() && gone.contains(&key);
        let removed = self.servers.values().filter(|server| is_gone(server.key()));
        let removed: BTreeSet<Name> = removed.map(|server| server.name.clone()).collect();
        let mut servers = self.servers.clone();
        servers.retain(|name, _| !removed.contains(name));
        servers.extend(changed.iter().map(|server| (server.name.clone(), Arc::clone(server))));
        let mut instances = self.instances.clone();
        instances.retain(|_, instance| !is_gone(instance.key()));
        instances.extend(read_instances);
        // Where the object has gone, its default is what was read.
        let ipvs = if self.pending.contains(IPVS_KEY) { read_ipvs } else { self.ipvs };

        let mut faults = faults(&servers, &changed, &instances);
        let strays = self.pending.iter().filter(|key| !gone.contains(key));
        faults.extend(strays.filter(|key| !own_keys.contains(*key)).map(|key| {
            format!("object {key} holds what another key names: send it under its own key")
        }));
        if !faults.is_empty() {
            return Err(join(faults));
        }
        self.pending.clear();
        (self.servers, self.instances, self.ipvs) = (servers, instances.clone(), ipvs);
        self.in_force = Some(version.clone());
        self.not_programmed = None;
        let removed = removed.into_iter().collect();
        Ok(Order { version, changed, removed, instances, ipvs })
    }

    /// Reads what is pending, one object after the other: of a large plan all at once would take several times its room.
    fn read_pending(&mut self) -> Result<Read, String> {
        let (mut read, mut names, mut faults) = (Read::default(), BTreeSet::new(), Vec::new());
        for object in self.pending.iter().filter_map(|key| self.told.object(key)) {
            let is_ipvs = matches!(object.object, Some(Object::Ipvs(_)));
            let one = match director_plan_from_objects([object]) {
                Ok(one) => one,
                Err(error) => {
                    faults.extend(error.violations.iter().map(ToString::to_string));
                    continue;
                }
            };
            for mut server in one.virtual_servers.into_values() {
                share_names(&mut server, &mut names);
                self.destinations.share(&mut server.destinations);
                read.changed.push(Arc::new(server));
            }
            read.instances.extend(one.vrrp_instances);
            if is_ipvs {
                read.ipvs = one.ipvs;
            }
        }
        if faults.is_empty() { Ok(read) } else { Err(join(faults)) }
    }

    /// The kernel has the plan of this version, or refuses a part of it. Returns what to answer.
    pub fn programmed(
        &mut self,
        version: v1::PlanVersion,
        refused: Option<String>,
    ) -> Option<v1::PlanAck> {
        if self.in_force.as_ref() != Some(&version) {
            return None;
        }
        self.not_programmed.clone_from(&refused);
        // The answer to a newer plan that was refused or is held must not give way to that to the one in force.
        (self.refused.is_none() && self.held.is_none()).then(|| v1::PlanAck {
            version: Some(version),
            applied: refused.is_none(),
            reason: refused.unwrap_or_default(),
        })
    }

    /// The plan to save, once it is in force.
    pub fn told(&self) -> Arc<PlanCache> {
        Arc::clone(&self.told)
    }

    /// The version in force.
    pub fn in_force(&self) -> Option<&v1::PlanVersion> {
        self.in_force.as_ref()
    }

    /// What keeps the newest plan from being applied whole, in words with a remedy.
    pub fn problems(&self) -> Vec<String> {
        let refused = self.refused.iter().map(|reason| format!("newest plan refused: {reason}"));
        refused.chain(self.not_programmed.iter().cloned()).collect()
    }
}

/// Objects of a plan as they were read; IPVS has its defaults where no object says otherwise.
#[derive(Debug, Default)]
struct Read {
    changed: Vec<Arc<VirtualServerPlan>>,
    instances: BTreeMap<Name, VrrpInstancePlan>,
    ipvs: IpvsSettings,
}

/// Lets the names of its real servers and of their agents share their text with `names`.
fn share_names(server: &mut VirtualServerPlan, names: &mut BTreeSet<Name>) {
    let destinations = Arc::make_mut(&mut server.destinations).iter_mut();
    for name in destinations.flat_map(|d| [&mut d.real_server, &mut d.agent]) {
        match names.get(name) {
            Some(known) => name.clone_from(known),
            None => {
                names.insert(name.clone());
            }
        }
    }
}

fn join(mut faults: Vec<String>) -> String {
    let more = faults.len().saturating_sub(MOST_FAULTS);
    faults.truncate(MOST_FAULTS);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    faults.join("; ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::decide::fixtures::{name, virtual_server};
    use fulcrum_model::plan::DirectorPlan;
    use fulcrum_proto::convert::director_plan_to_objects;

    fn version(cluster_id: &str, revision: u64) -> v1::PlanVersion {
        v1::PlanVersion {
            cluster_id: cluster_id.to_owned(),
            incarnation: 1,
            revision,
            ..Default::default()
        }
    }

    /// Virtual servers by name and number of their VIP.
    fn update(
        cluster_id: &str,
        revision: u64,
        whole: bool,
        servers: &[(&str, u8)],
    ) -> v1::PlanUpdate {
        let objects = servers.iter().flat_map(|(name, vip)| {
            let server = virtual_server(name, *vip, &["web1"]);
            director_plan_to_objects(&DirectorPlan {
                virtual_servers: [(server.name.clone(), server)].into(),
                ..DirectorPlan::default()
            })
        });
        v1::PlanUpdate {
            version: Some(version(cluster_id, revision)),
            whole,
            objects: objects.collect(),
            ..v1::PlanUpdate::default()
        }
    }

    /// Offers updates one after the other; each comes out as the names in force, `same`, or the refusal.
    fn run(updates: &[v1::PlanUpdate]) -> Vec<String> {
        let mut book = PlanBook::new(PlanCache::empty(Path::new("plan")));
        let mut held = BTreeSet::new();
        let mut outcomes = Vec::new();
        for update in updates {
            outcomes.push(match book.offer(update) {
                Ok(Taken::New(order)) => {
                    held.retain(|name| !order.removed.contains(name));
                    held.extend(order.changed.iter().map(|server| server.name.clone()));
                    held.iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
                }
                Ok(Taken::Same(_)) => "same".to_owned(),
                Err(ack) => {
                    assert!(!ack.applied && ack.version == update.version);
                    assert_eq!(book.problems().len(), 1);
                    ack.reason
                }
            });
            assert_eq!(held, book.servers.keys().cloned().collect(), "orders tell all");
        }
        outcomes
    }

    #[test]
    fn plans_are_taken_or_refused() {
        let first = || update("x", 1, true, &[("a", 1), ("b", 2)]);
        let cases: Vec<(&str, Vec<v1::PlanUpdate>, Vec<&str>)> = vec![
            (
                "whole, then a change",
                vec![first(), update("x", 2, false, &[("c", 3)])],
                vec!["a b", "a b c"],
            ),
            ("a bare version", vec![first(), update("x", 2, false, &[])], vec!["a b", "same"]),
            (
                "a change of nothing",
                vec![update("x", 2, false, &[("a", 1)])],
                vec!["send it whole"],
            ),
            ("older", vec![first(), update("x", 0, true, &[])], vec!["a b", "older"]),
            ("our cluster may empty it", vec![first(), update("x", 2, true, &[])], vec!["a b", ""]),
            (
                "another cluster may not",
                vec![first(), update("y", 2, true, &[])],
                vec!["a b", "UNKNOWN_HISTORY"],
            ),
            (
                "nor may it take over",
                vec![first(), update("y", 2, true, &[("a", 1), ("b", 2)])],
                vec!["a b", "belongs to x"],
            ),
            (
                "a refused change is kept to be mended",
                vec![
                    first(),
                    update("x", 2, false, &[("c", 1)]),
                    update("x", 3, false, &[]),
                    update("x", 4, false, &[("c", 3)]),
                ],
                vec!["a b", "a and c both have", "a and c both have", "a b c"],
            ),
        ];
        for (what, updates, expected) in cases {
            let outcomes = run(&updates);
            assert_eq!(outcomes.len(), expected.len(), "{what}");
            for (outcome, expected) in outcomes.iter().zip(expected) {
                let fits = if expected.is_empty() {
                    outcome.is_empty()
                } else {
                    outcome.contains(expected)
                };
                assert!(fits, "{what}: {outcome:?} instead of {expected:?}");
            }
        }
    }

    #[test]
    fn an_object_lies_under_its_own_key() {
        let mut wrong = update("x", 1, true, &[("a", 1)]);
        wrong.objects[1].key = "virtual-server/b".to_owned();
        assert!(run(&[wrong])[0].contains("send it under its own key"));
    }

    #[test]
    fn settings_stay_until_they_are_told_anew() {
        let settings = IpvsSettings { sloppy_tcp: Some(true), ..IpvsSettings::default() };
        let plan = DirectorPlan { ipvs: settings, ..DirectorPlan::default() };
        let mut first = update("x", 1, true, &[]);
        first.objects = director_plan_to_objects(&plan);
        let mut unchanged = update("x", 2, false, &[("a", 1)]);
        unchanged.objects.retain(|object| object.key != IPVS_KEY);
        let mut removed = update("x", 3, false, &[]);
        removed.removed = vec![IPVS_KEY.to_owned()];
        let mut book = PlanBook::new(PlanCache::empty(Path::new("plan")));
        for (update, expected) in
            [(first, settings), (unchanged, settings), (removed, IpvsSettings::default())]
        {
            match book.offer(&update).expect("taken") {
                Taken::New(order) => assert_eq!(order.ipvs, expected, "{update:?}"),
                Taken::Same(_) => panic!("{update:?}"),
            }
        }
        let mut stray = update("x", 4, false, &[("b", 2)]);
        stray.objects.swap(0, 1);
        stray.objects[0].key = IPVS_KEY.to_owned();
        stray.objects.truncate(1);
        let refused = book.offer(&stray).expect_err("a virtual server under that key");
        assert!(refused.reason.contains("send it under its own key"), "{refused:?}");
    }

    #[test]
    fn the_kernels_answer_counts_for_the_plan_in_force() {
        let mut book = PlanBook::new(PlanCache::empty(Path::new("plan")));
        book.offer(&update("x", 1, true, &[("a", 1)])).expect("taken");
        assert_eq!(book.programmed(version("x", 7), None), None, "not in force");

        let refused = Some("no scheduler module".to_owned());
        let ack = book.programmed(version("x", 1), refused).expect("an answer");
        assert_eq!((ack.applied, ack.reason.as_str()), (false, "no scheduler module"));
        assert_eq!(book.problems(), ["no scheduler module"]);

        let ack = book.programmed(version("x", 1), None).expect("an answer");
        assert!(ack.applied && book.problems().is_empty());

        // A newer plan is refused: that is the last word, while the older one stays in force.
        book.offer(&update("x", 2, false, &[("b", 1)])).expect_err("refused");
        assert_eq!(book.programmed(version("x", 1), None), None);
        assert_eq!(book.in_force(), Some(&version("x", 1)));
        assert_eq!(book.problems().len(), 1);
    }

    #[test]
    fn what_is_held_is_put_in_force_when_it_is_released() {
        let mut book = PlanBook::new(PlanCache::empty(Path::new("plan")));
        book.offer(&update("x", 1, true, &[("a", 1)])).expect("taken");
        assert_eq!(book.release(), None, "nothing is held");
        let frozen = || "not applied: frozen by ann".to_owned();
        let first = book.hold(&update("x", 2, false, &[("b", 2)]), frozen());
        assert_eq!((first.applied, first.reason.as_str()), (false, "not applied: frozen by ann"));
        assert_eq!(first.version, Some(version("x", 2)));
        book.hold(&update("x", 3, false, &[("c", 3)]), frozen());
        let older = book.hold(&update("x", 1, false, &[]), frozen());
        assert!(older.reason.contains("older"), "refused as ever: {older:?}");
        book.hold(&update("x", 4, false, &[]), frozen());
        assert_eq!(book.in_force(), Some(&version("x", 1)));
        assert_eq!(book.programmed(version("x", 1), None), None, "the newer answer stands");
        assert!(book.problems().is_empty(), "the freeze is told of by itself");
        let Some(Ok(Taken::New(order))) = book.release() else { panic!("two are new") };
        let names: Vec<_> = order.changed.iter().map(|server| server.name.as_str()).collect();
        assert_eq!((names, order.version), (vec!["b", "c"], version("x", 4)));
        assert_eq!(book.release(), None);

        // Another version of the same.
        book.hold(&update("x", 5, false, &[]), frozen());
        assert_eq!(book.release(), Some(Ok(Taken::Same(version("x", 5)))));
        // What cannot be put in force is refused then, with its own reason.
        book.hold(&update("x", 6, false, &[("d", 1)]), frozen());
        let Some(Err(ack)) = book.release() else { panic!("a and d share a VIP") };
        assert!(!ack.applied && ack.reason.contains("a and d both have"), "{ack:?}");
        assert_eq!(book.problems().len(), 1);
    }

    #[test]
    fn a_saved_plan_is_opened() {
        let mut saved = PlanCache::empty(Path::new("plan"));
        assert_eq!(PlanBook::new(saved.clone()).open_saved(), Ok(None));
        saved.apply(&update("x", 3, true, &[("a", 1)])).expect("taken");
        let mut book = PlanBook::new(saved.clone());
        let opened = book.open_saved().expect("sound").expect("there is one");
        assert_eq!((opened.version, &opened.changed[0].name), (version("x", 3), &name("a")));
        assert_eq!(book.in_force(), Some(&version("x", 3)));

        saved.apply(&update("x", 4, false, &[("b", 1)])).expect("taken");
        let mut book = PlanBook::new(saved);
        book.open_saved().expect_err("two of one address");
        assert_eq!((book.in_force(), book.problems().len()), (None, 1));
    }
}
