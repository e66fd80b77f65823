//! `lvsctl controller`

use std::fmt::Write as _;
use std::time::Duration;

use fulcrum_proto::convert::duration_to_text;
use fulcrum_proto::v1;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::table::Table;
use crate::text::{message_to_node, to_json, to_yaml};

/// A transfer waits for a controller that is behind, for an election, and for the lease before it.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(15);

const GET: &str = "fulcrum.v1.GetClusterResponse";
const TRANSFER: &str = "fulcrum.v1.TransferLeadershipResponse";

/// What to look at or to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// A line for each controller: who leads, who votes, how far each is. Answered without a leader, too.
    List,
    /// The same, each with all that is known of it. Exit code 1 when one has a problem.
    Status {
        /// Only the controller of this name.
        name: Option<String>,
    },
    /// Have another controller lead, as before an upgrade of the leader: writes wait a moment, and none is lost.
    Transfer {
        /// The controller that is to lead; the one that is furthest when not given.
        to: Option<String>,
    },
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let format = global.output.unwrap_or(Output::Table);
    match arguments.verb {
        Verb::List => {
            let cluster = cluster(&controllers).await?;
            out::print(&told(format, &cluster, list))?;
            Ok(Exit::Ok)
        }
        Verb::Status { name } => {
            let mut cluster = cluster(&controllers).await?;
            if let Some(name) = name {
                cluster.members = one(&cluster, &name)?;
            }
            out::print(&told(format, &cluster, status))?;
            let is_well = cluster.members.iter().all(|member| member.problem.is_empty());
            Ok(if is_well { Exit::Ok } else { Exit::Unhealthy })
        }
        Verb::Transfer { to } => {
            let request = v1::TransferLeadershipRequest { to: to.unwrap_or_default() };
            let answer = controllers
                .ask_for(TRANSFER_TIMEOUT, |channel| {
                    let request = request.clone();
                    async move { connect::cluster(channel).transfer_leadership(request).await }
                })
                .await
                .map_err(|refusal| refusal.failure("leadership was not transferred"))?;
            out::print(&match format {
                Output::Json => to_json(&message_to_node(TRANSFER, &answer)),
                Output::Yaml => to_yaml(&message_to_node(TRANSFER, &answer)),
                Output::Table => transferred(&answer),
            })?;
            Ok(Exit::Ok)
        }
    }
}

async fn cluster(controllers: &Controllers) -> Result<v1::GetClusterResponse, Failure> {
    let answer = controllers.ask(|channel| async move {
        connect::cluster(channel).get_cluster(v1::GetClusterRequest {}).await
    });
    answer.await.map_err(|refusal| refusal.failure("cannot tell of the controllers"))
}

fn one(cluster: &v1::GetClusterResponse, name: &str) -> Result<Vec<v1::Member>, Failure> {
    let found: Vec<_> =
        cluster.members.iter().filter(|member| member.name == name).cloned().collect();
    if found.is_empty() {
        let names: Vec<&str> = cluster.members.iter().map(|member| member.name.as_str()).collect();
        let text = format!("there is no controller {name:?}: name one of {}", names.join(", "));
        return Err(Failure::new(Exit::NotFound, text));
    }
    Ok(found)
}

fn told(
    format: Output,
    cluster: &v1::GetClusterResponse,
    table: fn(&v1::GetClusterResponse) -> String,
) -> String {
    match format {
        Output::Json => to_json(&message_to_node(GET, cluster)),
        Output::Yaml => to_yaml(&message_to_node(GET, cluster)),
        Output::Table => table(cluster),
    }
}

fn list(cluster: &v1::GetClusterResponse) -> String {
    let mut table = Table::default();
    table.row(
        ["ID", "NAME", "ROLE", "REVISION", "BEHIND", "STORE", "FREE", "RELEASE", "PROBLEM"]
            .map(Into::into),
    );
    for member in &cluster.members {
        let known = |text: String| if member.reachable { text } else { "-".to_owned() };
        table.row(
            [
                member.id.to_string(),
                name(member),
                role(member).to_owned(),
                known(member.applied_revision.to_string()),
                member.behind_entries.map_or_else(|| "-".to_owned(), |behind| behind.to_string()),
                known(size(member.store_bytes)),
                known(size(member.free_bytes)),
                release(member),
                member.problem.clone(),
            ]
            .map(Into::into),
        );
    }
    table.render("")
}

fn status(cluster: &v1::GetClusterResponse) -> String {
    let mut text = String::new();
    let leader = if cluster.leader.is_empty() { "nobody" } else { &cluster.leader };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "cluster {}, incarnation {}, by {}: {leader} leads in term {}; {} voters must answer for a write",
        cluster.cluster_id, cluster.incarnation, cluster.asked, cluster.term, cluster.quorum
    );
    for member in &cluster.members {
        let _ = writeln!(text, "\n{} ({})", name(member), member.id);
        let mut table = Table::default();
        let mut row = |word: &str, value: String| table.row([word.into(), value.into()]);
        row("role", role(member).to_owned());
        if member.configured {
            row("api", member.api.clone());
            row("raft", member.raft.clone());
        }
        if member.reachable {
            let behind = match member.behind_entries {
                Some(0) => "has all that the leader has".to_owned(),
                Some(1) => "1 entry behind the leader".to_owned(),
                Some(behind) => format!("{behind} entries behind the leader"),
                None => "how far behind is not known".to_owned(),
            };
            row("revision", format!("{}, {behind}", member.applied_revision));
            row("log", format!("to entry {}, applied {}", member.last_index, member.applied_index));
            row("store", format!("{}, {} free", size(member.store_bytes), size(member.free_bytes)));
            row("release", release(member));
        }
        if !member.problem.is_empty() {
            row("problem", member.problem.clone());
        }
        text.push_str(&table.render("  "));
    }
    text
}

