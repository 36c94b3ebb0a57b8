//! The key of an image: one pure function over everything that counts. Two builds with the same key may be taken for each other.
//!
//! What counts, in the order of the encoding:
//!
//! | tag | input | why |
//! |---|---|---|
//! | 1 | platform | the same file builds another image elsewhere |
//! | 2 | kind of image store | the same build has another digest in each |
//! | 3 | line of engine versions | its BuildKit |
//! | 4 | the Dockerfile: name, bytes | comments too: directives live there |
//! | 5 | the ignore file: name, bytes | what it leaves out is not in 13 |
//! | 6 | target stage | |
//! | 7 | build arguments | without proxies, which BuildKit leaves out too |
//! | 8 | labels | they are in the image |
//! | 9 | network of `RUN` steps | |
//! | 10 | extra hosts | names and addresses: stricter than BuildKit |
//! | 11 | size of `/dev/shm` | |
//! | 12 | images it starts from: reference, id | a tag can move |
//! | 13 | the context: path, type, mode, and link, content or device of each entry | never times, owners, inode numbers |
//! | 14 | ids of secrets | never their values: another secret is no other image, for BuildKit too |
//! | 15 | ids of SSH agents | |
//!
//! Encoding: `tag u16, length u32, bytes`, little endian, nested by writing a field's fields into its bytes; maps sorted by name; absent is not empty.
//! Another meaning of any of it is another `CONTEXT` string.

use std::collections::{BTreeMap, BTreeSet};

/// Names the derivation; changes whenever the encoding does.
const CONTEXT: &str = "splitci image v2";

/// Everything that counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyInputs {
    /// `os/arch[/variant]`, resolved.
    pub platform: String,
    /// Whether containerd keeps the images.
    pub containerd_store: bool,
    /// Line of engine versions, e.g. `20.10`.
    pub engine_line: String,
    /// The Dockerfile, by its name in the context.
    pub dockerfile: NamedText,
    /// The ignore file in force.
    pub ignore: Option<NamedText>,
    /// Target stage.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Network.
    pub network: Option<String>,
    /// Extra hosts.
    pub add_hosts: Vec<String>,
    /// Size of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// Images it starts from: reference as written, and id.
    pub bases: BTreeMap<String, String>,
    /// The context, in the order of the walk.
    pub context: Vec<ContextItem>,
    /// Ids of secrets.
    pub secrets: BTreeSet<String>,
    /// Ids of SSH agents.
    pub ssh: BTreeSet<String>,
}

/// A file that says how to build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedText {
    /// Its path below the context.
    pub name: Vec<u8>,
    /// Its bytes.
    pub text: Vec<u8>,
}

/// One entry of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextItem {
    /// Path below the context, as bytes.
    pub path: Vec<u8>,
    /// Permission bits, normalised.
    pub mode: u32,
    /// What it is.
    pub content: ItemContent,
}

/// What an entry of the context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemContent {
    /// A directory.
    Directory,
    /// A file with this blake3.
    File([u8; 32]),
    /// A symbolic link to there.
    Link(Vec<u8>),
    /// A named pipe.
    Pipe,
    /// A device.
    Device {
        /// Block device, not character device.
        block: bool,
        /// Its number.
        number: u64,
    },
}

/// The key of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// All of it, in hex.
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// As much as a tag needs.
    pub fn short(self) -> String {
        self.to_hex()[..12].to_owned()
    }
}

/// The key of what would be built.
pub fn image_key(inputs: &KeyInputs) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&encode(inputs));
    Key(*hasher.finalize().as_bytes())
}

fn encode(inputs: &KeyInputs) -> Vec<u8> {
    let mut out = Encoding::default();
    out.field(1, inputs.platform.as_bytes());
    out.field(2, &[u8::from(inputs.containerd_store)]);
    out.field(3, inputs.engine_line.as_bytes());
    out.nested(4, |out| out.pair(&inputs.dockerfile.name, &inputs.dockerfile.text));
    if let Some(ignore) = &inputs.ignore {
        out.nested(5, |out| out.pair(&ignore.name, &ignore.text));
    }
    if let Some(target) = &inputs.target {
        out.field(6, target.as_bytes());
    }
    out.map(7, &inputs.args);
    out.map(8, &inputs.labels);
    if let Some(network) = &inputs.network {
        out.field(9, network.as_bytes());
    }
    out.nested(10, |out| inputs.add_hosts.iter().for_each(|host| out.field(1, host.as_bytes())));
    if let Some(size) = inputs.shm_size {
        out.field(11, &size.to_le_bytes());
    }
    out.map(12, &inputs.bases);
    out.nested(13, |out| inputs.context.iter().for_each(|item| out.nested(1, |out| out.item(item))));
    out.nested(14, |out| inputs.secrets.iter().for_each(|id| out.field(1, id.as_bytes())));
    out.nested(15, |out| inputs.ssh.iter().for_each(|id| out.field(1, id.as_bytes())));
    out.0
}

