//! What scenarios of one boot share, brought up when first needed.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::contest::Contest;
use crate::net::topology::{self, CLIENT, DIRECTORS, Node, PORT, VIP, WEBS};
use crate::pair::{Pair, Paths, Side, signal_all};
use crate::peers::tomcat::Tomcat;
use crate::say;
use crate::settings::RELAY_MARK;
use crate::settings::Settings;
use crate::watch::edits::EditEar;
use crate::watch::table::{Table, TableWatch, key_of_mark};

/// How long the whole may take to serve once its programs run.
const SERVE: Duration = Duration::from_secs(90);
/// How long the page must be steady before something is measured.
const STEADY: Duration = Duration::from_millis(500);

/// The ground that scenarios stand on.
pub(crate) struct Lab {
    /// Scratch space of programs: configuration and state.
    pub(crate) dir: PathBuf,
    /// Logs of programs.
    pub(crate) logs: PathBuf,
    /// Fulcrum's programs.
    pub(crate) bin_dir: PathBuf,
    /// Comparisons made so far in this boot.
    pub(crate) contest: Contest,
    /// Environment of Fulcrum's programs: telemetry, where a scenario wants it. Read when they start.
    pub(crate) env: Vec<(String, String)>,
    segment: Option<Segment>,
    cluster: Option<Cluster>,
    pair: Option<Pair>,
}

/// The network with what always runs on it.
pub(crate) struct Segment {
    /// The Tomcats, in the order of [`WEBS`].
    pub(crate) tomcats: Vec<Tomcat>,
    /// The directors' IPVS tables.
    pub(crate) tables: TableWatch,
    /// Requests to delete from each director's table; none where the kernel has no nlmon device.
    pub(crate) edits: Vec<EditEar>,
}

/// A cluster that serves, with a client at work.
pub(crate) struct Stage<'a> {
    /// Network, Tomcats and tables.
    pub(crate) segment: &'a mut Segment,
    /// Fulcrum's programs beside the directors.
    pub(crate) cluster: &'a mut Cluster,
    /// The directors.
    pub(crate) pair: &'a mut Pair,
    /// Where things are.
    pub(crate) paths: Paths<'a>,
    /// The client.
    pub(crate) client: Client,
}

impl Lab {
    /// Nothing runs yet.
    pub(crate) fn new(dir: &Path, logs: &Path, bin_dir: &Path, contest: Contest) -> Self {
        Self {
            dir: dir.to_owned(),
            logs: logs.to_owned(),
            bin_dir: bin_dir.to_owned(),
            contest,
            env: Vec::new(),
            segment: None,
            cluster: None,
            pair: None,
        }
    }

