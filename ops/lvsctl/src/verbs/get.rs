//! `lvsctl get`

mod follow;

use fulcrum_proto::selector::Selector;
use fulcrum_proto::v1;
use tonic_types::StatusExt as _;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers, Refusal};
use crate::exit::{Exit, Failure};
use crate::manifest::{kind_of, kinds, resource_to_node};
use crate::out;
use crate::suggest::suggest;
use crate::table::Table;
use crate::text::{Node, to_json, to_yaml};

/// Resources asked for at once, the most that a page has.
const PAGE: u32 = 1000;
/// A list that others outrun this often is given up: they write a thousand times while it is read.
const MAX_ATTEMPTS: u32 = 3;

/// What to print.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kind: site, director, vrrp-instance, real-server, pool, virtual-server, handover, drain, restart, access-rule, join-token, or all.
    #[arg(value_parser = parse_kind, default_value = "all")]
    kind: v1::Kind,
    /// Only the resource of this name.
    name: Option<String>,
    /// Only resources that have this label. May be given several times: all must hold.
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// Only resources whose labels are such: 'rack=a1,!spare,tier in (web, mail)'; also key, key!=value, key notin (a, b).
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TERMS", value_parser = parse_selector)]
    selector: String,
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
    /// Print what the controller asked has, without asking the leader: it may be old. For when no controller leads.
    #[arg(long)]
    stale: bool,
}

/// Checked here already, for a controller of an older release would pass it over.
fn parse_selector(text: &str) -> Result<String, String> {
    let read: Result<Selector, _> = text.parse();
    read.map(|_| text.to_owned()).map_err(|error| error.to_string())
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
    let Arguments { kind, name, label, selector, prefix: name_prefix, watch, from_revision, stale } =
        arguments;
    let is_filtered = !label.is_empty() || !selector.is_empty() || !name_prefix.is_empty() || watch;
    let label_selector = selector;
    let labels = label.into_iter().collect();
    let format = global.output.unwrap_or(Output::Yaml);
    match name {
        Some(_) if kind == v1::Kind::Unspecified => {
            Err(Failure::usage("a name needs a kind: lvsctl get KIND NAME"))
        }
        Some(_) if is_filtered => {
            let text = "--label, --selector, --prefix and --watch are of many resources: leave the name out, or use --prefix NAME";
            Err(Failure::usage(text))
        }
        None if watch => {
            let kind = kind.into();
            let request = v1::WatchResourcesRequest {
                from_revision,
                kind,
                name_prefix,
                labels,
                label_selector,
                stale,
            };
            // A stream of changes: lines are for people here, manifests for programs.
            follow::run(&controllers, request, global.output.unwrap_or(Output::Table)).await
        }
        Some(name) => {
            let request = v1::GetRequest { kind: kind.into(), name, stale };
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
            let request = v1::ListRequest {
                kind: kind.into(),
                name_prefix,
                labels,
                page_size: PAGE,
                page_token: String::new(),
                label_selector,
                stale,
            };
            let listed = list(&controllers, &request).await;
            let mut resources = listed.map_err(|refusal| refusal.failure("cannot list"))?;
            // A controller of an older release knows no filter and answers with all.
            let selector: Selector = request.label_selector.parse().unwrap_or_default();
            resources.retain(|resource| takes(&request, &selector, resource));
            out::print(&render(&resources, false, format))?;
            Ok(Exit::Ok)
        }
    }
}

