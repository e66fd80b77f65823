//! Arbitrary notification policies.

use std::time::Duration;

use fulcrum_model::{
    CommandChannel, EventKind, EventSeverity, NotificationPolicy, SmtpChannel, SmtpTls,
    WebhookChannel,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{name, port};

const ADDRESS: &str = "[a-z+]{1,9}@[a-z]{1,9}\\.[a-z]{2,3}";

pub(super) fn policy() -> impl Strategy<Value = NotificationPolicy> {
    let severity = select(vec![EventSeverity::Info, EventSeverity::Warning, EventSeverity::Error]);
    let selector = select(vec!["", "rack=a1", "!spare,tier in (web, mail)"]);
    let which = (btree_set((1_i32..99).prop_map(EventKind), 0..3), severity, vec(name(), 0..3));
    let times = (0_u64..=600, 0_u64..=86_400, 60_u64..=604_800);
    let channels = (option::of(smtp()), option::of(webhook()), command());
    (which, selector, times, channels).prop_map(
        |((kinds, least_severity, sites), selector, times, (smtp, webhook, command))| {
            NotificationPolicy {
                kinds,
                least_severity,
                sites,
                label_selector: selector.to_owned(),
                group_wait: Duration::from_secs(times.0),
                group_interval: Duration::from_secs(times.1),
                give_up_after: Duration::from_secs(times.2),
                command: (smtp.is_none() && webhook.is_none()).then_some(command),
                smtp,
                webhook,
            }
        },
    )
}

fn smtp() -> impl Strategy<Value = SmtpChannel> {
    let tls = select(vec![SmtpTls::None, SmtpTls::StartTls, SmtpTls::Implicit]);
    let file = option::of("/[a-z]{1,9}");
    let login = option::of(("[a-z@ ]{1,9}", "[a-z]{1,9}"));
    let whom = ("[a-z.]{1,9}", port(), ADDRESS, vec(ADDRESS, 1..3));
    (whom, 1_u64..=300, option::of("[a-z]{1,9}"), tls, file, login).prop_map(
        |((server, port, from, to), timeout, router_id, tls, ca_file, login)| SmtpChannel {
            server,
            port,
            from,
            to,
            connect_timeout: Duration::from_secs(timeout),
            router_id,
            tls,
            ca_file,
            login: login.filter(|_| tls != SmtpTls::None),
        },
    )
}

fn webhook() -> impl Strategy<Value = WebhookChannel> {
    let headers = btree_map("x-[a-z]{1,9}", "[ -~]{0,9}", 0..3);
    let file = option::of("/[a-z]{1,9}");
    ("https?://[a-z]{1,9}(:80)?/[a-z]{0,9}", 100_u64..=300_000, headers, file).prop_map(
        |(url, timeout, headers, ca_file)| WebhookChannel {
            url,
            timeout: Duration::from_millis(timeout),
            headers,
            bearer_token_file: ca_file.as_ref().map(|_| "token".to_owned()),
            ca_file,
        },
    )
}

fn command() -> impl Strategy<Value = CommandChannel> {
    ("[a-z]{1,9}", vec("[ -~]{0,9}", 0..3), 100_u64..=300_000).prop_map(
        |(program, arguments, timeout)| CommandChannel {
            program,
            arguments,
            timeout: Duration::from_millis(timeout),
        },
    )
}
