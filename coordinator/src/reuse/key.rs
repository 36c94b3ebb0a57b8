//! The key of results: one pure function over everything that a test file's outcome may depend on and that we know of.
//!
//! What counts, in the order of the encoding:
//!
//! | tag | input | why |
//! |---|---|---|
//! | 1 | image: platform, layers in their order, environment, user, directory, entrypoint, command, shell, volumes | never its id: history, labels and dates say nothing of what is in it |
//! | 2 | what a session is started with: command, directory, variables, the driver's files | seeds and numbers of shards left out |
//! | 3 | the suite's settings | how the driver is to load it |
//! | 4 | limits and openings of a container | |
//! | 5 | longest time of a test | |
//! | 6 | the worker's program | it judges |
//! | 7 | the engine: version, security, CPUs | |
//! | 8 | variables that the engine's client adds (proxies) | |
//! | 9 | the seed, if one was asked for | who asks for one wants what it does |
//! | 10 | `cache.epoch` | the user's way to start anew |
//!
//! Not in it: the run, the shard, the time, the files beside it. Values of variables that are recorded by name only come in as keyed MACs.

use serde::Serialize;

use crate::model::encoding::Encoding;
use crate::model::settings::{ContainerSettings, SuiteSettings};
use crate::model::{ImageContent, Launch};

/// Names the derivation; changes whenever the encoding does.
const CONTEXT: &str = "splitci results v2";

/// Everything that counts.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyInputs {
    /// What is in the image.
    pub image: ImageContent,
    /// What a session is started with. Of no shard and no seed in particular, secret values replaced by keyed MACs.
    pub launch: Launch,
    /// What is run.
    pub suite: SuiteSettings,
    /// What a container is given.
    pub container: ContainerSettings,
    /// Longest time of a test in milliseconds.
    pub test_ms: u64,
    /// blake3 of the worker's program.
    pub worker: [u8; 32],
    /// What an engine says about itself that tests could notice.
    pub engine: Vec<String>,
    /// Variables of the engine's client, masked.
    pub proxies: Vec<(String, String)>,
    /// The seed, if one was asked for.
    pub seed: Option<u64>,
    /// The user's epoch.
    pub epoch: Option<String>,
}

/// A key of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// All of it, in hex.
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// The key.
pub fn key(inputs: &KeyInputs) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(encode(inputs).bytes());
    Key(*hasher.finalize().as_bytes())
}

fn encode(inputs: &KeyInputs) -> Encoding {
    let mut out = Encoding::default();
    out.nested(1, |out| image(out, &inputs.image));
    out.nested(2, |out| launch(out, &inputs.launch));
    out.field(3, &text(&inputs.suite));
    out.field(4, &text(&inputs.container));
    out.field(5, &inputs.test_ms.to_le_bytes());
    out.field(6, &inputs.worker);
    out.list(7, &inputs.engine);
    out.nested(8, |out| pairs(out, &inputs.proxies));
    if let Some(seed) = inputs.seed {
        out.field(9, &seed.to_le_bytes());
    }
    if let Some(epoch) = &inputs.epoch {
        out.field(10, epoch.as_bytes());
    }
    out
}

fn image(out: &mut Encoding, image: &ImageContent) {
    out.field(1, image.platform.as_bytes());
    out.list(2, &image.layers);
    out.list(3, &image.env);
    optional(out, 4, image.entry.user.as_deref());
    optional(out, 5, image.entry.workdir.as_deref());
    out.list(6, &image.entry.entrypoint);
    out.list(7, &image.command);
    out.list(8, &image.shell);
    out.list(9, &image.volumes);
}

fn launch(out: &mut Encoding, launch: &Launch) {
    out.list(1, &launch.argv);
    optional(out, 2, launch.cwd.as_deref());
    out.nested(3, |out| pairs(out, &launch.env));
    let prepended = |out: &mut Encoding, row: &(String, String, String)| out.list(1, [&row.0, &row.1, &row.2]);
    out.nested(4, |out| launch.env_prepend.iter().for_each(|row| prepended(out, row)));
    out.list(5, &launch.env_remove);
    out.nested(6, |out| launch.files.iter().for_each(|(path, bytes)| out.nested(1, |out| out.pair(path.as_bytes(), bytes))));
    if let Some(signal) = launch.dump_signal {
        out.field(7, &signal.to_le_bytes());
    }
}

fn optional(out: &mut Encoding, tag: u16, text: Option<&str>) {
    if let Some(text) = text {
        out.field(tag, text.as_bytes());
    }
}

/// In their order: of two with one name the later one holds.
fn pairs(out: &mut Encoding, pairs: &[(String, String)]) {
    for (name, value) in pairs {
        out.nested(1, |out| out.pair(name.as_bytes(), value.as_bytes()));
    }
}

/// Settings as their record has them: whatever is added to them later is in the key by itself.
fn text<T: Serialize>(settings: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "plain data with string keys always serialises")]
    serde_json::to_vec(settings).expect("settings serialise")
}

#[cfg(test)]
mod tests;
