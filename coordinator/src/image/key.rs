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
//! | 13 | what the build can reach of the context: path, type, mode, extended attributes, and link, content or device of each entry | never times, owners, inode numbers |
//! | 14 | ids of secrets | never their values: another secret is no other image, for BuildKit too |
//! | 15 | ids of SSH agents | |
//! | 16 | epoch | the user wants everything anew |
//! | 17 | age | an image gets too old for the user |
//!
//! Written by [`Encoding`]: length-framed, maps sorted by name; absent is not empty.
//! Another meaning of any of it is another `CONTEXT` string.

mod decode;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::encoding::Encoding;
pub use decode::decode;

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
    /// What the build can reach of the context, in the order of the walk.
    pub context: Arc<Vec<ContextItem>>,
    /// Ids of secrets.
    pub secrets: BTreeSet<String>,
    /// Ids of SSH agents.
    pub ssh: BTreeSet<String>,
    /// Another one wants everything anew.
    pub epoch: Option<String>,
    /// Number of the span of time within which images stay young enough.
    pub age: Option<u64>,
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
    /// Hash of its extended attributes, if it has any that count.
    pub attributes: Option<[u8; 32]>,
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

    /// Its bytes.
    pub fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// A key that was written down.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As much as a tag needs.
    pub fn short(self) -> String {
        self.to_hex()[..12].to_owned()
    }
}

/// The key of what would be built.
pub fn image_key(inputs: &KeyInputs) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(encode(inputs).bytes());
    Key(*hasher.finalize().as_bytes())
}

/// Everything that counts, as bytes: what a key is the hash of.
pub fn encode(inputs: &KeyInputs) -> Encoding {
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
    out.list(10, &inputs.add_hosts);
    if let Some(size) = inputs.shm_size {
        out.field(11, &size.to_le_bytes());
    }
    out.map(12, &inputs.bases);
    out.nested(13, |out| inputs.context.iter().for_each(|entry| out.nested(1, |out| item(out, entry))));
    out.list(14, &inputs.secrets);
    out.list(15, &inputs.ssh);
    if let Some(epoch) = &inputs.epoch {
        out.field(16, epoch.as_bytes());
    }
    if let Some(age) = inputs.age {
        out.field(17, &age.to_le_bytes());
    }
    out
}

fn item(out: &mut Encoding, item: &ContextItem) {
    out.field(1, &item.path);
    out.field(2, &item.mode.to_le_bytes());
    match &item.content {
        ItemContent::Directory => out.field(3, &[]),
        ItemContent::File(hash) => out.field(4, hash),
        ItemContent::Link(target) => out.field(5, target),
        ItemContent::Pipe => out.field(6, &[]),
        ItemContent::Device { block: true, number } => out.field(7, &number.to_le_bytes()),
        ItemContent::Device { block: false, number } => out.field(8, &number.to_le_bytes()),
    }
    if let Some(attributes) = &item.attributes {
        out.field(9, attributes);
    }
}
