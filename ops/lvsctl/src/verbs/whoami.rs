//! `lvsctl whoami`

use std::fmt::Write as _;

use fulcrum_proto::convert::role_from_wire;
use fulcrum_proto::v1;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::text::{message_to_node, to_json, to_yaml};

pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let answer =
        controllers
            .ask(|channel| async move {
                connect::access(channel).get_caller(v1::GetCallerRequest {}).await
            })
            .await
            .map_err(|refusal| refusal.failure("cannot tell who you are"))?;
    let name = "fulcrum.v1.GetCallerResponse";
    out::print(&match global.output.unwrap_or(Output::Table) {
        Output::Json => to_json(&message_to_node(name, &answer)),
        Output::Yaml => to_yaml(&message_to_node(name, &answer)),
        Output::Table => told(&answer),
    })?;
    Ok(Exit::Ok)
}

fn told(answer: &v1::GetCallerResponse) -> String {
    let mut text = format!("{}\n", answer.who);
    // Writing to a String cannot fail.
    if let Some(ends) = &answer.certificate_ends {
        let _ = writeln!(text, "your certificate ends {ends}");
    }
    if answer.unrestricted {
        text.push_str("you may do everything: no identity is asked of you here\n");
    } else if answer.grants.is_empty() {
        text.push_str("you are granted nothing as an operator\n");
    }
    for v1::Grant { rule, role, sites } in &answer.grants {
        let role = role_from_wire(*role).map_or("?", |role| role.as_str());
        let by = if rule.is_empty() {
            "[access] admins of the controllers".to_owned()
        } else {
            format!("AccessRule {rule}")
        };
        let of = if sites.is_empty() { String::new() } else { format!(" of {}", sites.join(", ")) };
        let _ = writeln!(text, "{role}{of}, by {by}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_may_do_is_told() {
        let grant = |rule: &str, role: v1::AccessRole, sites: &[&str]| v1::Grant {
            rule: rule.to_owned(),
            role: role.into(),
            sites: sites.iter().map(ToString::to_string).collect(),
        };
        let mut answer = v1::GetCallerResponse {
            who: "spiffe://fulcrum/operator/anna".to_owned(),
            grants: vec![
                grant("", v1::AccessRole::Admin, &[]),
                grant("night", v1::AccessRole::Operator, &["east", "west"]),
            ],
            ..v1::GetCallerResponse::default()
        };
        assert_eq!(
            told(&answer),
            "spiffe://fulcrum/operator/anna\nadmin, by [access] admins of the controllers\noperator of east, west, by AccessRule night\n"
        );
        answer.grants.clear();
        assert!(told(&answer).contains("granted nothing"));
        answer.unrestricted = true;
        assert!(told(&answer).contains("everything"));
    }
}
