//! All real servers die, and the sorry server stands in until one is back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{KEEPS, LONG, SLACK, STEADY, out_within};
use crate::client::{Window, page};
use crate::cluster::{READY, config};
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::topology::{PORT, SORRY, WEBS};
use crate::process::{Launch, Process};
use crate::say;

/// Debian's, whose module serves files: a shim that somebody has in the PATH takes seconds to find its own.
const PYTHON: &str = "/usr/bin/python3";
/// How long answers are looked at once it has changed.
const WINDOW: Duration = Duration::from_secs(2);

/// The sorry server: a page, and the agent that holds the VIP on its host.
#[derive(Debug)]
pub(super) struct SorryHost {
    _page: Process,
    _agent: Process,
}

impl SorryHost {
    /// Starts both.
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let home = lab.dir.join(SORRY.name);
        // The state of an earlier cluster would only be refused.
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join("page"))?;
        fs::write(home.join("page/index.html"), page::text(SORRY.name))?;
        let config = home.join("realserver.toml");
        fs::write(&config, config::agent(SORRY, &lab.dir, "realserver"))?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let port = PORT.to_string();
        let serve = ["-m", "http.server", &port, "--bind", "0.0.0.0", "--directory"];
        let mut page = serve.map(str::to_owned).to_vec();
        page.push(text(&home.join("page")));
        let agent = ["--config".to_owned(), text(&config), "run".to_owned()].to_vec();
        let start = |label: &str, program: &Path, args| {
            let (label, program) = (label.to_owned(), program.to_owned());
            let launch = Launch { node: Some(SORRY.name), label, program, args, env: Vec::new() };
            Process::start(&lab.logs, launch)
        };
        let program = "fulcrum-realserver";
        let page = start("page", Path::new(PYTHON), page)?;
        let mut agent = start(program, &lab.bin_dir.join(program), agent)?;
        agent.wait_for_line("ready", READY)?;
        Ok(Self { _page: page, _agent: agent })
    }
}

/// Both Tomcats are killed, then one is started again, then the other.
pub(super) fn all_die(stage: &mut Stage<'_>, findings: &mut Findings) -> Result<()> {
    let at = stage.segment.tomcats[0].kill()?;
    stage.segment.tomcats[1].kill()?;
    let first = stage.client.wait_answer_of(SORRY.name, at, LONG)?;
    let sorry_in = first - at;
    // A request that was under way may have met the dead.
    let from = first + SLACK;
    let after = stage.client.settled(from, from + WINDOW);
    let by_sorry = answers_of(&after, SORRY.name);
    say!("sorry server: {by_sorry} of {} after {sorry_in:?}: {}", after.count(), after.failures());
    findings.figure("sorry_in_ms", millis(sorry_in));
    findings.figure("sorry_requests", count(after.count()));
    findings.figure("sorry_answers", count(by_sorry));
    findings.at_most("sorry_in_ms", millis(sorry_in), millis(out_within()));
    findings.require(by_sorry == after.count(), "the sorry server answers every request");

    stage.segment.tomcats[0].start(stage.paths.logs)?;
    let ready = stage.segment.tomcats[0].wait_ready()?;
    let first = stage.client.wait_answer_of(WEBS[0].name, ready, LONG)?;
    let from = first + SLACK;
    let after = stage.client.settled(from, from + WINDOW);
    let by_web = answers_of(&after, WEBS[0].name);
    findings.figure("sorry_out_ms", millis(first - ready));
    let back = KEEPS.check.interval + KEEPS.check.timeout + SLACK;
    findings.at_most("sorry_out_ms", millis(first - ready), millis(back));
    findings.require(by_web == after.count(), "the Tomcat that is back answers every request");

    stage.segment.tomcats[1].start(stage.paths.logs)?;
    stage.segment.tomcats[1].wait_ready()?;
    stage.wait_whole()?;
    stage.client.wait_steady(STEADY, LONG)
}

fn answers_of(window: &Window, web: &str) -> usize {
    let answers = window.requests.iter().map(|request| &request.answer);
    answers.filter(|answer| answer.as_deref().is_ok_and(|name| name == web)).count()
}