#[derive(Default)]
struct Encoding(Vec<u8>);

impl Encoding {
    fn field(&mut self, tag: u16, bytes: &[u8]) {
        self.nested(tag, |out| out.0.extend_from_slice(bytes));
    }

    fn nested(&mut self, tag: u16, write: impl FnOnce(&mut Self)) {
        self.0.extend_from_slice(&tag.to_le_bytes());
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        write(self);
        // 4 GiB of paths and hashes is no context that anybody sends; a length that does not fit still ends in another key than a shorter one.
        let length = u32::try_from(self.0.len() - at - 4).unwrap_or(u32::MAX);
        self.0[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn pair(&mut self, first: &[u8], second: &[u8]) {
        self.field(1, first);
        self.field(2, second);
    }

    fn map(&mut self, tag: u16, map: &BTreeMap<String, String>) {
        self.nested(tag, |out| map.iter().for_each(|(name, value)| out.nested(1, |out| out.pair(name.as_bytes(), value.as_bytes()))));
    }

    fn item(&mut self, item: &ContextItem) {
        self.field(1, &item.path);
        self.field(2, &item.mode.to_le_bytes());
        match &item.content {
            ItemContent::Directory => self.field(3, &[]),
            ItemContent::File(hash) => self.field(4, hash),
            ItemContent::Link(target) => self.field(5, target),
            ItemContent::Pipe => self.field(6, &[]),
            ItemContent::Device { block, number } => self.pair(&[u8::from(*block)], &number.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads an encoding back: what can be read back cannot be shared by two inputs.
    struct Reader<'a>(&'a [u8]);

    impl<'a> Reader<'a> {
        fn next(&mut self) -> Option<(u16, &'a [u8])> {
            let (head, rest) = self.0.split_at_checked(6)?;
            let length = u32::from_le_bytes(head[2..].try_into().expect("four bytes")) as usize;
            let (bytes, rest) = rest.split_at(length);
            self.0 = rest;
            Some((u16::from_le_bytes(head[..2].try_into().expect("two bytes")), bytes))
        }

        fn all(bytes: &'a [u8]) -> Vec<(u16, &'a [u8])> {
            let mut reader = Self(bytes);
            std::iter::from_fn(|| reader.next()).collect()
        }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    fn pair(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let fields = Reader::all(bytes);
        assert_eq!((fields.len(), fields[0].0, fields[1].0), (2, 1, 2));
        (fields[0].1.to_vec(), fields[1].1.to_vec())
    }

    fn named(bytes: &[u8]) -> NamedText {
        let (name, text) = pair(bytes);
        NamedText { name, text }
    }

    fn map(bytes: &[u8]) -> BTreeMap<String, String> {
        Reader::all(bytes).iter().map(|(_, entry)| pair(entry)).map(|(name, value)| (text(&name), text(&value))).collect()
    }

    fn item(bytes: &[u8]) -> ContextItem {
        let fields = Reader::all(bytes);
        let content = match fields[2].0 {
            1 => ItemContent::Device { block: fields[2].1[0] == 1, number: u64::from_le_bytes(fields[3].1.try_into().expect("8 bytes")) },
            3 => ItemContent::Directory,
            4 => ItemContent::File(fields[2].1.try_into().expect("a hash")),
            5 => ItemContent::Link(fields[2].1.to_vec()),
            6 => ItemContent::Pipe,
            other => panic!("tag {other}"),
        };
        ContextItem { path: fields[0].1.to_vec(), mode: u32::from_le_bytes(fields[1].1.try_into().expect("4 bytes")), content }
    }

    fn decode(bytes: &[u8]) -> KeyInputs {
        let mut inputs = KeyInputs::default();
        for (tag, bytes) in Reader::all(bytes) {
            match tag {
                1 => inputs.platform = text(bytes),
                2 => inputs.containerd_store = bytes == [1],
                3 => inputs.engine_line = text(bytes),
                4 => inputs.dockerfile = named(bytes),
                5 => inputs.ignore = Some(named(bytes)),
                6 => inputs.target = Some(text(bytes)),
                7 => inputs.args = map(bytes),
                8 => inputs.labels = map(bytes),
                9 => inputs.network = Some(text(bytes)),
                10 => inputs.add_hosts = Reader::all(bytes).iter().map(|(_, host)| text(host)).collect(),
                11 => inputs.shm_size = Some(u64::from_le_bytes(bytes.try_into().expect("8 bytes"))),
                12 => inputs.bases = map(bytes),
                13 => inputs.context = Reader::all(bytes).iter().map(|(_, bytes)| item(bytes)).collect(),
                14 => inputs.secrets = Reader::all(bytes).iter().map(|(_, id)| text(id)).collect(),
                15 => inputs.ssh = Reader::all(bytes).iter().map(|(_, id)| text(id)).collect(),
                other => panic!("tag {other}"),
            }
        }
        inputs
    }

    fn content() -> impl Strategy<Value = ItemContent> {
        prop_oneof![
            Just(ItemContent::Directory),
            Just(ItemContent::Pipe),
            any::<[u8; 32]>().prop_map(ItemContent::File),
            any::<Vec<u8>>().prop_map(ItemContent::Link),
            any::<(bool, u64)>().prop_map(|(block, number)| ItemContent::Device { block, number }),
        ]
    }

    fn inputs() -> impl Strategy<Value = KeyInputs> {
        let words = || proptest::collection::btree_map("[a-z=]{0,3}", "[a-z=]{0,3}", 0..3);
        let item = (any::<Vec<u8>>(), any::<u32>(), content()).prop_map(|(path, mode, content)| ContextItem { path, mode, content });
        let named = || any::<(Vec<u8>, Vec<u8>)>().prop_map(|(name, text)| NamedText { name, text });
        let files = (named(), proptest::option::of(named()), proptest::collection::vec(item, 0..4));
        let single = ("[a-z/]{0,6}", any::<bool>(), "[0-9.]{0,4}", proptest::option::of("[a-z]{0,3}"), proptest::option::of("[a-z]{0,3}"));
        let rest = (words(), words(), words(), proptest::collection::vec("[a-z:]{0,3}", 0..3), any::<Option<u64>>());
        let ids = || proptest::collection::btree_set("[a-z]{0,3}", 0..3);
        (files, single, rest, (ids(), ids())).prop_map(|(files, single, rest, ids)| KeyInputs {
            platform: single.0,
            containerd_store: single.1,
            engine_line: single.2,
            dockerfile: files.0,
            ignore: files.1,
            target: single.3,
            args: rest.0,
            labels: rest.1,
            network: single.4,
            add_hosts: rest.3,
            shm_size: rest.4,
            bases: rest.2,
            context: files.2,
            secrets: ids.0,
            ssh: ids.1,
        })
    }

    proptest! {
        #[test]
        fn an_encoding_can_be_read_back_so_no_two_inputs_share_one(inputs in inputs()) {
            prop_assert_eq!(decode(&encode(&inputs)), inputs);
        }

        #[test]
        fn different_inputs_have_different_keys(a in inputs(), b in inputs()) {
            prop_assert_eq!(a == b, image_key(&a) == image_key(&b));
        }
    }

    #[test]
    fn the_key_of_known_inputs_stands_still() {
        let inputs = KeyInputs {
            platform: "linux/amd64".into(),
            engine_line: "20.10".into(),
            dockerfile: NamedText { name: b"Dockerfile".to_vec(), text: b"FROM scratch\n".to_vec() },
            args: BTreeMap::from([("A".into(), "1".into())]),
            context: vec![ContextItem { path: b"a".to_vec(), mode: 0o644, content: ItemContent::File([7; 32]) }],
            ..KeyInputs::default()
        };
        insta::assert_snapshot!(image_key(&inputs).to_hex(), @"be9b99443553c17a24835a4a9967772235c4fa1ab20081a84c5390206116a25a");
        assert_eq!(image_key(&inputs).short().len(), 12);
    }
}