/// Asks page by page for all of them.
async fn list(
    controllers: &Controllers,
    request: &v1::ListRequest,
) -> Result<Vec<v1::Resource>, Refusal> {
    let mut resources = Vec::new();
    let mut page_token = String::new();
    let mut attempts = 0;
    loop {
        let request = v1::ListRequest { page_token: page_token.clone(), ..request.clone() };
        let answer = controllers.ask(|channel| {
            let request = request.clone();
            async move { connect::intent(channel).list(request).await }
        });
        match answer.await {
            Ok(answer) => {
                add(&mut resources, answer.resources);
                if answer.next_page_token.is_empty() {
                    return Ok(resources);
                }
                page_token = answer.next_page_token;
            }
            // So much was written meanwhile that the first page is no longer known.
            Err(Refusal::Answered(status))
                if attempts < MAX_ATTEMPTS && !page_token.is_empty() && is_not_kept(&status) =>
            {
                attempts += 1;
                page_token.clear();
                resources.clear();
            }
            Err(refusal) => return Err(refusal),
        }
    }
}

fn is_not_kept(status: &tonic::Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == "REVISION_NOT_KEPT")
}

/// Adds a page. One that does not go on after the last is all that there is: a controller of an older release knows no pages.
fn add(resources: &mut Vec<v1::Resource>, page: Vec<v1::Resource>) {
    let place = |resource: &v1::Resource| {
        let kind = kinds().iter().position(|(kind, _)| kind == kind_of(resource));
        (kind, resource.metadata.as_ref().map(|metadata| metadata.name.clone()))
    };
    let goes_on = match (resources.last(), page.first()) {
        (Some(last), Some(first)) => place(first) > place(last),
        (None, _) | (_, None) => true,
    };
    if !goes_on {
        resources.clear();
    }
    resources.extend(page);
}

/// Whether a resource is among those that were asked for by name and labels.
fn takes(request: &v1::ListRequest, selector: &Selector, resource: &v1::Resource) -> bool {
    let metadata = resource.metadata.as_ref();
    metadata.is_some_and(|metadata| {
        metadata.name.starts_with(&request.name_prefix)
            && request.labels.iter().all(|(key, value)| metadata.labels.get(key) == Some(value))
            && selector.takes(&metadata.labels)
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
        type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, bool);
        let labels = [("rack", "a1"), ("room", "2")].map(|(key, value)| (key.into(), value.into()));
        let metadata =
            v1::Metadata { name: "mail-a".to_owned(), labels: labels.into(), ..Default::default() };
        let resource = v1::Resource { metadata: Some(metadata), spec: None };
        let cases: [Case; 8] = [
            ("", &[], "", true),
            ("mail-", &[("rack", "a1")], "", true),
            ("", &[("rack", "a1"), ("room", "2")], "room in (1, 2)", true),
            ("web-", &[], "", false),
            ("mail-", &[("rack", "a2")], "", false),
            ("", &[("rack", "a1"), ("row", "2")], "", false),
            ("", &[], "!rack", false),
            ("", &[], "row!=2", true),
        ];
        for (prefix, labels, selector, expected) in cases {
            let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into()));
            let name_prefix = prefix.to_owned();
            let labels = labels.collect();
            let request = v1::ListRequest { name_prefix, labels, ..Default::default() };
            let selector = selector.parse().expect("a good selector");
            assert_eq!(takes(&request, &selector, &resource), expected, "{request:?}");
        }
    }

    #[test]
    fn pages_add_up_also_where_an_older_controller_answers() {
        let site = |name: &str| {
            let metadata = v1::Metadata { name: name.to_owned(), ..Default::default() };
            let spec = Some(v1::resource::Spec::Site(v1::Site::default()));
            v1::Resource { metadata: Some(metadata), spec }
        };
        let pool = |name: &str| {
            let spec = Some(v1::resource::Spec::Pool(v1::Pool::default()));
            v1::Resource { spec, ..site(name) }
        };
        let mut all = Vec::new();
        add(&mut all, vec![site("a"), site("z")]);
        add(&mut all, vec![pool("a")]);
        add(&mut all, Vec::new());
        assert_eq!(all, [site("a"), site("z"), pool("a")]);
        let whole = [site("a"), site("z"), pool("a"), pool("b")];
        add(&mut all, whole.to_vec());
        assert_eq!(all, whole);
    }
}
