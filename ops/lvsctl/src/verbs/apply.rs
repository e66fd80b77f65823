//! `lvsctl apply`

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fulcrum_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::writing::Writing;
use crate::cli::{Global, Output};
use crate::connect::{Controllers, Refusal};
use crate::exit::{Exit, Failure};
use crate::manifest::{self, Manifest, Mistake};
use crate::order::is_held;
use crate::status::clock;
use crate::table::Table;
use crate::text::{message_to_node, to_json, to_yaml};

/// What to write, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Manifests, YAML or JSON: a file, a folder of them, or - for standard input. May be given several times.
    #[arg(short, long = "filename", required = true, value_name = "FILE|DIR|-")]
    filenames: Vec<PathBuf>,
    /// Delete every resource that these manifests do not hold: of the --owner, or of those that have none.
    #[arg(long)]
    prune: bool,
    /// Whose manifests these are: each resource is labelled so (fulcrum.owner), and what others own is left alone.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    owner: String,
    #[command(flatten)]
    writing: Writing,
}

/// Extensions of manifests in a folder.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let manifests = read(&arguments.filenames)?;
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let request = v1::ApplyRequest {
        resources: manifests.iter().map(|manifest| manifest.resource.clone()).collect(),
        prune: arguments.prune,
        owner: arguments.owner.clone(),
        ..arguments.writing.request()
    };
    let answer =
        controllers.apply(&request).await.map_err(|refusal| refused(refusal, &manifests))?;
    arguments.writing.end(global, &controllers, &answer).await
}

/// Reads every file; all that is wrong in any of them is one failure, and then nothing is sent.
fn read(paths: &[PathBuf]) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    let mut mistakes = Vec::new();
    for path in paths {
        for (file, text) in texts(path)? {
            manifests.extend(manifest::read(&file, &text, &mut mistakes));
        }
    }
    manifest::check(&manifests, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(bad_input(&mistakes, &[], "nothing was sent"));
    }
    if manifests.is_empty() {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let text = format!("no manifest in {}; nothing was sent", names.join(", "));
        return Err(Failure::usage(text));
    }
    Ok(manifests)
}

/// The texts behind one argument, with the name that mistakes are told under.
fn texts(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let fail = |path: &Path, error: &std::io::Error| {
        Failure::usage(format!("cannot read {}: {error}", path.display()))
    };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| fail(path, &error))?;
        return Ok(vec![("-".to_owned(), text)]);
    }
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| fail(path, &error))?;
        files = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| fail(path, &error))?;
        files.retain(|file| {
            file.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e))
        });
        files.sort();
    }
    files
        .into_iter()
        .map(|file| match std::fs::read_to_string(&file) {
            Ok(text) => Ok((file.display().to_string(), text)),
            Err(error) => Err(fail(&file, &error)),
        })
        .collect()
}

fn bad_input(mistakes: &[Mistake], others: &[String], outcome: &str) -> Failure {
    let count = mistakes.len() + others.len();
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    let mut text = format!("{count} {noun} in the manifests; {outcome}");
    let lines = mistakes.iter().map(ToString::to_string).chain(others.iter().cloned());
    for line in lines {
        text = format!("{text}\n{line}");
    }
    Failure::usage(text)
}

/// What the controllers refused, at the lines of the manifests where they are concerned.
fn refused(refusal: Refusal, manifests: &[Manifest]) -> Failure {
    let Refusal::Answered(status) = &refusal else { return refusal.failure("cannot apply") };
    if let Some(failure) = bad_request(status, manifests) {
        return failure;
    }
    let held = is_held(&refusal);
    let stale = status.code() == Code::Aborted;
    let mut failure = refusal.failure("nothing was changed");
    if held {
        failure.text.push_str(
            "\nIf it is meant, give --allow-drastic; with --dry-run it shows all that it would do.",
        );
    } else if stale {
        failure
            .text
            .push_str("\nSomebody changed the intent: `lvsctl get` it, merge, and apply again.");
    }
    failure
}

fn bad_request(status: &Status, manifests: &[Manifest]) -> Option<Failure> {
    let details = status.get_details_bad_request()?;
    let mut mistakes = Vec::new();
    let mut others = Vec::new();
    for violation in details.field_violations {
        match manifest::mistake(manifests, &violation.field, &violation.description) {
            Ok(mistake) => mistakes.push(mistake),
            Err(other) => others.push(other),
        }
    }
    mistakes.sort();
    (!mistakes.is_empty() || !others.is_empty())
        .then(|| bad_input(&mistakes, &others, "nothing was changed"))
}

