//! Netlink attributes: `struct nlattr`, then the value, padded to 4 bytes (`linux/netlink.h`).

/// Bytes that are no netlink message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink message: {what}")]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
}

/// Bytes of `struct nlattr`.
const HEADER: usize = 4;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`, the two bits of the type that are flags.
const TYPE_FLAGS: u16 = 0xc000;
const NESTED: u16 = 0x8000;

/// The next multiple of 4.
pub(super) fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Appends one attribute.
pub(super) fn put(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = HEADER + value.len();
    put_header(buffer, kind, length);
    buffer.extend_from_slice(value);
    buffer.resize(buffer.len() + align(length) - length, 0);
}

/// Appends an attribute that holds what `fill` appends.
pub(super) fn put_nested(buffer: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    put_header(buffer, kind | NESTED, 0);
    fill(buffer);
    let length = attribute_length(buffer.len() - start);
    buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

fn put_header(buffer: &mut Vec<u8>, kind: u16, length: usize) {
    buffer.extend_from_slice(&attribute_length(length).to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
}

fn attribute_length(length: usize) -> u16 {
    u16::try_from(length).expect("the largest request holds a few hundred bytes of attributes")
}

/// The attributes in `bytes`, in order, as (type without flags, value). Ends after the first malformed one.
pub(super) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.rest);
        let (Ok(length), Ok(kind)) = (read_u16(bytes, 0), read_u16(bytes, 2)) else {
            return Some(Err(Malformed { what: "an attribute's header is cut off" }));
        };
        let length = usize::from(length);
        let Some(value) = bytes.get(HEADER..length) else {
            return Some(Err(Malformed { what: "an attribute's length exceeds its container" }));
        };
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Ok((kind & !TYPE_FLAGS, value)))
    }
}

/// A host-order u16 at `offset`.
pub(super) fn read_u16(bytes: &[u8], offset: usize) -> Result<u16, Malformed> {
    array(bytes, offset).map(u16::from_ne_bytes)
}

/// A host-order u32 at `offset`.
pub(super) fn read_u32(bytes: &[u8], offset: usize) -> Result<u32, Malformed> {
    array(bytes, offset).map(u32::from_ne_bytes)
}

/// A host-order i32 at `offset`.
pub(super) fn read_i32(bytes: &[u8], offset: usize) -> Result<i32, Malformed> {
    array(bytes, offset).map(i32::from_ne_bytes)
}

/// The first bytes of `bytes` from `offset`.
pub(super) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], Malformed> {
    let end = offset.saturating_add(N);
    let slice = bytes.get(offset..end).ok_or(Malformed { what: "a value is cut off" })?;
    slice.try_into().map_err(|_| Malformed { what: "a value is cut off" })
}
