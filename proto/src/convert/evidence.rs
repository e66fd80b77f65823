//! Evidence both ways. Times are carried in whole milliseconds, a probe's answer in microseconds.

use std::time::{Duration, SystemTime};

use fulcrum_model::{Evidence, EvidenceStamp, ServerEvidence, ServerLoad, VipEvidence};

use super::fields::Fields;
use super::{ConvertError, enums, restart};
use crate::v1;

impl From<&Evidence> for v1::Evidence {
    fn from(evidence: &Evidence) -> Self {
        Self {
            agent: evidence.agent.to_string(),
            epoch: evidence.stamp.epoch,
            sequence: evidence.stamp.sequence,
            age_ms: millis(evidence.age),
            valid_for_ms: millis(evidence.valid_for),
            boot_id: evidence.boot_id.clone(),
            servers: evidence.servers.iter().map(server_to_wire).collect(),
            vips: evidence
                .vips
                .iter()
                .map(|vip| v1::VipEvidence {
                    vip: vip.vip.to_string(),
                    bound: vip.bound,
                    arp_safe: vip.arp_safe,
                    detail: vip.detail.clone(),
                })
                .collect(),
            traceparent: evidence.traceparent.clone(),
        }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn server_to_wire(server: &ServerEvidence) -> v1::ServerEvidence {
    v1::ServerEvidence {
        real_server: server.real_server.to_string(),
        verdict: enums::verdict_to_wire(server.verdict).into(),
        reasons: server.reasons.clone(),
        pid: server.pid.unwrap_or(0),
        probe_us: server
            .probe_time
            // 0 says that there was no answer, so an answer takes at least 1 µs.
            .map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)),
        http_status: server.http_status.map_or(0, u32::from),
        load: server.load.map(|load| v1::ServerLoad {
            busy_threads: load.busy_threads,
            max_threads: load.max_threads,
            request_count: load.request_count,
            error_count: load.error_count,
            sessions: load.sessions,
            gc_share_permille: load.gc_share_permille,
            mean_request_us: load.mean_request_us,
            contexts_stopped: load.contexts_stopped,
        }),
        exit_seen_at: server.exit_seen_at.map(Into::into),
        restart: server.restart.as_ref().map(restart::evidence_to_wire),
    }
}

impl TryFrom<&v1::Evidence> for Evidence {
    type Error = ConvertError;

    /// # Errors
    /// [`ConvertError`] with every bad field.
    fn try_from(wire: &v1::Evidence) -> Result<Self, ConvertError> {
        Fields::read(|fields| evidence(fields, wire))
    }
}

fn evidence(fields: &mut Fields<'_>, wire: &v1::Evidence) -> Option<Evidence> {
    let agent = fields.name("agent", &wire.agent, "name the agent");
    let mut servers = Vec::with_capacity(wire.servers.len());
    for (index, wire) in wire.servers.iter().enumerate() {
        servers.extend(server(&mut fields.within(&format!("servers[{index}]")), wire));
    }
    let mut vips = Vec::with_capacity(wire.vips.len());
    for (index, wire) in wire.vips.iter().enumerate() {
        let vip = fields.within(&format!("vips[{index}]")).address("vip", &wire.vip, "the VIP");
        vips.extend(vip.map(|vip| VipEvidence {
            vip,
            bound: wire.bound,
            arp_safe: wire.arp_safe,
            detail: wire.detail.clone(),
        }));
    }
    Some(Evidence {
        agent: agent?,
        stamp: EvidenceStamp { epoch: wire.epoch, sequence: wire.sequence },
        age: Duration::from_millis(u64::from(wire.age_ms)),
        valid_for: Duration::from_millis(u64::from(wire.valid_for_ms)),
        boot_id: wire.boot_id.clone(),
        servers,
        vips,
        traceparent: wire.traceparent.clone(),
    })
}

fn server(fields: &mut Fields<'_>, wire: &v1::ServerEvidence) -> Option<ServerEvidence> {
    let real_server = fields.name("real_server", &wire.real_server, "name the real server");
    let verdict = enums::verdict(fields, "verdict", wire.verdict);
    let http_status = match wire.http_status {
        0 => Some(None),
        status => {
            let read = u16::try_from(status).ok();
            fields.accept("http_status", read, status, "an HTTP status has three digits").map(Some)
        }
    };
    let exit_seen_at = match wire.exit_seen_at {
        None => Some(None),
        Some(at) => {
            let read = SystemTime::try_from(at).ok();
            fields.accept("exit_seen_at", read, at, "use the years 1 to 9999").map(Some)
        }
    };
    let restart = restart::evidence(fields, wire.restart.as_ref());
    Some(ServerEvidence {
        real_server: real_server?,
        verdict: verdict?,
        reasons: wire.reasons.clone(),
        pid: Some(wire.pid).filter(|pid| *pid != 0),
        probe_time: Some(wire.probe_us).filter(|us| *us != 0).map(Duration::from_micros),
        http_status: http_status?,
        load: wire.load.map(|load| ServerLoad {
            busy_threads: load.busy_threads,
            max_threads: load.max_threads,
            request_count: load.request_count,
            error_count: load.error_count,
            sessions: load.sessions,
            gc_share_permille: load.gc_share_permille,
            mean_request_us: load.mean_request_us,
            contexts_stopped: load.contexts_stopped,
        }),
        exit_seen_at: exit_seen_at?,
        restart: restart?,
    })
}
