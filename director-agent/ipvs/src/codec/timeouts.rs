//! The timeouts of connections: for the whole network namespace (`ipvsadm --set`).

use super::attribute::{Attributes, Malformed, put, read_u32};
use super::encode::{ACK, REQUEST, message};
use super::{command, command_attribute as attribute};

/// Timeouts in seconds; `None` is left as it is, or one that the kernel does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Of idle TCP connections.
    pub tcp_s: Option<u32>,
    /// Of closed TCP connections.
    pub tcp_fin_s: Option<u32>,
    /// Of idle UDP flows.
    pub udp_s: Option<u32>,
}

/// Appends the request to set those that are given. The kernel takes 0 for one that is not.
pub fn set_timeouts(buffer: &mut Vec<u8>, family: u16, sequence: u32, timeouts: Timeouts) {
    message(buffer, family, sequence, REQUEST | ACK, command::SET_CONFIG, |buffer| {
        for (kind, seconds) in [
            (attribute::TIMEOUT_TCP, timeouts.tcp_s),
            (attribute::TIMEOUT_TCP_FIN, timeouts.tcp_fin_s),
            (attribute::TIMEOUT_UDP, timeouts.udp_s),
        ] {
            if let Some(seconds) = seconds {
                put(buffer, kind, &seconds.to_ne_bytes());
            }
        }
    });
}

/// Appends the request for the timeouts.
pub fn get_timeouts(buffer: &mut Vec<u8>, family: u16, sequence: u32) {
    message(buffer, family, sequence, REQUEST | ACK, command::GET_CONFIG, |_| {});
}

/// The timeouts, from the attributes of an answer to `GET_CONFIG`.
///
/// # Errors
/// [`Malformed`] tells what does not hold together.
pub fn timeouts(attributes: &[u8]) -> Result<Timeouts, Malformed> {
    let mut timeouts = Timeouts::default();
    for attribute in Attributes::new(attributes) {
        let (kind, value) = attribute?;
        match kind {
            attribute::TIMEOUT_TCP => timeouts.tcp_s = Some(read_u32(value, 0)?),
            attribute::TIMEOUT_TCP_FIN => timeouts.tcp_fin_s = Some(read_u32(value, 0)?),
            attribute::TIMEOUT_UDP => timeouts.udp_s = Some(read_u32(value, 0)?),
            // What a later kernel adds.
            _ => {}
        }
    }
    Ok(timeouts)
}

#[cfg(test)]
mod tests {
    use super::super::{Messages, Payload};
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_back() {
        let some = Timeouts { tcp_s: Some(600), tcp_fin_s: None, udp_s: Some(30) };
        for wanted in [Timeouts::default(), some, Timeouts { tcp_fin_s: Some(2_073_600), ..some }] {
            let mut bytes = Vec::new();
            set_timeouts(&mut bytes, 30, 7, wanted);
            let message = Messages::new(&bytes).next().expect("one").expect("well-formed");
            let Payload::Answer { command, attributes, .. } = message.payload else {
                panic!("{message:?}");
            };
            assert_eq!(command, command::SET_CONFIG);
            assert_eq!(timeouts(attributes), Ok(wanted));
        }
        let cut_off = [8, 0, 4, 0, 1, 2, 3];
        assert!(timeouts(&cut_off).is_err());
    }
}
