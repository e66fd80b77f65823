//! Notification policies: defaults and bad fields.

use super::*;

fn policy(edit: impl FnOnce(&mut v1::NotificationPolicy)) -> v1::Resource {
    let smtp = v1::SmtpChannel {
        server: "192.168.200.1".to_owned(),
        from: "lvs@example.com".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        ..v1::SmtpChannel::default()
    };
    let mut policy =
        v1::NotificationPolicy { smtp: Some(smtp), ..v1::NotificationPolicy::default() };
    edit(&mut policy);
    named("mail", Wire::NotificationPolicy(policy))
}

fn smtp(edit: fn(&mut v1::SmtpChannel)) -> v1::Resource {
    policy(|policy| edit(policy.smtp.as_mut().expect("it was just set")))
}

fn webhook(edit: fn(&mut v1::WebhookChannel)) -> v1::Resource {
    policy(|policy| {
        let mut webhook =
            v1::WebhookChannel { url: "https://ops/hook".to_owned(), ..Default::default() };
        edit(&mut webhook);
        policy.webhook = Some(webhook);
    })
}

#[test]
fn policies_follow_their_rules() {
    let cases: [(v1::Resource, &[&str]); 14] = [
        (policy(|_| {}), &[]),
        (webhook(|_| {}), &[]),
        (
            policy(|p| p.smtp = None),
            &["spec.smtp: none: give at least one of smtp, webhook and command"],
        ),
        (
            policy(|p| p.kinds = vec![1, 0]),
            &[
                "spec.kinds[1]: 0 or none: name a kind of event, such as became_active, or leave it out",
            ],
        ),
        (policy(|p| p.least_severity = 9), &["spec.least_severity: 9: use info, warning or error"]),
        (
            policy(|p| p.label_selector = "a in b".to_owned()),
            &[
                "spec.label_selector: \"a in b\": \"a in b\": write key, !key, key=value, key!=value, key in (a, b) or key notin (a, b), with commas between terms",
            ],
        ),
        (smtp(|s| s.to.clear()), &["spec.smtp.to: 0: name 1 to 32 addresses"]),
        (
            smtp(|s| s.to[0] = "ops@example.com\r\nBcc: all@example.com".to_owned()),
            &[
                "spec.smtp.to[0]: \"ops@example.com\\r\\nBcc: all@example.com\": give an address such as ops@example.com",
            ],
        ),
        (
            smtp(|s| {
                s.username = "lvs".to_owned();
                s.password_file = "mail".to_owned();
            }),
            &[
                "spec.smtp.username: \"lvs\": a password is not sent in plain text: set tls to starttls or implicit",
            ],
        ),
        (
            smtp(|s| {
                s.tls = v1::SmtpTls::Starttls.into();
                s.username = "lvs".to_owned();
            }),
            &["spec.smtp.password_file: none: name the file with the user's password"],
        ),
        (
            smtp(|s| s.password_file = "../../tls/key.pem".to_owned()),
            &[
                "spec.smtp.password_file: \"../../tls/key.pem\": write a plain file name, which is looked for in each controller's notifications.secret_dir",
            ],
        ),
        (
            webhook(|w| w.url = "https://user@ops/".to_owned()),
            &[
                "spec.webhook.url: \"https://user@ops/\": give http://HOST[:PORT]/PATH or https://..., without user, fragment and spaces",
            ],
        ),
        (
            webhook(|w| {
                w.headers.insert("Authorization".to_owned(), "Basic x".to_owned());
            }),
            &[
                "spec.webhook.headers.Authorization: \"Basic x\": the controller sets it itself; a token goes into bearer_token_file",
            ],
        ),
        (
            policy(|p| {
                p.command = Some(v1::CommandChannel {
                    program: "/bin/sh".to_owned(),
                    ..Default::default()
                });
            }),
            &[
                "spec.command.program: \"/bin/sh\": write a plain file name of letters, digits and ._-+@, without a directory",
            ],
        ),
    ];
    for (resource, expected) in cases {
        assert_eq!(errors(&resource), expected);
    }
}

#[test]
fn a_policy_says_what_it_does_not_give() {
    let read = resource_from_wire(0, &policy(|_| {}), &mut Vec::new()).expect("valid");
    let Spec::NotificationPolicy(policy) = read.spec else { panic!("a policy") };
    let smtp = policy.smtp.expect("it was given");
    let text = format!(
        "{:?} {:?} {:?} {:?} {} {:?} {:?}",
        policy.least_severity,
        policy.group_wait,
        policy.group_interval,
        policy.give_up_after,
        smtp.port,
        smtp.connect_timeout,
        smtp.tls
    );
    assert_eq!(text, "Warning 1s 30s 86400s 25 30s None");
}
