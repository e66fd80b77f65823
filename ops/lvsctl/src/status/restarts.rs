//! Orders to restart that went wrong or wait for somebody.

use fulcrum_proto::v1;

use super::view::View;

/// Each of them, with what its agent says.
pub(super) fn problems(view: &View<'_>, problems: &mut Vec<String>) {
    let servers = view.evidence.values().flat_map(|evidence| &evidence.servers);
    problems.extend(servers.filter_map(problem));
}

fn problem(server: &v1::ServerEvidence) -> Option<String> {
    let v1::ServerEvidence { real_server, restart, .. } = server;
    let restart = restart.as_ref()?;
    let order = restart.id.split('@').next().unwrap_or_default();
    let what = match restart.state() {
        v1::RestartState::Waiting => "waits",
        v1::RestartState::Failed => "failed",
        v1::RestartState::Running | v1::RestartState::Done | v1::RestartState::Unspecified => {
            return None;
        }
    };
    Some(format!("{real_server}: its restart by order {order} {what}: {}", restart.detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_or_runs_is_no_problem() {
        let told = |state: v1::RestartState| {
            let restart = v1::RestartEvidence {
                id: "rollout-1-2@7".to_owned(),
                state: state.into(),
                detail: "exit status: 1".to_owned(),
                ..v1::RestartEvidence::default()
            };
            problem(&v1::ServerEvidence {
                real_server: "web1".to_owned(),
                restart: Some(restart),
                ..v1::ServerEvidence::default()
            })
        };
        assert_eq!(
            told(v1::RestartState::Failed).as_deref(),
            Some("web1: its restart by order rollout-1-2 failed: exit status: 1")
        );
        assert_eq!(
            told(v1::RestartState::Waiting).as_deref(),
            Some("web1: its restart by order rollout-1-2 waits: exit status: 1")
        );
        assert_eq!(told(v1::RestartState::Running), None);
        assert_eq!(told(v1::RestartState::Done), None);
        assert_eq!(problem(&v1::ServerEvidence::default()), None);
    }
}
