//! Reads back what a key is the hash of, so that two of them can be compared. What cannot be read is nothing: a damaged one, or one of another version.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ContextItem, ItemContent, KeyInputs, NamedText};

/// Fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    /// Nothing where a field is cut off.
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.field())
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u16, &'a [u8])> {
        // What is cut off ends the whole.
        let all = std::mem::take(&mut self.0);
        let (tag, rest) = all.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        self.0 = rest;
        Some((u16::from_le_bytes(*tag), bytes))
    }

    /// The next field, which must have this tag.
    fn tagged(&mut self, tag: u16) -> Option<&'a [u8]> {
        self.field().filter(|(found, _)| *found == tag).map(|(_, bytes)| bytes)
    }
}

/// The inputs, if these bytes are some.
pub fn decode(bytes: &[u8]) -> Option<KeyInputs> {
    let mut inputs = KeyInputs::default();
    for field in Fields(bytes) {
        let (tag, bytes) = field?;
        match tag {
            1 => inputs.platform = text(bytes)?,
            2 => inputs.containerd_store = switch(bytes)?,
            3 => inputs.engine_line = text(bytes)?,
            4 => inputs.dockerfile = named(bytes)?,
            5 => inputs.ignore = Some(named(bytes)?),
            6 => inputs.target = Some(text(bytes)?),
            7 => inputs.args = map(bytes)?,
            8 => inputs.labels = map(bytes)?,
            9 => inputs.network = Some(text(bytes)?),
            10 => inputs.add_hosts = list(bytes, text)?,
            11 => inputs.shm_size = Some(number(bytes)?),
            12 => inputs.bases = map(bytes)?,
            13 => inputs.context = Arc::new(list(bytes, item)?),
            14 => inputs.secrets = list(bytes, text)?.into_iter().collect(),
            15 => inputs.ssh = list(bytes, text)?.into_iter().collect(),
            16 => inputs.epoch = Some(text(bytes)?),
            17 => inputs.age = Some(number(bytes)?),
            _ => return None,
        }
    }
    Some(inputs)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn switch(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

fn pair(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = Fields(bytes);
    Some((fields.tagged(1)?, fields.tagged(2)?))
}

fn named(bytes: &[u8]) -> Option<NamedText> {
    let (name, text) = pair(bytes)?;
    Some(NamedText { name: name.to_vec(), text: text.to_vec() })
}

fn list<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
    Fields(bytes).map(|field| field.filter(|(tag, _)| *tag == 1).and_then(|(_, bytes)| read(bytes))).collect()
}

fn map(bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    let entries = list(bytes, |entry| pair(entry).and_then(|(name, value)| Some((text(name)?, text(value)?))))?;
    Some(entries.into_iter().collect())
}

fn item(bytes: &[u8]) -> Option<ContextItem> {
    let mut fields = Fields(bytes);
    let path = fields.tagged(1)?.to_vec();
    let mode = fields.tagged(2)?.try_into().ok().map(u32::from_le_bytes)?;
    let content = match fields.field()? {
        (3, _) => ItemContent::Directory,
        (4, hash) => ItemContent::File(hash.try_into().ok()?),
        (5, target) => ItemContent::Link(target.to_vec()),
        (6, _) => ItemContent::Pipe,
        (7, device) => ItemContent::Device { block: true, number: number(device)? },
        (8, device) => ItemContent::Device { block: false, number: number(device)? },
        _ => return None,
    };
    let attributes = match fields.next() {
        None => None,
        Some(field) => Some(field.filter(|(tag, _)| *tag == 9)?.1.try_into().ok()?),
    };
    Some(ContextItem { path, mode, content, attributes })
}
