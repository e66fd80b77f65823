//! Does the steps, and tells what came of each.

use std::collections::BTreeMap;
use std::fmt;

use super::explain;
use super::host::Host;
use super::setting::{Notes, Setting};
use super::steps::Step;

/// What came of a step that did not leave all as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ipvs) enum Event {
    /// It was set.
    Set {
        /// What the host held.
        from: String,
        /// What it holds now.
        to: String,
    },
    /// Another program had changed it; it was set again.
    Repaired {
        /// What the host held.
        from: String,
        /// What it holds now.
        to: String,
    },
    /// It was put back.
    PutBack {
        /// What the host held.
        from: String,
        /// What it holds now, as before we came.
        to: String,
    },
    /// It is as it was before we came.
    AsBefore(String),
    /// Another program has changed it since; that stays.
    Left(String),
    /// The kernel has no such setting any more.
    Gone,
    /// It is not as wanted; why, with the remedy.
    Problem(String),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { from, to } => write!(f, "set from {from} to {to}"),
            Self::Repaired { from, to } => {
                write!(f, "set from {from}, which another program gave it, to {to}")
            }
            Self::PutBack { from, to } => write!(f, "put back from {from} to {to}"),
            Self::AsBefore(value) => write!(f, "is {value} as before, nothing to put back"),
            Self::Left(value) => {
                write!(f, "is {value}, which another program gave it after us: left alone")
            }
            Self::Gone => f.write_str("the kernel has it no longer, nothing to put back"),
            Self::Problem(problem) => f.write_str(problem),
        }
    }
}

