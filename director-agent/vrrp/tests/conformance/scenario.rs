//! Plays the lines of a scenario to an instance.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::resource::{AuthPass, VrrpChecksum, VrrpVersion};
use fulcrum_model::{Cidr, Priority, Vrid, VrrpOptions};
use fulcrum_vrrp::{
    AddressList, Advert, Authentication, Body, Centiseconds, Change, Config, Datagram, Family,
    HoldInput, Input, Instance, Output, Outputs, Seconds, WallClock, checksum,
};

use fulcrum_vrrp::virtual_mac::ethernet_header;

use crate::host::Host;

#[derive(Default)]
pub(crate) struct Scenario {
    instance: Option<Instance>,
    host: Option<Host>,
    now: Duration,
}

/// `key=value` words after the first.
struct Words<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    fn new(words: impl Iterator<Item = &'a str>) -> Self {
        Self(words.map(|word| word.split_once('=').unwrap_or((word, "yes"))).collect())
    }

    fn text(&self, key: &str, otherwise: &'a str) -> &'a str {
        self.0.get(key).copied().unwrap_or(otherwise)
    }

    fn number(&self, key: &str, otherwise: u64) -> u64 {
        self.0.get(key).map_or(otherwise, |text| text.parse().expect("a number"))
    }

    fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    fn list<T: std::str::FromStr>(&self, key: &str, otherwise: &'a str) -> Vec<T> {
        let parse = |part: &str| part.parse().ok().expect("an address");
        self.text(key, otherwise).split(',').filter(|part| !part.is_empty()).map(parse).collect()
    }
}

impl Scenario {
    pub(crate) fn take(&mut self, line: &str) -> Vec<String> {
        let mut parts = line.split_whitespace();
        let command = parts.next().expect("a command");
        let words = Words::new(parts.clone());
        let argument = parts.next().unwrap_or_default();
        match command {
            "new" => return self.make(&words),
            "at" => {
                self.now = Duration::from_millis(argument.parse().expect("milliseconds"));
                return Vec::new();
            }
            "due" => {
                let instance = self.instance.as_ref().expect("an instance");
                self.now = instance.deadline().expect("a timer runs");
                return self.step(Input::Tick);
            }
            "hear" => return self.hear(&words),
            "place" => return self.host().place(),
            "find" => {
                let now = self.now;
                self.host().find(now);
                return Vec::new();
            }
            _ => {}
        }
        let input = match command {
            "up" => Input::Up,
            "resume" => Input::Resume,
            "down" => Input::Down,
            "shutdown" => Input::Shutdown,
            "tick" => Input::Tick,
            "take-over" => Input::TakeOver,
            "priority" => {
                let number = argument.parse().expect("a number");
                Input::Priority(Priority::new(number).expect("a priority"))
            }
            "hold" => Input::HoldPreemption(argument == "on"),
            other => panic!("unknown command {other}"),
        };
        self.step(input)
    }

    fn make(&mut self, words: &Words<'_>) -> Vec<String> {
        let is_v6 = words.has("ipv6");
        let (vips, source) =
            if is_v6 { ("fe80::150/64", "fe80::5") } else { ("10.0.0.150/24", "10.0.0.5") };
        let ms = |key, otherwise| Duration::from_millis(words.number(key, otherwise));
        let plan = VrrpInstancePlan {
            name: "vi".parse().expect("a name"),
            vrid: Vrid::new(51).expect("a VRID"),
            version: match words.text("version", "3") {
                "2" => VrrpVersion::V2,
                "3" => VrrpVersion::V3,
                _ => VrrpVersion::V2AndV3,
            },
            advert_interval: ms("interval", 1000),
            interface: "eth0".to_owned(),
            priority: Priority::new(words.number("priority", 100)).expect("a priority"),
            preempt: words.text("preempt", "yes") == "yes",
            auth_pass: words.0.get("pass").and_then(|pass| AuthPass::new(pass)),
            vips: words.list::<Cidr>("vips", vips),
            source: words.text("source", source).parse().expect("an address"),
            unicast_peers: words.list("peers", ""),
            checksum: match words.text("checksum", "deployed") {
                "rfc9568" => VrrpChecksum::Rfc9568,
                _ => VrrpChecksum::Deployed,
            },
            take_over: words.has("take-over"),
            options: VrrpOptions {
                preempt_delay: ms("preempt-delay", 0),
                startup_delay: ms("startup-delay", 0),
                virtual_mac: words.has("virtual-mac"),
                unicast_min_ttl: u8::try_from(words.number("min-ttl", 255)).expect("a TTL"),
                ..VrrpOptions::default()
            },
        };
        match (Config::from_plan(&plan), &mut self.instance) {
            (Ok(config), Some(instance)) if words.has("edited") => {
                let outputs = instance.reconfigure(self.now, config).expect("the same router");
                self.describe(outputs)
            }
            (Ok(config), _) => {
                self.host = Some(Host::new(&plan, &config));
                self.instance = Some(Instance::new(config).started(self.now));
                Vec::new()
            }
            (Err(error), _) => vec![format!("refused: {error}")],
        }
    }

    fn step(&mut self, input: Input<'_>) -> Vec<String> {
        let instance = self.instance.as_mut().expect("an instance");
        let (now, is_planned) = (self.now, matches!(input, Input::Shutdown));
        let outputs = instance.step(now, input);
        for output in &outputs {
            if let Output::Role(change) = output
                && let Some(input) = HoldInput::of(*change, is_planned)
            {
                self.host().step(now, input);
            }
        }
        self.host().step(now, HoldInput::Tick);
        self.describe(outputs)
    }