pub(super) fn render(answer: &v1::ApplyResponse, dry_run: bool, format: Output) -> String {
    let name = "fulcrum.v1.ApplyResponse";
    match format {
        Output::Json => to_json(&message_to_node(name, answer)),
        Output::Yaml => to_yaml(&message_to_node(name, answer)),
        Output::Table => for_people(answer, dry_run),
    }
}

fn for_people(answer: &v1::ApplyResponse, dry_run: bool) -> String {
    let revision = answer.revision;
    if answer.changes.is_empty() {
        return format!("nothing differs from revision {revision}\n");
    }
    let mut text = String::new();
    for change in &answer.changes {
        let action = match (change.action(), dry_run) {
            (v1::ChangeAction::Unspecified, _) => "?",
            (v1::ChangeAction::Create, false) => "created",
            (v1::ChangeAction::Update, false) => "updated",
            (v1::ChangeAction::Delete, false) => "deleted",
            (v1::ChangeAction::Create, true) => "would create",
            (v1::ChangeAction::Update, true) => "would update",
            (v1::ChangeAction::Delete, true) => "would delete",
        };
        let kind = manifest::kind_word(change.kind());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{action} {kind} {}", change.name);
    }
    let mut agents = Table::default();
    for change in &answer.agent_changes {
        let put = change.changed.iter().map(|key| format!("+{key}"));
        let remove = change.removed.iter().map(|key| format!("-{key}"));
        let objects: Vec<String> = put.chain(remove).collect();
        agents.row([change.agent.clone().into(), objects.join(" ").into()]);
    }
    if !answer.agent_changes.is_empty() {
        text.push_str(if dry_run { "agents would be told:\n" } else { "agents are told:\n" });
        text.push_str(&agents.render("  "));
    }
    let outcome = if dry_run { "nothing was changed; still at revision" } else { "revision" };
    let _ = writeln!(text, "{outcome} {revision}");
    if let Some(until) = answer.confirm_by.and_then(|time| SystemTime::try_from(time).ok()) {
        let _ = writeln!(
            text,
            "it waits to be confirmed until {}, and is undone then: `lvsctl confirm {revision}` keeps it",
            clock(until)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> v1::ApplyResponse {
        let change = |kind: v1::Kind, name: &str, action: v1::ChangeAction| v1::Change {
            kind: kind.into(),
            name: name.to_owned(),
            action: action.into(),
        };
        let agent = |agent: &str, changed: &[&str], removed: &[&str]| v1::AgentChange {
            agent: agent.to_owned(),
            changed: changed.iter().map(ToString::to_string).collect(),
            removed: removed.iter().map(ToString::to_string).collect(),
        };
        v1::ApplyResponse {
            revision: 12,
            changes: vec![
                change(v1::Kind::Pool, "tomcats", v1::ChangeAction::Update),
                change(v1::Kind::VirtualServer, "old", v1::ChangeAction::Delete),
            ],
            agent_changes: vec![
                agent("director/d1", &["virtual-server/web"], &["virtual-server/old"]),
                agent("realserver/web1", &["host"], &[]),
            ],
            confirm_by: None,
        }
    }

    #[test]
    fn changes_are_told_with_what_they_mean_to_agents() {
        assert_eq!(
            for_people(&answer(), false),
            "updated Pool tomcats\ndeleted VirtualServer old\nagents are told:\n  \
             director/d1      +virtual-server/web -virtual-server/old\n  \
             realserver/web1  +host\nrevision 12\n"
        );
        let dry = for_people(&answer(), true);
        assert!(dry.starts_with("would update Pool tomcats\n"), "{dry}");
        assert!(dry.ends_with("nothing was changed; still at revision 12\n"), "{dry}");
        let until = prost_types::Timestamp { seconds: 10_691, nanos: 0 };
        let waits = for_people(&v1::ApplyResponse { confirm_by: Some(until), ..answer() }, false);
        let end = "revision 12\nit waits to be confirmed until 02:58:11Z, and is undone then: `lvsctl confirm 12` keeps it\n";
        assert!(waits.ends_with(end), "{waits}");
        let same = v1::ApplyResponse { revision: 12, ..v1::ApplyResponse::default() };
        assert_eq!(for_people(&same, true), "nothing differs from revision 12\n");
    }

    #[test]
    fn programs_read_the_same_words_and_every_field() {
        let none = render(&v1::ApplyResponse::default(), false, Output::Json);
        assert_eq!(none, "{\n  \"revision\": 0,\n  \"changes\": [],\n  \"agent_changes\": []\n}\n");
        let text = render(&answer(), false, Output::Yaml);
        assert!(text.contains("- kind: VirtualServer\n  name: old\n  action: delete\n"), "{text}");
    }
}
