//! Sends mail (RFC 5321) by lettre.

use std::time::Duration;

use fulcrum_model::{SmtpChannel, SmtpTls};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::queue::Message;
use super::text::{self, Sender};
use super::{Fault, Home, files};

/// A whole mail takes at most so many times what one answer may take: connection, greeting, EHLO, TLS, login, envelope, text.
const STEPS: u32 = 8;

/// Sends a message, and returns when the mail server has taken it for all.
pub(super) async fn send(
    smtp: &SmtpChannel,
    message: &Message,
    sender: &Sender,
    home: &Home,
) -> Result<(), Fault> {
    let router_id = smtp.router_id.as_deref().unwrap_or(&sender.controller);
    let mail = mail(smtp, message, sender, router_id)?;
    let transport = transport(smtp, router_id, home).await?;
    let whole = smtp.connect_timeout.saturating_mul(STEPS).min(Duration::from_mins(10));
    match tokio::time::timeout(whole, transport.send(mail)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Fault(format!("{}: {}", smtp.server, explain(&error)))),
        Err(_) => Err(Fault(format!("{}: did not take the mail within {whole:?}", smtp.server))),
    }
}

fn mail(
    smtp: &SmtpChannel,
    message: &Message,
    sender: &Sender,
    router_id: &str,
) -> Result<Mail, Fault> {
    let mailbox = |address: &str| {
        let address = address.parse().map_err(|error| Fault(format!("{address:?}: {error}")))?;
        Ok::<_, Fault>(Mailbox::new(None, address))
    };
    let mut builder = Mail::builder()
        .from(mailbox(&smtp.from)?)
        .subject(text::subject(message, router_id))
        .message_id(Some(format!("<{}@{router_id}>", sender.id(message))))
        // Holidays are not to be answered (RFC 3834).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .header(ContentType::TEXT_PLAIN);
    for to in &smtp.to {
        builder = builder.to(mailbox(to)?);
    }
    builder
        .body(text::body(message, sender))
        .map_err(|error| Fault(format!("the mail cannot be formed: {error}")))
}

async fn transport(
    smtp: &SmtpChannel,
    router_id: &str,
    home: &Home,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, Fault> {
    let tls = match smtp.tls {
        SmtpTls::None => Tls::None,
        SmtpTls::StartTls => Tls::Required(parameters(smtp).await?),
        SmtpTls::Implicit => Tls::Wrapper(parameters(smtp).await?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.server)
        .port(smtp.port.get())
        .timeout(Some(smtp.connect_timeout))
        .hello_name(ClientId::Domain(router_id.to_owned()))
        .tls(tls);
    if let Some((user, file)) = &smtp.login {
        let password = files::secret(home, file).await?;
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}

async fn parameters(smtp: &SmtpChannel) -> Result<TlsParameters, Fault> {
    let builder =
        TlsParameters::builder(smtp.server.clone()).certificate_store(CertificateStore::None);
    let (pem, file) = files::authorities(smtp.ca_file.as_deref()).await?;
    let fault = |error: String| Fault(format!("{file}: {error}"));
    let roots = Certificate::from_pem(&pem).map_err(|error| fault(error.to_string()))?;
    builder.add_root_certificate(roots).build_rustls().map_err(|error| fault(error.to_string()))
}

fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        let more = deeper.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = deeper.source();
    }
    text
}
