//! SHA-256: what tells one content from every other.

use std::fmt::{self, Display};

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// SHA-256 of an image's pixels, of a file or of a text. Files have it as hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// That of a content.
    pub fn of(content: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// The digest that these digits are, if they are one.
    pub fn read(digits: &str) -> Option<Self> {
        let mut digest = Self::default();
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        if pairs.len() != digest.0.len() || !rest.is_empty() {
            return None;
        }
        for (byte, pair) in digest.0.iter_mut().zip(pairs) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            *byte = (16 * high? + low?) as u8;
        }
        Some(digest)
    }
}

/// That of a content which came in parts.
impl From<Sha256> for Digest {
    fn from(parts: Sha256) -> Self {
        Self(parts.finalize().into())
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Display for Digest {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(to, "{byte:02x}"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_they_are_written() {
        // Of the text "abc", by FIPS 180-2.
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = Digest::of("abc");
        assert_eq!(digest.to_string(), digits);
        assert_eq!(Digest::read(digits), Some(digest));
        assert_eq!(Digest::read(&digits.to_uppercase()), Some(digest));
        for wrong in ["", &digits[1..], &format!("{digits}0"), &digits.replace('b', "g"), &digits.replace("ba", "é")] {
            assert_eq!(Digest::read(wrong), None, "{wrong}");
        }
        let mut parts = Sha256::new();
        ["a", "bc"].iter().for_each(|part| parts.update(part));
        assert_eq!(Digest::from(parts), digest);
    }
}
