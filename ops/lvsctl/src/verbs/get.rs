//! `lvsctl get`

mod follow;

use fulcrum_proto::v1;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers};
use crate::exit::{Exit, Failure};
use crate::manifest::{kind_of, kinds, resource_to_node};
use crate::out;
use crate::suggest::suggest;
use crate::table::Table;
use crate::text::{Node, to_json, to_yaml};

/// What to print.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kind: site, director, vrrp-instance, real-server, pool, virtual-server, handover, drain, restart, or all.
    #[arg(value_parser = parse_kind, default_value = "all")]
    kind: v1::Kind,
    /// Only the resource of this name.
    name: Option<String>,
    /// Only resources that have this label. May be given several times: all must hold.
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// Only resources whose names begin so.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    prefix: String,
    /// Print what there is, and then whatever changes, until interrupted; goes on at another controller.
    #[arg(short, long)]
    watch: bool,
    /// With --watch: only what changed after this revision.
    #[arg(
        long,
        requires = "watch",
        value_name = "REVISION",
        default_value_t = 0,
        hide_default_value = true
    )]
    from_revision: u64,
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("write a label as KEY=VALUE, such as rack=a1".to_owned()),
    }
}

/// Any spelling: `VirtualServer`, `virtual-server`, `virtual_servers`. `all` is the kind that is not given.
pub(super) fn parse_kind(text: &str) -> Result<v1::Kind, String> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let wanted = plain(text);
    if wanted == "all" {
        return Ok(v1::Kind::Unspecified);
    }
    let kinds = kinds();
    let found = kinds.iter().find(|(name, _)| {
        let name = plain(name);
        wanted == name || wanted.strip_suffix('s') == Some(name.as_str())
    });
    if let Some((name, _)) = found {
        return v1::Kind::from_str_name(&format!("KIND_{}", shout(name)))
            .ok_or_else(|| format!("{name} has no number in the API"));
    }
    let names: Vec<String> = kinds.iter().map(|(name, _)| name.clone()).collect();
    Err(match suggest(&wanted, names.iter().map(String::as_str)) {
        Some(name) => format!("did you mean {name}?"),
        None => format!("use one of {}, or all", names.join(", ")),
    })
}

/// `VirtualServer` as `VIRTUAL_SERVER`.
fn shout(name: &str) -> String {
    let mut shouted = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            shouted.push('_');
        }
        shouted.push(letter.to_ascii_uppercase());
    }
    shouted
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let Arguments { kind, name, label, prefix: name_prefix, watch, from_revision } = arguments;
    let is_filtered = !label.is_empty() || !name_prefix.is_empty() || watch;
    let labels = label.into_iter().collect();
    let format = global.output.unwrap_or(Output::Yaml);
    match name {
        Some(_) if kind == v1::Kind::Unspecified => {
            Err(Failure::usage("a name needs a kind: lvsctl get KIND NAME"))
        }
        Some(_) if is_filtered => {
            let text = "--label, --prefix and --watch are of many resources: leave the name out, or use --prefix NAME";
            Err(Failure::usage(text))
        }
        None if watch => {
            let kind = kind.into();
            let request = v1::WatchResourcesRequest { from_revision, kind, name_prefix, labels };
            // A stream of changes: lines are for people here, manifests for programs.
            follow::run(&controllers, request, global.output.unwrap_or(Output::Table)).await
        }
        Some(name) => {
            let request = v1::GetRequest { kind: kind.into(), name };
            let answer = controllers
                .ask(|channel| {
                    let request = request.clone();
                    async move { connect::intent(channel).get(request).await }
                })
                .await
                .map_err(|refusal| refusal.failure(&format!("cannot get {}", request.name)))?;
            let resources: Vec<v1::Resource> = answer.resource.into_iter().collect();
            out::print(&render(&resources, true, format))?;
            Ok(Exit::Ok)
        }
        None => {
            let request = v1::ListRequest { kind: kind.into(), name_prefix, labels };
            let mut answer = controllers
                .ask(|channel| {
                    let request = request.clone();
                    async move { connect::intent(channel).list(request).await }
                })
                .await
                .map_err(|refusal| refusal.failure("cannot list"))?;
            // A controller of an older release knows no filter and answers with all.
            answer.resources.retain(|resource| takes(&request, resource));
            out::print(&render(&answer.resources, false, format))?;
            Ok(Exit::Ok)
        }
    }
}

/// Whether a resource is among those that were asked for by name and labels.
fn takes(request: &v1::ListRequest, resource: &v1::Resource) -> bool {
    let metadata = resource.metadata.as_ref();
    metadata.is_some_and(|metadata| {
        metadata.name.starts_with(&request.name_prefix)
            && request.labels.iter().all(|(key, value)| metadata.labels.get(key) == Some(value))
    })
}

/// Manifests in YAML, a document each; in JSON, a list, or the one alone; or a table of what there is.
pub(crate) fn render(resources: &[v1::Resource], single: bool, format: Output) -> String {
    let mut nodes = resources.iter().map(resource_to_node);
    match format {
        Output::Yaml => nodes.map(|node| to_yaml(&node)).collect::<Vec<_>>().join("---\n"),
        Output::Json if single => nodes.next().map(|node| to_json(&node)).unwrap_or_default(),
        Output::Json => to_json(&Node::List(nodes.collect())),
        Output::Table => {
            let mut table = Table::default();
            table.row(["KIND", "NAME", "REVISION"].map(Into::into));
            for resource in resources {
                let metadata = resource.metadata.clone().unwrap_or_default();
                let revision = metadata.revision.to_string();
                table.row([kind_of(resource).into(), metadata.name.into(), revision.into()]);
            }
            table.render("")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_controller_did_not_filter_is_filtered_here() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], bool);
        let labels = [("rack", "a1"), ("room", "2")].map(|(key, value)| (key.into(), value.into()));
        let metadata =
            v1::Metadata { name: "mail-a".to_owned(), labels: labels.into(), revision: 1 };
        let resource = v1::Resource { metadata: Some(metadata), spec: None };
        let cases: [Case; 6] = [
            ("", &[], true),
            ("mail-", &[("rack", "a1")], true),
            ("", &[("rack", "a1"), ("room", "2")], true),
            ("web-", &[], false),
            ("mail-", &[("rack", "a2")], false),
            ("", &[("rack", "a1"), ("row", "2")], false),
        ];
        for (prefix, labels, expected) in cases {
            let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into()));
            let name_prefix = prefix.to_owned();
            let request = v1::ListRequest { kind: 0, name_prefix, labels: labels.collect() };
            assert_eq!(takes(&request, &resource), expected, "{request:?}");
        }
    }
}
