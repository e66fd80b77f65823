//! What the kernel sends back: messages, acknowledgements, ends of dumps.

use super::attribute::{Attributes, Malformed, align, read_i32, read_u16, read_u32};

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct genlmsghdr`.
const GENERIC_HEADER: usize = 4;

/// `NLMSG_NOOP`.
const NOOP: u16 = 1;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `NLM_F_CAPPED`: an error message holds the request's header only.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: an error message ends with attributes.
const ACK_ATTRIBUTES: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: why, in the kernel's words.
const ERROR_TEXT: u16 = 1;

/// One message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The sequence number of the request that it answers.
    pub sequence: u32,
    /// What it says.
    pub payload: Payload<'a>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The request was done.
    Done,
    /// The request was refused.
    Refused(Refusal),
    /// The dump ends here, whole.
    DumpEnd,
    /// The dump ends here because of an error.
    DumpFailed(Refusal),
    /// An answer of a generic netlink family.
    Answer {
        /// The message's type: the family's number.
        family: u16,
        /// The family's command.
        command: u8,
        /// Attributes.
        attributes: &'a [u8],
    },
    /// Nothing that concerns us.
    Nothing,
}

/// Why the kernel refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The errno, above zero.
    pub errno: i32,
    /// The kernel's extended acknowledgement; empty when it gave none.
    pub text: String,
}

/// The messages in one received buffer, in order. Ends after the first malformed one.
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// `bytes` is what one receive returned.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.rest);
        let length = match read_u32(bytes, 0) {
            Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
            Err(error) => return Some(Err(error)),
        };
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= HEADER) else {
            return Some(Err(Malformed { what: "a message's length exceeds the buffer" }));
        };
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        Some(read(message))
    }
}

/// Reads one message, header included.
fn read(message: &[u8]) -> Result<Message<'_>, Malformed> {
    let kind = read_u16(message, 4)?;
    let flags = read_u16(message, 6)?;
    let sequence = read_u32(message, 8)?;
    let body = message.get(HEADER..).unwrap_or_default();
    let payload = match kind {
        NOOP => Payload::Nothing,
        ERROR => acknowledgement(body, flags)?,
        DONE => dump_end(body, flags)?,
        family => {
            let command = *body.first().ok_or(Malformed { what: "an answer has no command" })?;
            let attributes = body
                .get(GENERIC_HEADER..)
                .ok_or(Malformed { what: "an answer's generic header is cut off" })?;
            Payload::Answer { family, command, attributes }
        }
    };
    Ok(Message { sequence, payload })
}

/// `struct nlmsgerr`: the errno, the request (its header only when capped), then attributes.
fn acknowledgement(body: &[u8], flags: u16) -> Result<Payload<'_>, Malformed> {
    let errno = read_i32(body, 0)?;
    if errno == 0 {
        return Ok(Payload::Done);
    }
    let request_length = if flags & CAPPED == 0 {
        usize::try_from(read_u32(body, 4)?).unwrap_or(usize::MAX)
    } else {
        HEADER
    };
    let attributes = body.get(request_length.saturating_add(4)..).unwrap_or_default();
    Ok(Payload::Refused(refusal(errno, attributes, flags)))
}

/// The payload of `NLMSG_DONE`: an errno, 0 or more when all went well, then attributes.
fn dump_end(body: &[u8], flags: u16) -> Result<Payload<'_>, Malformed> {
    let errno = if body.is_empty() { 0 } else { read_i32(body, 0)? };
    if errno >= 0 {
        return Ok(Payload::DumpEnd);
    }
    Ok(Payload::DumpFailed(refusal(errno, body.get(4..).unwrap_or_default(), flags)))
}

fn refusal(errno: i32, attributes: &[u8], flags: u16) -> Refusal {
    let mut text = String::new();
    if flags & ACK_ATTRIBUTES != 0 {
        // A malformed explanation is no reason to lose the errno.
        let found = Attributes::new(attributes).map_while(Result::ok).find(|a| a.0 == ERROR_TEXT);
        if let Some((_, value)) = found {
            let value = value.strip_suffix(&[0]).unwrap_or(value);
            text = String::from_utf8_lossy(value).into_owned();
        }
    }
    Refusal { errno: errno.saturating_abs(), text }
}