fn transferred(answer: &v1::TransferLeadershipResponse) -> String {
    if answer.from == answer.to {
        return format!("{} leads already, in term {}\n", answer.to, answer.term);
    }
    let gap = answer.gap.and_then(|gap| Duration::try_from(gap).ok()).unwrap_or_default();
    let gap = Duration::from_millis(u64::try_from(gap.as_millis()).unwrap_or(u64::MAX));
    format!(
        "{} leads in term {}, after {}: writes waited for {}\n",
        answer.to,
        answer.term,
        answer.from,
        duration_to_text(gap)
    )
}

fn name(member: &v1::Member) -> String {
    if member.name.is_empty() { "?".to_owned() } else { member.name.clone() }
}

fn role(member: &v1::Member) -> &'static str {
    match member.role() {
        v1::MemberRole::Leader => "leader",
        v1::MemberRole::Voter => "voter",
        v1::MemberRole::Learner => "learner",
        v1::MemberRole::Outside => "outside",
        v1::MemberRole::Unspecified => "?",
    }
}

fn release(member: &v1::Member) -> String {
    match (member.reachable, member.program_version.as_str()) {
        (false, _) => "-".to_owned(),
        (true, "") => "older".to_owned(),
        (true, version) => version.to_owned(),
    }
}

/// As `12.3 MiB`.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((bits, unit)) = units.into_iter().find(|(bits, _)| bytes >> bits > 0) else {
        return format!("{bytes} B");
    };
    let tenths = ((bytes >> (bits - 10)) * 10) >> 10;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster_of_two() -> v1::GetClusterResponse {
        let leader = v1::Member {
            id: 1,
            name: "c1".to_owned(),
            api: "192.0.2.1:7400".to_owned(),
            raft: "192.0.2.1:7401".to_owned(),
            role: v1::MemberRole::Leader.into(),
            configured: true,
            reachable: true,
            problem: String::new(),
            last_index: 120,
            applied_index: 119,
            behind_entries: Some(0),
            applied_revision: 118,
            store_bytes: 1_600_000,
            free_bytes: 5 << 30,
            program_version: "0.2.0".to_owned(),
        };
        let gone = v1::Member {
            id: 2,
            role: v1::MemberRole::Voter.into(),
            problem: "[[controllers]] does not list it".to_owned(),
            ..Default::default()
        };
        v1::GetClusterResponse {
            cluster_id: "one".to_owned(),
            incarnation: 1,
            asked: "c1".to_owned(),
            leader: "c1".to_owned(),
            term: 3,
            members: vec![leader, gone],
            quorum: 2,
        }
    }

    #[test]
    fn controllers_are_told_in_lines_and_one_by_one() {
        let cluster = cluster_of_two();
        let lines = "\
ID  NAME  ROLE    REVISION  BEHIND  STORE    FREE     RELEASE  PROBLEM
1   c1    leader  118       0       1.5 MiB  5.0 GiB  0.2.0
2   ?     voter   -         -       -        -        -        [[controllers]] does not list it
";
        assert_eq!(list(&cluster), lines);
        let all = "\
cluster one, incarnation 1, by c1: c1 leads in term 3; 2 voters must answer for a write

c1 (1)
  role      leader
  api       192.0.2.1:7400
  raft      192.0.2.1:7401
  revision  118, has all that the leader has
  log       to entry 120, applied 119
  store     1.5 MiB, 5.0 GiB free
  release   0.2.0

? (2)
  role     voter
  problem  [[controllers]] does not list it
";
        assert_eq!(status(&cluster), all);
        assert_eq!(one(&cluster, "c1").expect("it is there").len(), 1);
        let missing = one(&cluster, "c9").expect_err("there is none");
        assert!(missing.text.contains("name one of c1"), "{missing}");
    }

    #[test]
    fn a_transfer_tells_how_long_writes_waited() {
        let answer = |from: &str, gap_ms: u32| v1::TransferLeadershipResponse {
            from: from.to_owned(),
            to: "c2".to_owned(),
            term: 4,
            gap: Some(prost_types::Duration {
                seconds: 0,
                nanos: (gap_ms * 1_000_000 + 7).cast_signed(),
            }),
        };
        assert_eq!(
            transferred(&answer("c1", 12)),
            "c2 leads in term 4, after c1: writes waited for 12ms\n"
        );
        assert_eq!(transferred(&answer("c2", 0)), "c2 leads already, in term 4\n");
    }

    #[test]
    fn sizes_are_for_people() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB")];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected);
        }
    }
}
