//! Chance that does not depend on the order in which it is asked: every number is a hash of the seed and of what
//! it is for.

/// Chance, from one seed.
#[derive(Clone, Copy, Debug)]
pub struct Rng(pub u64);

fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// FNV-1a, which is the same on every machine.
pub fn hash(mut from: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        from = (from ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    from
}

impl Rng {
    /// A number for this purpose.
    pub fn number(self, what: &str, count: u64) -> u64 {
        mixed(
            hash(mixed(self.0 ^ 0x9e37_79b9_7f4a_7c15), what.as_bytes())
                ^ mixed(count.wrapping_add(0x1357_9bdf)),
        )
    }

    /// One from `low` to `high`, both included.
    pub fn between(self, what: &str, count: u64, low: u64, high: u64) -> u64 {
        low + self.number(what, count) % (high - low + 1)
    }
}