    fn host(&mut self) -> &mut Host {
        self.host.as_mut().expect("an instance")
    }

    fn describe(&mut self, outputs: Outputs) -> Vec<String> {
        let (now, wall) = (self.now, WallClock(self.now));
        let mac = self.host().mac;
        let instance = self.instance.as_mut().expect("an instance");
        let mut lines = Vec::new();
        for output in outputs {
            match output {
                Output::Role(Change::Initialize) => lines.push("becomes Initialize".to_owned()),
                Output::Role(Change::Backup { successor }) => {
                    lines.push(format!("becomes Backup{}", name("after", successor)));
                }
                Output::Role(Change::Active { predecessor }) => {
                    lines.push(format!("becomes Active{}", name("relieving", predecessor)));
                }
                Output::Advertise { priority } => {
                    instance.advertise(now, wall, priority, |destination, packet| {
                        let ethernet = mac.and_then(|mac| ethernet_header(mac, destination));
                        let frame = ethernet.map_or(String::new(), |header| hex(&header) + " ");
                        lines.push(format!("sends {destination} {frame}{}", hex(packet)));
                    });
                }
                Output::Announce => lines.push("announces its addresses".to_owned()),
                Output::Relieve { router } => lines.push(format!("relieves {router}")),
                Output::Discard(reason) => lines.push(format!("discards: {}", reason.label())),
            }
        }
        let rest = instance.deadline().map(|at| at.saturating_sub(now));
        let rest = rest.map_or(String::new(), |rest| format!(", timer {rest:?}"));
        lines.push(format!("is {:?}{rest}", instance.role()));
        lines
    }

    fn hear(&mut self, words: &Words<'_>) -> Vec<String> {
        let instance = self.instance.as_mut().expect("an instance");
        let family = if words.has("ipv6") { Family::V6 } else { Family::V4 };
        let (source, vips) = match family {
            Family::V4 => ("10.0.0.4", "10.0.0.150"),
            Family::V6 => ("fe80::4", "fe80::150"),
        };
        let source: IpAddr = words.text("from", source).parse().expect("an address");
        let to = family.group().to_string();
        let destination: IpAddr = words.text("to", &to).parse().expect("an address");
        let message = message(words, source, destination, vips);
        let ttl = u8::try_from(words.number("ttl", 255)).expect("a TTL");
        let datagram = Datagram { source, destination, ttl, message: &message };
        match instance.receive(self.now, WallClock(self.now), &datagram) {
            Err(reason) => vec![format!("discards: {}", reason.label())],
            Ok(received) => {
                let mut lines = Vec::new();
                if received.lists_other_addresses {
                    lines.push("notes that it lists other addresses".to_owned());
                }
                let advert = &received.advert;
                if advert.priority > 0 {
                    let now = self.now;
                    self.host().step(now, HoldInput::Heard);
                }
                lines.extend(self.step(Input::Advert { source: received.source, advert }));
                lines
            }
        }
    }
}

fn message(words: &Words<'_>, source: IpAddr, destination: IpAddr, vips: &str) -> Vec<u8> {
    let is_v2 = words.text("version", "3") == "2";
    let seconds = u8::try_from(words.number("interval", 1000) / 1000).expect("seconds");
    let centiseconds = u16::try_from(words.number("interval", 1000) / 10).expect("centiseconds");
    let pass = words.0.get("pass").and_then(|pass| AuthPass::new(pass));
    let body = if is_v2 {
        Body::V2 {
            interval: Seconds::new(seconds).expect("above 0"),
            authentication: pass
                .map_or(Authentication::None, |p| Authentication::Pass(p.to_bytes())),
        }
    } else {
        Body::V3 { interval: Centiseconds::new(centiseconds).expect("above 0") }
    };
    let addresses = words.text("vips", vips).split(',').map(|vip| vip.parse().expect("a VIP"));
    let advert = Advert {
        vrid: Vrid::new(words.number("vrid", 51)).expect("a VRID"),
        priority: u8::try_from(words.number("priority", 100)).expect("a priority"),
        addresses: AddressList::new(addresses.collect()).expect("one to 255"),
        body,
    };
    let is_rfc = words.text("checksum", "deployed") == "rfc9568";
    let form = if is_rfc { VrrpChecksum::Rfc9568 } else { VrrpChecksum::Deployed };
    let mut message = advert.encode(source, destination, form);
    if let Some((at, value)) = words.text("byte", "").split_once(':') {
        let value = u8::from_str_radix(value, 16).expect("hexadecimal");
        message[at.parse::<usize>().expect("a position")] = value;
        message[6..8].copy_from_slice(&[0, 0]);
        let is_plain = is_v2 || is_rfc;
        let sum = if is_plain {
            checksum::plain(&message)
        } else {
            checksum::with_pseudo_header(&message, source, destination)
        };
        message[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    let length = words.number("bytes", u64::try_from(message.len()).expect("a length"));
    message.truncate(usize::try_from(length).expect("a length"));
    if words.text("checksum", "") == "wrong" {
        message[6] ^= 1;
    }
    message
}

fn name(how: &str, router: Option<IpAddr>) -> String {
    router.map_or(String::new(), |router| format!(" {how} {router}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
