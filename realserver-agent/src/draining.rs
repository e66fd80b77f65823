//! What an order at the agent makes of a server's verdict.

use fulcrum_model::{LocalOrder, ServerEvidence, Verdict};

/// The evidence of a server that is drained by `order`: draining, whatever it is otherwise, which is told beside.
pub fn draining(found: ServerEvidence, order: &LocalOrder) -> ServerEvidence {
    let LocalOrder { owner, reason, .. } = order;
    let mut reasons = vec![format!("drained by {owner}: {reason} (drain local/{owner})")];
    let otherwise = found.reasons.join("; ");
    reasons.push(format!("otherwise {}: {otherwise}", found.verdict.as_str()));
    ServerEvidence { verdict: Verdict::Draining, reasons, ..found }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_drained_server_is_draining_whatever_it_is() {
        let since = SystemTime::UNIX_EPOCH;
        let order = LocalOrder {
            owner: "bob".to_owned(),
            reason: "new JDK".to_owned(),
            since,
            expires_at: since + Duration::from_mins(15),
            up_until: Duration::from_mins(15),
        };
        let cases = [
            (Verdict::Up, "answers 200", "otherwise up: answers 200"),
            (Verdict::Down, "process 8 exited", "otherwise down: process 8 exited"),
            (Verdict::Unknown, "not tried yet", "otherwise unknown: not tried yet"),
        ];
        for (verdict, reason, otherwise) in cases {
            let found = ServerEvidence {
                exit_seen_at: None,
                restart: None,
                real_server: "web1".parse().unwrap(),
                verdict,
                reasons: vec![reason.to_owned()],
                pid: Some(8),
                probe_time: None,
                http_status: Some(200),
                load: None,
            };
            let told = draining(found.clone(), &order);
            assert_eq!(told.verdict, Verdict::Draining);
            assert_eq!(told.reasons, ["drained by bob: new JDK (drain local/bob)", otherwise]);
            assert_eq!((told.pid, told.http_status), (found.pid, found.http_status));
        }
    }
}
