//! Keeps the host's settings as they are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{DRIFT_TOLD, Driver};
use crate::ipvs::settings::{
    Event, Found, Host as _, KernelHost, Notes, Setting, Sysctl, accept_local, carry_out,
    noted_first, steps, wishes,
};
use crate::ipvs::{HostSettings, modules, route};

/// Time between two looks at the settings: nobody tells when another program changes one. As seldom as a large table is
/// gone through.
const RECHECK: Duration = Duration::from_secs(10);

/// What is wanted of the host's settings, and what became of it.
pub(super) struct Settings {
    /// None before the first plan; until then nothing is touched.
    wanted: Option<HostSettings>,
    /// What we changed.
    pub(super) notes: Notes,
    problems: Vec<String>,
    drift: BTreeMap<Setting, (Instant, String)>,
    recheck_at: Instant,
    /// Modules that were tried: a second attempt would fail like the first.
    tried: BTreeSet<&'static str>,
}

impl Settings {
    /// With the notes of an earlier life.
    pub(super) fn new(notes: Notes) -> Self {
        Self {
            wanted: None,
            notes,
            problems: Vec::new(),
            drift: BTreeMap::new(),
            recheck_at: Instant::now(),
            tried: BTreeSet::new(),
        }
    }

    /// Wants these from now on.
    pub(super) fn want(&mut self, wanted: HostSettings) {
        if self.wanted.as_ref() != Some(&wanted) {
            self.wanted = Some(wanted);
            self.look_now();
        }
    }

    /// Something that is wanted has changed.
    pub(super) fn look_now(&mut self) {
        self.recheck_at = Instant::now();
    }

    /// What does not fit, each with its remedy.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        let recent = self.drift.values().filter(|(seen, _)| seen.elapsed() < DRIFT_TOLD);
        self.problems.iter().chain(recent.map(|(_, words)| words)).cloned()
    }
}

impl Driver {
    /// Compares the settings with what is wanted of them, when that is due, and does what is to be done. What is changed is
    /// journalled first.
    pub(super) async fn keep_settings(&mut self) {
        let now = Instant::now();
        if now < self.settings.recheck_at {
            return;
        }
        let Some(wanted) = self.settings.wanted.as_ref() else { return };
        self.settings.recheck_at = now + RECHECK;
        let mut wishes = wishes(wanted, self.relay.is_some());
        match route::interfaces(&wanted.answers) {
            Ok(interfaces) => wishes.extend(accept_local(interfaces)),
            // Nothing is put back on the strength of a list that is not known; it is looked at again.
            Err(error) => {
                tracing::warn!(%error, "the interfaces cannot be listed: settings wait");
                return;
            }
        }
        let before = self.settings.notes.clone();
        let mut asked: BTreeSet<Setting> = wishes.keys().chain(before.keys()).copied().collect();
        if self.is_frozen {
            // A hand-over goes on in a freeze, and needs this one.
            asked.retain(|setting| *setting == Setting::Sysctl(Sysctl::SloppyTcp));
        }
        let found = self.read_settings(&asked).await;
        let steps = steps(&wishes, &found, &before);
        self.note_settings(noted_first(&steps, &before));
        let mut notes = self.settings.notes.clone();
        let mut host = KernelHost { kernel: Some(&mut self.kernel) };
        let events = carry_out(&mut host, steps, &before, &mut notes).await;
        self.note_settings(notes);
        self.tell_settings(events);
    }

    async fn read_settings(&mut self, asked: &BTreeSet<Setting>) -> BTreeMap<Setting, Found> {
        let mut host = KernelHost { kernel: Some(&mut self.kernel) };
        let mut found = host.read(asked).await;
        let absent = found.iter().filter(|(_, found)| **found == Found::Absent);
        let modules: BTreeSet<_> = absent.filter_map(|(setting, _)| setting.module()).collect();
        for module in modules {
            if !self.settings.tried.insert(module) {
                continue;
            }
            match modules::load(module).await {
                Ok(()) => found = host.read(asked).await,
                // That the setting is absent is told where it was asked for.
                Err(reason) => tracing::info!(module, reason, "a module cannot be loaded"),
            }
        }
        found
    }

    fn note_settings(&mut self, notes: Notes) {
        if self.settings.notes != notes {
            self.settings.notes = notes;
            self.write_journal();
        }
    }

    fn tell_settings(&mut self, events: Vec<(Setting, Event)>) {
        let mut problems = Vec::new();
        for (setting, event) in events {
            match event {
                Event::Problem(problem) => {
                    if !self.settings.problems.contains(&problem) {
                        tracing::error!("{problem}");
                    }
                    problems.push(problem);
                }
                Event::Repaired { from, to } => {
                    tracing::warn!(%setting, from, to, "another program changed a setting of ours");
                    let words = format!(
                        "another program changed a setting of ours ({setting} was {from}; repair: {to}): stop it, or say \
                         the value in the Director's ipvs"
                    );
                    self.settings.drift.insert(setting, (Instant::now(), words));
                }
                Event::Left(_) => tracing::warn!("{setting} {event}"),
                Event::Set { .. } | Event::PutBack { .. } | Event::AsBefore(_) | Event::Gone => {
                    tracing::info!("{setting} {event}");
                }
            }
        }
        self.settings.problems = problems;
    }
}