/// Does the steps in order, whatever becomes of each. `notes` are those that are on disk already; what is done leaves them
/// as they must be afterwards, with those of `before` where a write failed.
pub(in crate::ipvs) async fn carry_out(
    host: &mut impl Host,
    steps: BTreeMap<Setting, Step>,
    before: &Notes,
    notes: &mut Notes,
) -> Vec<(Setting, Event)> {
    let mut events = Vec::new();
    for (setting, step) in steps {
        let event = match step {
            Step::Stay | Step::Hold(_) => continue,
            Step::Set { from, wish, is_repair, .. } => {
                match host.write(setting, &wish.value).await {
                    Ok(()) if is_repair => Event::Repaired { from, to: wish.value },
                    Ok(()) => Event::Set { from, to: wish.value },
                    Err(error) => {
                        notes.remove(&setting);
                        notes.extend(before.get(&setting).map(|note| (setting, note.clone())));
                        Event::Problem(explain::not_written(setting, &wish, &error))
                    }
                }
            }
            Step::PutBack { from, to } => match host.write(setting, &to).await {
                Ok(()) => {
                    notes.remove(&setting);
                    Event::PutBack { from, to }
                }
                Err(error) => Event::Problem(explain::not_put_back(setting, &to, &error)),
            },
            Step::AsBefore(value) => {
                notes.remove(&setting);
                Event::AsBefore(value)
            }
            Step::Leave(value) => {
                notes.remove(&setting);
                Event::Left(value)
            }
            Step::Gone => {
                notes.remove(&setting);
                Event::Gone
            }
            Step::Problem(problem) => Event::Problem(problem),
        };
        events.push((setting, event));
    }
    events
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;

    use fulcrum_model::IpvsSettings;
    use nix::errno::Errno;

    use super::super::{
        Found, InterfaceName, Sysctl, Timeout, Wishes, accept_local, noted_first, steps, wishes,
    };
    use super::*;
    use crate::ipvs::HostSettings;

    /// A host whose settings are these; those in `refused` take no writes, as below a read-only /proc/sys.
    struct FakeHost {
        values: BTreeMap<Setting, String>,
        refused: BTreeSet<Setting>,
    }

    impl Host for FakeHost {
        async fn read(&mut self, settings: &BTreeSet<Setting>) -> BTreeMap<Setting, Found> {
            let found = |setting: &Setting| {
                let value = self.values.get(setting).cloned();
                (*setting, value.map_or(Found::Absent, Found::Value))
            };
            settings.iter().map(found).collect()
        }

        async fn write(&mut self, setting: Setting, value: &str) -> io::Result<()> {
            if self.refused.contains(&setting) {
                return Err(Errno::EROFS.into());
            }
            self.values.insert(setting, value.to_owned());
            Ok(())
        }
    }

    impl FakeHost {
        /// A fresh kernel.
        fn new() -> Self {
            let values = Setting::ALL.into_iter().map(|setting| {
                let value = match setting {
                    Setting::Sysctl(Sysctl::ConnReuseMode) => "1",
                    Setting::Sysctl(Sysctl::SyncThreshold) => "3 50",
                    Setting::Timeout(Timeout::Tcp) => "900",
                    Setting::Timeout(Timeout::TcpFin) => "120",
                    Setting::Timeout(Timeout::Udp) => "300",
                    _ => "0",
                };
                (setting, value.to_owned())
            });
            Self { values: values.collect(), refused: BTreeSet::new() }
        }

        /// One look with these wishes, as the driver takes it; what came of it, a line each.
        async fn look(
            &mut self,
            wanted: Option<IpvsSettings>,
            is_relaying: bool,
            notes: &mut Notes,
        ) -> Vec<String> {
            let settings = |ordered| HostSettings { ordered, ..HostSettings::default() };
            let wishes = wanted.map(|ordered| wishes(&settings(ordered), is_relaying));
            let wishes = wishes.unwrap_or_default();
            let before = notes.clone();
            let asked = wishes.keys().chain(before.keys()).copied().collect();
            let steps = steps(&wishes, &self.read(&asked).await, &before);
            *notes = noted_first(&steps, &before);
            let events = carry_out(self, steps, &before, notes).await;
            events.iter().map(|(setting, event)| format!("{setting} {event}")).collect()
        }
    }

    /// Fulcrum has no wishes of its own.
    fn quiet() -> IpvsSettings {
        IpvsSettings {
            expire_nodest_conn: Some(false),
            expire_quiescent_template: Some(false),
            conn_reuse_mode: Some(fulcrum_model::ConnReuseMode::new(1).expect("in range")),
            ..IpvsSettings::default()
        }
    }

    #[tokio::test]
    async fn settings_are_set_kept_and_put_back() {
        let (mut host, mut notes) = (FakeHost::new(), Notes::new());
        let told = host.look(Some(IpvsSettings::default()), false, &mut notes).await;
        let set = [
            "net.ipv4.vs.expire_nodest_conn set from 0 to 1",
            "net.ipv4.vs.expire_quiescent_template set from 0 to 1",
            "net.ipv4.vs.conn_reuse_mode set from 1 to 3",
        ];
        assert_eq!(told, set);
        assert!(host.look(Some(IpvsSettings::default()), false, &mut notes).await.is_empty());

        host.values.insert(Setting::Sysctl(Sysctl::ExpireNodestConn), "0".to_owned());
        let told = host.look(Some(IpvsSettings::default()), false, &mut notes).await;
        let repaired =
            "net.ipv4.vs.expire_nodest_conn set from 0, which another program gave it, to 1";
        assert_eq!(told, [repaired]);

        host.values.insert(Setting::Sysctl(Sysctl::ConnReuseMode), "0".to_owned());
        let told = host.look(None, false, &mut notes).await;
        let put_back = [
            "net.ipv4.vs.expire_nodest_conn put back from 1 to 0",
            "net.ipv4.vs.expire_quiescent_template put back from 1 to 0",
            "net.ipv4.vs.conn_reuse_mode is 0, which another program gave it after us: left alone",
        ];
        assert_eq!(told, put_back);
        assert!(notes.is_empty());
    }

    #[tokio::test]
    async fn a_relay_borrows_what_the_plan_has() {
        for (sloppy_tcp, after) in [(None, "0"), (Some(false), "0"), (Some(true), "1")] {
            let (mut host, mut notes) = (FakeHost::new(), Notes::new());
            let wanted = Some(IpvsSettings { sloppy_tcp, ..quiet() });
            for (is_relaying, expected) in [(false, after), (true, "1"), (false, after)] {
                host.look(wanted, is_relaying, &mut notes).await;
                assert_eq!(
                    host.values[&Setting::Sysctl(Sysctl::SloppyTcp)],
                    expected,
                    "{sloppy_tcp:?}"
                );
            }
            host.look(None, false, &mut notes).await;
            assert_eq!(host.values, FakeHost::new().values);
        }
    }

    #[tokio::test]
    async fn answers_are_taken_in_while_they_are_awaited() {
        let name = InterfaceName::new("eth0").expect("a name");
        let setting = Setting::AcceptLocal(name);
        for (before, expected) in
            [("0", "put back from 1 to 0"), ("1", "is 1 as before, nothing to put back")]
        {
            let (mut host, mut notes) = (FakeHost::new(), Notes::new());
            host.values.insert(setting, before.to_owned());
            let mut told = Vec::new();
            for wishes in [accept_local([name].into()), Wishes::new()] {
                let noted = notes.clone();
                let asked = [setting].into();
                let steps = steps(&wishes, &host.read(&asked).await, &noted);
                notes = noted_first(&steps, &noted);
                told = carry_out(&mut host, steps, &noted, &mut notes).await;
                let wanted = if wishes.is_empty() { before } else { "1" };
                assert_eq!(host.values[&setting], wanted);
            }
            let told: Vec<_> = told.iter().map(|(_, event)| event.to_string()).collect();
            assert_eq!(told, [expected]);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told_until_it_can() {
        let (mut host, mut notes) = (FakeHost::new(), Notes::new());
        host.refused.insert(Setting::Sysctl(Sysctl::Conntrack));
        let wanted = Some(IpvsSettings { conntrack: Some(true), ..quiet() });
        for _ in 0..2 {
            let told = host.look(wanted, false, &mut notes).await;
            assert!(
                told[0].contains("net.ipv4.vs.conntrack cannot be set to 1 (Read-only"),
                "{told:?}"
            );
            assert!(!notes.contains_key(&Setting::Sysctl(Sysctl::Conntrack)), "it was not changed");
        }
        host.refused.clear();
        let told = host.look(wanted, false, &mut notes).await;
        assert_eq!(told, ["net.ipv4.vs.conntrack set from 0 to 1"]);

        host.refused.insert(Setting::Sysctl(Sysctl::Conntrack));
        let told = host.look(None, false, &mut notes).await;
        let words = "net.ipv4.vs.conntrack cannot be put back to 0 (Read-only";
        assert!(told.iter().any(|line| line.contains(words)), "{told:?}");
        assert!(notes.contains_key(&Setting::Sysctl(Sysctl::Conntrack)), "it is tried again");
    }

    #[tokio::test]
    async fn an_older_kernel_lacks_some() {
        let (mut host, mut notes) = (FakeHost::new(), Notes::new());
        host.values.remove(&Setting::Sysctl(Sysctl::ExpireQuiescentTemplate));
        host.values.remove(&Setting::Sysctl(Sysctl::ScheduleIcmp));
        let nothing = IpvsSettings { expire_quiescent_template: None, ..quiet() };
        assert!(host.look(Some(nothing), false, &mut notes).await.is_empty());
        let wanted = Some(IpvsSettings { schedule_icmp: Some(true), ..quiet() });
        let told = host.look(wanted, false, &mut notes).await;
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].contains("this kernel has no setting of that name"), "{told:?}");
    }
}
