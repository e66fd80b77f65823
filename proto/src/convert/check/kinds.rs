//! What a try is, both ways.

use std::fmt::Write as _;

use fulcrum_model::{
    CommandCheck, DnsCheck, DnsRecord, FileCheck, GrpcCheck, ProbeKind, RedisCheck, SmtpCheck,
    UdpCheck,
};

use super::{http, optional_file, optional_text};
use crate::convert::command;
use crate::convert::fields::Fields;
use crate::v1;
use crate::v1::check::Probe;

/// Longest domain name as text (RFC 1035 section 2.3.4, less the root's length byte), and longest label.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
/// Longest datagram that is read as an answer.
const MAX_REPLY: u16 = 65_507;

pub(super) fn probe(fields: &mut Fields<'_>, wire: Option<&Probe>) -> Option<ProbeKind> {
    match wire {
        None => Some(ProbeKind::Tcp(None)),
        Some(Probe::Tcp(tcp)) => {
            http::tls(&mut fields.within("tcp"), tcp.tls.as_ref()).map(ProbeKind::Tcp)
        }
        Some(Probe::Http(wire)) => {
            http::check(&mut fields.within("http"), wire).map(ProbeKind::Http)
        }
        Some(Probe::Grpc(wire)) => grpc(&mut fields.within("grpc"), wire).map(ProbeKind::Grpc),
        Some(Probe::Udp(wire)) => udp(&mut fields.within("udp"), wire).map(ProbeKind::Udp),
        Some(Probe::Icmp(v1::IcmpCheck {})) => Some(ProbeKind::Icmp),
        Some(Probe::Dns(wire)) => dns(&mut fields.within("dns"), wire).map(ProbeKind::Dns),
        Some(Probe::Smtp(wire)) => {
            let mut fields = fields.within("smtp");
            let helo = optional_text(&mut fields, "helo", &wire.helo, |c| c.is_ascii_graphic())?;
            let helo = helo.unwrap_or_else(|| "localhost".to_owned());
            Some(ProbeKind::Smtp(SmtpCheck { helo }))
        }
        Some(Probe::Redis(wire)) => {
            let mut fields = fields.within("redis");
            let password_file = optional_file(&mut fields, "password_file", &wire.password_file)?;
            Some(ProbeKind::Redis(RedisCheck { password_file }))
        }
        Some(Probe::Mysql(v1::MysqlCheck {})) => Some(ProbeKind::Mysql),
        Some(Probe::Command(wire)) => {
            let mut fields = fields.within("command");
            let program = command::program(&mut fields, &wire.program);
            let arguments = command::arguments(&mut fields, &wire.arguments);
            let (program, arguments) = (program?, arguments?);
            let sets_weight = wire.sets_weight;
            Some(ProbeKind::Command(CommandCheck { program, arguments, sets_weight }))
        }
        Some(Probe::File(wire)) => {
            let mut fields = fields.within("file");
            let path = optional_file(&mut fields, "path", &wire.path)?;
            let path = fields.accept("path", path, "none", "give the file's absolute path")?;
            Some(ProbeKind::File(FileCheck { path }))
        }
    }
}

fn grpc(fields: &mut Fields<'_>, wire: &v1::GrpcCheck) -> Option<GrpcCheck> {
    let service = optional_text(fields, "service", &wire.service, |c| c.is_ascii_graphic());
    let tls = http::tls(fields, wire.tls.as_ref());
    Some(GrpcCheck { service: service?.unwrap_or_default(), tls: tls? })
}