    /// The cluster with one side's directors and these settings, all of it serving, and a client that sees no failure.
    pub(crate) fn stage(&mut self, side: Side, settings: &Settings) -> Result<Stage<'_>> {
        self.raise_network()?;
        self.raise_tomcats()?;
        self.raise_cluster(settings)?;
        self.raise_pair(side, settings)?;
        let mut stage = Stage {
            segment: self.segment.as_mut().context("just made")?,
            cluster: self.cluster.as_mut().context("just made")?,
            pair: self.pair.as_mut().context("just made")?,
            paths: Paths { dir: &self.dir, logs: &self.logs, bin_dir: &self.bin_dir },
            client: Client::start(CLIENT.name, SocketAddrV4::new(VIP, PORT)),
        };
        stage.wait_whole()?;
        Ok(stage)
    }

    /// The network with Fulcrum's programs beside the directors, which nobody runs.
    pub(crate) fn controllers(&mut self) -> Result<(&mut Cluster, Paths<'_>)> {
        self.watched_controllers().map(|(cluster, _, paths)| (cluster, paths))
    }

    /// The same with the ears on the directors' tables.
    pub(crate) fn watched_controllers(&mut self) -> Result<(&mut Cluster, &[EditEar], Paths<'_>)> {
        self.take_down();
        self.raise_network()?;
        let cluster = self.cluster.insert(Cluster::new(&self.dir, &self.logs, &self.bin_dir));
        cluster.start_missing()?;
        let paths = Paths { dir: &self.dir, logs: &self.logs, bin_dir: &self.bin_dir };
        let segment = self.segment.as_ref().context("just made")?;
        Ok((cluster, &segment.edits, paths))
    }

    /// The network, with eyes on the directors' tables.
    pub(crate) fn raise_network(&mut self) -> Result<()> {
        if self.segment.is_none() {
            topology::bring_up()?;
            let tables = TableWatch::start(&DIRECTORS.map(|director| director.name))?;
            let ears: Result<Vec<EditEar>> =
                DIRECTORS.iter().map(|director| EditEar::at(director.name)).collect();
            let edits = ears.unwrap_or_else(|error| {
                say!("deletions are counted from samples of the tables alone: {error:#}");
                Vec::new()
            });
            let tomcats: Result<Vec<Tomcat>> =
                WEBS.iter().map(|web| Tomcat::install(*web, &self.dir)).collect();
            let tomcats = tomcats?;
            self.segment = Some(Segment { tomcats, tables, edits });
        }
        Ok(())
    }

    /// Does what fills or damages the tables of some directors, while nobody samples tables and with no Tomcat, whose ports
    /// other real servers may want; afterwards all programs are gone and these directors are as after a reboot, whatever came
    /// of it.
    pub(crate) fn with_tables_of<T>(
        &mut self,
        directors: &[Node],
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.raise_network()?;
        for tomcat in self.segment.iter_mut().flat_map(|segment| &mut segment.tomcats) {
            if tomcat.is_running() {
                tomcat.kill()?;
            }
        }
        self.watch_tables(false);
        // What stood before must not be taken away from what the work gives hosts.
        self.take_down();
        let outcome = work(self);
        self.take_down();
        for director in directors {
            signal_all(*director, Signal::SIGKILL)?;
            topology::forget_like_a_reboot(*director)?;
        }
        self.watch_tables(true);
        outcome
    }

    /// Looks at the directors' tables, or not.
    fn watch_tables(&self, looks: bool) {
        if let Some(segment) = &self.segment {
            segment.tables.pause(!looks);
        }
    }

    /// Both Tomcats, serving.
    fn raise_tomcats(&mut self) -> Result<()> {
        let segment = self.segment.as_mut().context("the network is up")?;
        for tomcat in &mut segment.tomcats {
            if !tomcat.is_running() {
                tomcat.start(&self.logs)?;
            }
        }
        for tomcat in &mut segment.tomcats {
            tomcat.wait_ready()?;
        }
        Ok(())
    }

    /// The controllers and the real-server agents, with these settings as intent.
    pub(crate) fn raise_cluster(&mut self, settings: &Settings) -> Result<()> {
        let cluster =
            self.cluster.get_or_insert_with(|| Cluster::new(&self.dir, &self.logs, &self.bin_dir));
        cluster.env.clone_from(&self.env);
        cluster.start_missing()?;
        cluster.apply(settings)
    }

    fn raise_pair(&mut self, side: Side, settings: &Settings) -> Result<()> {
        let suits = |pair: &Pair| pair.side == side && pair.settings == *settings;
        if !self.pair.as_ref().is_some_and(suits) {
            if let Some(mut old) = self.pair.take() {
                old.take_down()?;
            }
            let mut pair = Pair::new(side, *settings)?;
            pair.env.clone_from(&self.env);
            self.pair = Some(pair);
        }
        let paths = Paths { dir: &self.dir, logs: &self.logs, bin_dir: &self.bin_dir };
        self.pair.as_mut().context("just made")?.start_missing(paths)
    }

    /// Where the programs' state and configuration is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends everything but the network and the Tomcats, and forgets all state: the next scenario begins anew.
    pub(crate) fn take_down(&mut self) {
        if let Some(mut pair) = self.pair.take()
            && let Err(error) = pair.take_down()
        {
            say!("while taking the directors down: {error:#}");
        }
        if let Some(mut cluster) = self.cluster.take() {
            cluster.destroy();
            for web in WEBS {
                if let Err(error) = topology::forget_real_server(web) {
                    say!("while taking what its agent made from {}: {error:#}", web.name);
                }
            }
        }
        for director in DIRECTORS {
            let _ = std::fs::remove_dir_all(self.dir.join(director.name));
        }
    }
}

impl Stage<'_> {
    /// No requests are made any longer.
    pub(crate) fn pause_client(&mut self) -> Result<()> {
        self.client.end()
    }

    /// Waits until the first director is Active, both tables serve both Tomcats and the client sees no failure.
    pub(crate) fn wait_whole(&mut self) -> Result<()> {
        self.pair.wait_first_active()?;
        if self.pair.side == Side::Fulcrum {
            self.cluster.wait_converged()?;
        }
        self.segment.wait_serving()?;
        self.client.wait_steady(STEADY, SERVE)
    }
}

impl Segment {
    /// Waits until both directors' tables serve both Tomcats.
    fn wait_serving(&self) -> Result<()> {
        let webs: Vec<SocketAddrV4> = self.tomcats.iter().map(Tomcat::address).collect();
        let whole = |table: &Table| webs.iter().all(|web| table.serves(*web));
        self.tables
            .wait_all("both tables serve both Tomcats", &both(), Instant::now(), SERVE, whole)
            .map(|_| ())
    }

    /// How often an entry that the directors' tables held at `since` was deleted after it: as the kernel was asked, or as
    /// seen gone, whichever is more. Entries made since then may come and go, and a hand-over's relay always: it ends by
    /// itself some seconds after a hand-over, be it one of the scenario before.
    pub(crate) fn deleted_since(&self, since: Instant) -> usize {
        DIRECTORS
            .iter()
            .enumerate()
            .map(|(index, director)| {
                let mut table = self.tables.at(director.name, since);
                table.virtual_servers.remove(&key_of_mark(RELAY_MARK));
                let asked = self.edits.get(index).map_or(0, |ear| ear.deleted_of(&table, since));
                asked.max(self.tables.vanished_of(&table, director.name, since))
            })
            .sum()
    }
}

/// The directors' names.
pub(crate) fn both() -> [&'static str; 2] {
    DIRECTORS.map(|director| director.name)
}
