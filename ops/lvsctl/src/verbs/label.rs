//! `lvsctl label`

use std::collections::BTreeMap;

use fulcrum_proto::v1;

use super::get::parse_kind;
use super::writing::Writing;
use crate::cli::Global;
use crate::connect::{self, Controllers};
use crate::exit::{Exit, Failure};
use crate::manifest::empty_spec;
use crate::order::refused;

/// Which labels, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kind: site, director, vrrp-instance, real-server, pool, virtual-server, handover, drain, restart, notification-policy, access-rule or join-token.
    #[arg(value_parser = parse_kind)]
    kind: v1::Kind,
    /// The resource's name.
    name: String,
    /// Labels: KEY=VALUE sets one, KEY- takes one away.
    #[arg(required = true, value_name = "KEY=VALUE|KEY-", value_parser = parse_change)]
    labels: Vec<Change>,
    #[command(flatten)]
    writing: Writing,
}

/// A label that is set, or taken away where it has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    key: String,
    value: Option<String>,
}

fn parse_change(text: &str) -> Result<Change, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text.strip_suffix('-').unwrap_or_default(), None),
    };
    if key.is_empty() || key.contains('`') {
        return Err(
            "write KEY=VALUE to set a label, such as rack=a1, or KEY- to take it away, such as rack-; a key holds no backtick"
                .to_owned(),
        );
    }
    Ok(Change { key: key.to_owned(), value })
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { kind, name, labels, writing } = arguments;
    let Some(spec) = empty_spec(kind) else {
        return Err(Failure::usage("labels are of one resource: lvsctl label KIND NAME KEY=VALUE"));
    };
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let (labels, paths) = mask(&labels)?;
    let metadata = v1::Metadata { name, labels, ..v1::Metadata::default() };
    let v1::ApplyRequest {
        validate_only,
        if_revision,
        request_id,
        reason,
        allow_drastic,
        confirm_within,
        ..
    } = writing.request();
    let request = v1::UpdateResourceRequest {
        resource: Some(v1::Resource { metadata: Some(metadata), spec: Some(spec) }),
        update_mask: Some(prost_types::FieldMask { paths }),
        allow_missing: false,
        validate_only,
        if_revision,
        request_id,
        reason,
        allow_drastic,
        confirm_within,
    };
    let answer = controllers
        .ask(|channel| {
            let request = request.clone();
            async move { connect::intent(channel).update_resource(request).await }
        })
        .await
        .map_err(|refusal| refused(refusal, "no label was changed"))?;
    let v1::UpdateResourceResponse { revision, changes, agent_changes, confirm_by, .. } = answer;
    let answer = v1::ApplyResponse { revision, changes, agent_changes, confirm_by };
    writing.end(global, &controllers, &answer).await
}

/// The labels to set, and the paths of all that change.
fn mask(changes: &[Change]) -> Result<(BTreeMap<String, String>, Vec<String>), Failure> {
    let (mut labels, mut paths) = (BTreeMap::new(), Vec::new());
    for Change { key, value } in changes {
        let path = format!("metadata.labels.`{key}`");
        if paths.contains(&path) {
            return Err(Failure::usage(format!("{key} is given twice: set it or take it away")));
        }
        paths.push(path);
        labels.extend(value.clone().map(|value| (key.clone(), value)));
    }
    Ok((labels, paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_taken_away() {
        let change = |key: &str, value: Option<&str>| Change {
            key: key.to_owned(),
            value: value.map(ToOwned::to_owned),
        };
        let cases = [
            ("rack=a1", Some(change("rack", Some("a1")))),
            ("rack=", Some(change("rack", Some("")))),
            ("a=b=c", Some(change("a", Some("b=c")))),
            ("rack-", Some(change("rack", None))),
            ("a-=b", Some(change("a-", Some("b")))),
            ("rack", None),
            ("-", None),
            ("=a", None),
            ("a`b=c", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_change(text).ok(), expected, "{text}");
        }
        let changes = [change("a.b", Some("1")), change("c", None)];
        let (labels, paths) = mask(&changes).expect("each once");
        assert_eq!(labels, BTreeMap::from([("a.b".to_owned(), "1".to_owned())]));
        assert_eq!(paths, ["metadata.labels.`a.b`", "metadata.labels.`c`"]);
        assert!(mask(&[change("a", None), change("a", Some("1"))]).is_err());
    }
}