fn udp(fields: &mut Fields<'_>, wire: &v1::UdpCheck) -> Option<UdpCheck> {
    let payload = from_hex(&wire.payload).filter(|bytes| bytes.len() <= UdpCheck::MAX_PAYLOAD);
    let payload = fields.accept(
        "payload",
        payload,
        format_args!("{:?}", wire.payload),
        "give pairs of hexadecimal digits, of at most 1232 bytes",
    );
    let min_reply = match wire.min_reply {
        None => Some(None),
        Some(bytes) => {
            let read = u16::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_REPLY);
            fields.accept("min_reply", read, bytes, "an answer has at most 65507 bytes").map(Some)
        }
    };
    Some(UdpCheck { payload: payload?, min_reply: min_reply? })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn dns(fields: &mut Fields<'_>, wire: &v1::DnsCheck) -> Option<DnsCheck> {
    let name = match wire.name.as_str() {
        "" | "." => Some(".".to_owned()),
        text => {
            let labels = text.strip_suffix('.').unwrap_or(text);
            let is_label = |label: &str| {
                (1..=MAX_LABEL_BYTES).contains(&label.len())
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            };
            let is_name = labels.len() <= MAX_NAME_BYTES && labels.split('.').all(is_label);
            let name = is_name.then(|| text.to_owned());
            fields.accept(
                "name",
                name,
                format_args!("{text:?}"),
                "give a domain name, such as example.org",
            )
        }
    };
    let record = match v1::DnsRecord::try_from(wire.record) {
        Ok(v1::DnsRecord::Unspecified | v1::DnsRecord::Soa) => Some(DnsRecord::Soa),
        Ok(v1::DnsRecord::A) => Some(DnsRecord::A),
        Ok(v1::DnsRecord::Ns) => Some(DnsRecord::Ns),
        Ok(v1::DnsRecord::Cname) => Some(DnsRecord::Cname),
        Ok(v1::DnsRecord::Mx) => Some(DnsRecord::Mx),
        Ok(v1::DnsRecord::Txt) => Some(DnsRecord::Txt),
        Ok(v1::DnsRecord::Aaaa) => Some(DnsRecord::Aaaa),
        Err(_) => None,
    };
    let record =
        fields.accept("record", record, wire.record, "use a, ns, cname, soa, mx, txt or aaaa");
    Some(DnsCheck { name: name?, record: record? })
}

fn record_to_wire(record: DnsRecord) -> v1::DnsRecord {
    match record {
        DnsRecord::A => v1::DnsRecord::A,
        DnsRecord::Ns => v1::DnsRecord::Ns,
        DnsRecord::Cname => v1::DnsRecord::Cname,
        DnsRecord::Soa => v1::DnsRecord::Soa,
        DnsRecord::Mx => v1::DnsRecord::Mx,
        DnsRecord::Txt => v1::DnsRecord::Txt,
        DnsRecord::Aaaa => v1::DnsRecord::Aaaa,
    }
}

pub(super) fn probe_to_wire(probe: &ProbeKind) -> Probe {
    match probe {
        ProbeKind::Tcp(tls) => {
            Probe::Tcp(v1::TcpCheck { tls: tls.as_ref().map(http::tls_to_wire) })
        }
        ProbeKind::Http(check) => Probe::Http(http::check_to_wire(check)),
        ProbeKind::Grpc(check) => Probe::Grpc(v1::GrpcCheck {
            service: check.service.clone(),
            tls: check.tls.as_ref().map(http::tls_to_wire),
        }),
        ProbeKind::Udp(check) => Probe::Udp(v1::UdpCheck {
            payload: to_hex(&check.payload),
            min_reply: check.min_reply.map(u32::from),
        }),
        ProbeKind::Icmp => Probe::Icmp(v1::IcmpCheck {}),
        ProbeKind::Dns(check) => Probe::Dns(v1::DnsCheck {
            name: check.name.clone(),
            record: record_to_wire(check.record).into(),
        }),
        ProbeKind::Smtp(check) => Probe::Smtp(v1::SmtpCheck { helo: check.helo.clone() }),
        ProbeKind::Redis(check) => Probe::Redis(v1::RedisCheck {
            password_file: check.password_file.clone().unwrap_or_default(),
        }),
        ProbeKind::Mysql => Probe::Mysql(v1::MysqlCheck {}),
        ProbeKind::Command(check) => Probe::Command(v1::CommandCheck {
            program: check.program.clone(),
            arguments: check.arguments.clone(),
            sets_weight: check.sets_weight,
        }),
        ProbeKind::File(check) => Probe::File(v1::FileCheck { path: check.path.clone() }),
    }
}
