//! The encoding that keys are made of: one way to write fields as bytes, so that no two different inputs share them.
//!
//! `tag u16, length u32, bytes`, little endian; a field of fields is nested by writing them into its bytes; maps are sorted by name; what is absent
//! is not written, which is not the same as empty. What the tags mean is said where a key is made, and another meaning of any of them is another
//! context of the hash there.

use std::collections::BTreeMap;

/// Fields, written one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding(Vec<u8>);

impl Encoding {
    /// One field.
    pub fn field(&mut self, tag: u16, bytes: &[u8]) {
        self.nested(tag, |out| out.0.extend_from_slice(bytes));
    }

    /// A field of fields.
    pub fn nested(&mut self, tag: u16, write: impl FnOnce(&mut Self)) {
        self.0.extend_from_slice(&tag.to_le_bytes());
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        write(self);
        // 4 GiB of paths and hashes is nothing that anybody sends; a length that does not fit still ends in another key than a shorter one.
        let length = u32::try_from(self.0.len() - at - 4).unwrap_or(u32::MAX);
        self.0[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Two fields, numbered 1 and 2.
    pub fn pair(&mut self, first: &[u8], second: &[u8]) {
        self.field(1, first);
        self.field(2, second);
    }

    /// A list of texts, in its order.
    pub fn list<T: AsRef<[u8]>>(&mut self, tag: u16, list: impl IntoIterator<Item = T>) {
        self.nested(tag, |out| list.into_iter().for_each(|one| out.field(1, one.as_ref())));
    }

    /// A map of texts, in the order of its names.
    pub fn map(&mut self, tag: u16, map: &BTreeMap<String, String>) {
        self.nested(tag, |out| map.iter().for_each(|(name, value)| out.nested(1, |out| out.pair(name.as_bytes(), value.as_bytes()))));
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
