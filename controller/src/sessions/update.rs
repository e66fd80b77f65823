//! What of its plan an agent is to be sent. Pure.

use std::collections::BTreeMap;

use fulcrum_proto::v1;

/// The objects of a plan, by key.
pub type Objects = BTreeMap<String, v1::PlanObject>;

/// What an agent has, as far as this session knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Has {
    /// No plan, or one that it refused: it gets a whole one.
    #[default]
    Nothing,
    /// It said in its hello that it runs on this version.
    Told(v1::PlanVersion),
    /// This session sent it this.
    Sent(v1::PlanVersion, Objects),
}

impl Has {
    /// The version.
    pub fn version(&self) -> Option<&v1::PlanVersion> {
        match self {
            Self::Nothing => None,
            Self::Told(version) | Self::Sent(version, _) => Some(version),
        }
    }

    /// Whether a plan of this version is news to the agent: it is not behind what the agent runs on, nor was it sent.
    pub fn wants(&self, offered: &v1::PlanVersion) -> bool {
        match self {
            Self::Nothing => true,
            Self::Told(version) => rank(version) <= rank(offered),
            Self::Sent(version, _) => rank(version) < rank(offered),
        }
    }
}

/// Orders the versions of one cluster.
fn rank(version: &v1::PlanVersion) -> (u64, u64) {
    (version.incarnation, version.revision)
}

/// What brings an agent from what it has to `objects` at `version`: the whole plan, what changed, or the bare version when
/// nothing did. To be asked only where [`Has::wants`] says so.
pub fn update(has: &Has, version: &v1::PlanVersion, objects: &Objects) -> v1::PlanUpdate {
    let mut update = v1::PlanUpdate { version: Some(version.clone()), ..Default::default() };
    match has {
        // A release's plan is a pure function of the intent at its version, so what the agent runs on is what would be sent.
        // One that another release planned or saved may lack what is planned now, and its version differs in the planner.
        Has::Told(told) if told == version => {}
        Has::Nothing | Has::Told(_) => {
            update.whole = true;
            update.objects = objects.values().cloned().collect();
        }
        Has::Sent(_, sent) => {
            let differs =
                |(key, object): &(&String, &v1::PlanObject)| sent.get(*key) != Some(*object);
            update.objects =
                objects.iter().filter(differs).map(|(_, object)| object.clone()).collect();
            update.removed =
                sent.keys().filter(|key| !objects.contains_key(*key)).cloned().collect();
        }
    }
    update
}

/// What brings an agent from `sent` to `version`, where that is known: these objects changed, these are gone. `sent` follows.
pub fn follow(
    sent: &mut Objects,
    version: &v1::PlanVersion,
    changed: Vec<v1::PlanObject>,
    removed: &[String],
) -> v1::PlanUpdate {
    for key in removed {
        sent.remove(key);
    }
    sent.extend(changed.iter().map(|object| (object.key.clone(), object.clone())));
    v1::PlanUpdate {
        version: Some(version.clone()),
        objects: changed,
        removed: removed.to_vec(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(incarnation: u64, revision: u64) -> v1::PlanVersion {
        v1::PlanVersion { cluster_id: "c".to_owned(), incarnation, revision, ..Default::default() }
    }

    fn object(key: &str, port: u32) -> v1::PlanObject {
        v1::PlanObject {
            key: key.to_owned(),
            object: Some(v1::plan_object::Object::VirtualServer(v1::VirtualServerPlan {
                port,
                ..Default::default()
            })),
        }
    }

    fn objects(of: &[(&str, u32)]) -> Objects {
        of.iter().map(|(key, port)| ((*key).to_owned(), object(key, *port))).collect()
    }

    #[test]
    fn an_agent_gets_the_whole_plan_or_what_changed_or_a_bare_version() {
        let now = version(1, 7);
        let plan = objects(&[("a", 1), ("b", 2)]);
        let sent = |of: &[(&str, u32)]| Has::Sent(version(1, 6), objects(of));
        let of_another = v1::PlanVersion { planner: "0.0.9".to_owned(), ..now.clone() };
        let cases: [(Has, bool, &[&str], &[&str]); 9] = [
            (Has::Nothing, true, &["a", "b"], &[]),
            (Has::Told(version(1, 6)), true, &["a", "b"], &[]),
            (Has::Told(version(0, 9)), true, &["a", "b"], &[]),
            (Has::Told(now.clone()), false, &[], &[]),
            (Has::Told(of_another), true, &["a", "b"], &[]),
            (sent(&[("a", 1), ("b", 2)]), false, &[], &[]),
            (sent(&[("a", 1), ("b", 9)]), false, &["b"], &[]),
            (sent(&[("a", 1), ("c", 3)]), false, &["b"], &["c"]),
            (sent(&[]), false, &["a", "b"], &[]),
        ];
        for (has, whole, changed, removed) in cases {
            assert!(has.wants(&now), "{has:?}");
            let found = update(&has, &now, &plan);
            let keys: Vec<&str> = found.objects.iter().map(|object| object.key.as_str()).collect();
            assert_eq!((found.whole, keys.as_slice()), (whole, changed), "{has:?}");
            assert_eq!(found.removed, removed, "{has:?}");
            assert_eq!(found.version, Some(now.clone()));
        }
    }

    #[test]
    fn an_agent_ahead_of_us_waits_and_nothing_is_sent_twice() {
        let cases = [
            (Has::Told(version(1, 8)), false),
            (Has::Told(version(2, 1)), false),
            (Has::Told(version(1, 7)), true),
            (Has::Sent(version(1, 7), Objects::new()), false),
            (Has::Sent(version(1, 6), Objects::new()), true),
        ];
        for (has, expected) in cases {
            assert_eq!(has.wants(&version(1, 7)), expected, "{has:?}");
        }
    }
}
