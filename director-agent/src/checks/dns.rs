//! A question to a name server (RFC 1035 section 4).

use std::io;

use fulcrum_model::DnsCheck;

use super::endpoint::{Endpoint, explain};
use super::{Attempt, failed};

/// Length of a message's header.
const HEADER: usize = 12;
/// Largest answer over UDP to a question without EDNS (RFC 1035 section 4.2.1).
const MESSAGE_BYTES: usize = 512;
/// Class IN.
const INTERNET: u16 = 1;
/// Header flags: this is an answer; recursion is desired; the answer's code.
const ANSWER: u16 = 0x8000;
const RECURSION_DESIRED: u16 = 0x0100;
const CODE: u16 = 0x000f;

/// Asks, and waits for the answer. The caller bounds the time.
pub(super) async fn ask(endpoint: &Endpoint, check: &DnsCheck) -> Attempt {
    let address = endpoint.address;
    let fault = |error: io::Error| explain(&format!("send to {address}"), &error);
    let socket = endpoint.datagrams().await?;
    let id = rand::random();
    let question = question(id, check);
    socket.send(&question).await.map_err(fault)?;
    let mut answer = [0; MESSAGE_BYTES];
    loop {
        let length = socket.recv(&mut answer).await.map_err(fault)?;
        let Some(code) = code(answer.get(..length).unwrap_or(&answer), id) else { continue };
        let DnsCheck { name, record } = check;
        return match refusal(code) {
            None => Ok(None),
            Some(word) => failed(format!("{} {name} answered {word}", record.as_str())),
        };
    }
}

fn question(id: u16, check: &DnsCheck) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + check.name.len() + 6);
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    for label in check.name.split('.').filter(|label| !label.is_empty()) {
        // Labels of more than 63 bytes were refused at Apply.
        message.push(u8::try_from(label.len()).unwrap_or(0) & 0x3f);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&check.record.number().to_be_bytes());
    message.extend_from_slice(&INTERNET.to_be_bytes());
    message
}

/// The code of an answer to our question; none when this is no such answer.
fn code(message: &[u8], id: u16) -> Option<u16> {
    let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let flags = word(2)?;
    (message.len() >= HEADER && word(0)? == id && flags & ANSWER != 0).then_some(flags & CODE)
}

/// A code by which a server says that it does not serve. That a name does not exist is an answer.
fn refusal(code: u16) -> Option<&'static str> {
    match code {
        1 => Some("FORMERR"),
        2 => Some("SERVFAIL"),
        4 => Some("NOTIMP"),
        5 => Some("REFUSED"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_model::DnsRecord;

    use super::*;

    #[test]
    fn questions_are_as_the_rfc_draws_them() {
        let check = |name: &str, record| DnsCheck { name: name.to_owned(), record };
        let root = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x01";
        assert_eq!(question(0x1234, &check(".", DnsRecord::Soa)), root);
        let name =
            b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02ab\x01c\x00\x00\x1c\x00\x01";
        assert_eq!(question(7, &check("ab.c.", DnsRecord::Aaaa)), name);
    }

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let answer = |id: u16, flags: u16| {
            let words = [id, flags, 1, 0, 0, 0];
            words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>()
        };
        assert_eq!(code(&answer(7, 0x8180), 7), Some(0));
        assert_eq!(code(&answer(7, 0x8183), 7), Some(3));
        assert_eq!(code(&answer(8, 0x8180), 7), None, "another question's");
        assert_eq!(code(&answer(7, 0x0100), 7), None, "a question");
        assert_eq!(code(&answer(7, 0x8180)[..11], 7), None, "cut off");
        let words: Vec<_> = (0..7).map(refusal).collect();
        let expected =
            [None, Some("FORMERR"), Some("SERVFAIL"), None, Some("NOTIMP"), Some("REFUSED"), None];
        assert_eq!(words, expected);
    }
}
