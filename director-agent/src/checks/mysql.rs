//! The handshake of `MySQL` and `MariaDB`
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>).
//!
//! It is answered, with a user that need not exist: a server counts connections that end within the handshake, and blocks a host
//! that makes too many of them (`max_connect_errors`). A refusal of that user is an answer like any other.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::endpoint::Endpoint;
use super::{Attempt, Outcome, failed};

/// Longest packet that is read: greetings and refusals are far shorter.
const PACKET_BYTES: usize = 4096;
/// First byte of a greeting, of an error, and of an answer that all is well.
const PROTOCOL_10: u8 = 10;
const ERROR: u8 = 0xff;
const OK: u8 = 0;
/// `CLIENT_PROTOCOL_41`, `CLIENT_SECURE_CONNECTION`, `CLIENT_PLUGIN_AUTH`.
const CAPABILITIES: u32 = 0x0200 | 0x8000 | 0x0008_0000;
/// `utf8mb4_general_ci`.
const CHARACTER_SET: u8 = 45;
/// Errors by which a server says that it serves nobody: too many connections, shutting down, this host is blocked, this user has too
/// many.
const NOBODY_SERVED: [u16; 4] = [1040, 1053, 1129, 1203];

/// Hears the greeting and answers it.
pub(super) async fn handshake(endpoint: &Endpoint) -> Attempt {
    let fault = |error: io::Error| Outcome::Failed(format!("MySQL: {error}"));
    let mut stream = endpoint.connect().await?;
    let (sequence, greeting) = packet(&mut stream).await?;
    match greeting.first() {
        Some(&PROTOCOL_10) => {}
        Some(&ERROR) => return failed(refusal(&greeting)),
        Some(_) | None => return failed("no MySQL greeting of protocol 10"),
    }
    stream.write_all(&answer(sequence.wrapping_add(1))).await.map_err(fault)?;
    let (_, verdict) = packet(&mut stream).await?;
    match verdict.first() {
        Some(&ERROR) if NOBODY_SERVED.contains(&error_number(&verdict)) => {
            failed(refusal(&verdict))
        }
        Some(&OK) => {
            // COM_QUIT. Whether it hears this is of no matter.
            let _ = stream.write_all(&[1, 0, 0, 0, 1]).await;
            Ok(None)
        }
        Some(_) => Ok(None),
        None => failed("MySQL answered the handshake with nothing"),
    }
}

/// A packet's number and payload.
async fn packet(stream: &mut TcpStream) -> Result<(u8, Vec<u8>), Outcome> {
    let fault = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Outcome::Failed("MySQL hung up".to_owned()),
        _ => Outcome::Failed(format!("MySQL: {error}")),
    };
    let mut header = [0; 4];
    stream.read_exact(&mut header).await.map_err(fault)?;
    let [low, middle, high, sequence] = header;
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    if length > PACKET_BYTES {
        return failed(format!("no MySQL: a packet of {length} bytes"));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.map_err(fault)?;
    Ok((sequence, payload))
}

/// `HandshakeResponse41` of user `fulcrum` without a password.
fn answer(sequence: u8) -> Vec<u8> {
    let mut payload = CAPABILITIES.to_le_bytes().to_vec();
    payload.extend_from_slice(&(1_u32 << 24).to_le_bytes());
    payload.push(CHARACTER_SET);
    payload.extend_from_slice(&[0; 23]);
    payload.extend_from_slice(b"fulcrum\0");
    // Length of the password's hash.
    payload.push(0);
    payload.extend_from_slice(b"mysql_native_password\0");
    let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    let mut packet = vec![length, 0, 0, sequence];
    packet.append(&mut payload);
    packet
}

fn error_number(packet: &[u8]) -> u16 {
    packet.get(1..3).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes)
}

/// An error in words; its text begins after a marker and five bytes of state, where those are there.
fn refusal(packet: &[u8]) -> String {
    let text = packet.get(3..).unwrap_or_default();
    let text = text.strip_prefix(b"#").and_then(|rest| rest.get(5..)).unwrap_or(text);
    let text = String::from_utf8_lossy(text);
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    format!("MySQL says {}: {text}", error_number(packet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_in_their_own_words() {
        let with_state = b"\xff\x10\x04#08004Too many connections";
        assert_eq!(refusal(with_state), "MySQL says 1040: Too many connections");
        assert_eq!(refusal(b"\xff\x69\x04Host is blocked"), "MySQL says 1129: Host is blocked");
        assert_eq!(refusal(b"\xff"), "MySQL says 0: ");
    }

    #[test]
    fn the_answer_is_as_the_protocol_draws_it() {
        let packet = answer(1);
        assert_eq!(packet.len(), 4 + 32 + 8 + 1 + 22);
        assert_eq!(packet[..4], [63, 0, 0, 1]);
        assert_eq!(packet[36..45], *b"fulcrum\0\0");
    }
}
