//! Identity of the host's boot.

use std::io;
use std::path::Path;

/// The kernel's random identity of this boot: a UUID in lower case, from `/proc/sys/kernel/random/boot_id`.
///
/// # Errors
/// When /proc is not mounted or holds nothing there.
pub fn boot_id() -> io::Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(Path::new(PATH)).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot read {PATH}: {error}; is /proc mounted?"))
    })?;
    let id = text.trim();
    if id.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{PATH} is empty")));
    }
    Ok(id.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_boot_has_one_identity() -> std::io::Result<()> {
        let id = super::boot_id()?;
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(id, super::boot_id()?);
        Ok(())
    }
}
