//! Two tables compared without sending either: connections fall into buckets by their hash, and a
//! bucket is told as how many it holds and what their hashes make together.

/// Buckets of a digest. A thousand differences are found in a thousandth of a table each, and a
/// digest is 12 KiB: nine datagrams.
pub const BUCKETS: usize = 1024;

/// The bucket of a hash.
pub fn bucket_of(hash: u64) -> usize {
    // The low ten bits of two bytes: every one is as good as any other, for the hash is mixed.
    let [low, high, ..] = hash.to_le_bytes();
    usize::from(u16::from_le_bytes([low, high])) % BUCKETS
}

/// FNV-1a, then mixed so that similar connections differ in every bit. It is part of the exchange:
/// all directors compute the same. It is no protection: who chooses ports to collide spares two
/// connections of their own from being synchronised twice.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

/// One bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Connections in it.
    pub count: u32,
    /// Their hashes, one xor the other.
    pub xor: u64,
}

/// A table, told short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(Vec<Bucket>);

impl Default for Digest {
    fn default() -> Self {
        Self(vec![Bucket::default(); BUCKETS])
    }
}

impl FromIterator<u64> for Digest {
    fn from_iter<T: IntoIterator<Item = u64>>(hashes: T) -> Self {
        let mut digest = Self::default();
        for hash in hashes {
            let bucket = &mut digest.0[bucket_of(hash)];
            bucket.count = bucket.count.saturating_add(1);
            bucket.xor ^= hash;
        }
        digest
    }
}

impl Digest {
    /// Its buckets, [`BUCKETS`] of them.
    pub fn buckets(&self) -> &[Bucket] {
        &self.0
    }

    /// Sets buckets from `first` on; false when they are not all there.
    pub(super) fn set(&mut self, first: usize, buckets: &[Bucket]) -> bool {
        let place = self.0.get_mut(first..first.saturating_add(buckets.len()));
        place.map(|place| place.copy_from_slice(buckets)).is_some()
    }

    /// Buckets in which two tables differ.
    pub fn difference(&self, other: &Self) -> Buckets {
        let pairs = self.0.iter().zip(&other.0).enumerate();
        pairs.filter(|(_, (ours, theirs))| ours != theirs).map(|(index, _)| index).collect()
    }
}

/// A set of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets([u8; BUCKETS / 8]);

impl FromIterator<usize> for Buckets {
    fn from_iter<T: IntoIterator<Item = usize>>(indices: T) -> Self {
        let mut bits = [0; BUCKETS / 8];
        for index in indices {
            if let Some(byte) = bits.get_mut(index / 8) {
                *byte |= 1 << (index % 8);
            }
        }
        Self(bits)
    }
}

impl Buckets {
    pub(super) fn from_bits(bits: [u8; BUCKETS / 8]) -> Self {
        Self(bits)
    }

    pub(super) fn bits(&self) -> &[u8; BUCKETS / 8] {
        &self.0
    }

    /// Whether it has that bucket.
    pub fn contains(&self, index: usize) -> bool {
        self.0.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}
