//! Keys of images under random changes: at the level of what a key is made of, and of images that are really built.
//!
//! A key that stays the same though what it stands for changed would let old code be tested. `soak keys` and `soak copies` try as many as one likes; the
//! tests a share of it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use splitci_coordinator::docker::Docker;
use splitci_coordinator::image::key::{ContextItem, ItemContent, KeyInputs, NamedText, image_key};
use splitci_coordinator::image::{BuildFrom, ImageRequest, ReadyImage, ensure_image};
use splitci_coordinator::model::{Listener, Telling};

use crate::engine::{docker_says, held};
use crate::schedules::dice::Dice;

/// Changes one thing at a time in random inputs, so many times, and compares keys. What went wrong, if anything did.
pub fn mutations(count: u64, seed: u64) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let mut inputs = some_inputs(&mut dice);
    let mut key = image_key(&inputs);
    for number in 0..count {
        if number % 1_000 == 0 {
            inputs = some_inputs(&mut dice);
            key = image_key(&inputs);
        }
        let mut changed = inputs.clone();
        let what = mutate(&mut changed, &mut dice);
        let other = image_key(&changed);
        // A change may happen to change nothing: a name that is drawn twice.
        if (changed == inputs) != (other == key) {
            return Err(format!("seed {seed}, change {number}: {what}\n{inputs:#?}\n{changed:#?}"));
        }
    }
    Ok(())
}

fn word(dice: &mut Dice) -> String {
    let letters = ["", "a", "b", "ab", "=", "/", " ", "é"];
    (0..dice.below(3)).filter_map(|_| dice.of(&letters)).collect()
}

fn item(dice: &mut Dice) -> ContextItem {
    let content = match dice.below(6) {
        0 => ItemContent::Directory,
        1 => ItemContent::Link(word(dice).into_bytes()),
        2 => ItemContent::Pipe,
        3 => ItemContent::Device { block: dice.chance(500), number: dice.roll() % 3 },
        _ => ItemContent::File(hash(dice)),
    };
    let attributes = dice.chance(100).then(|| hash(dice));
    ContextItem { path: format!("{}{}", word(dice), dice.below(40)).into_bytes(), mode: 0o600 + dice.below(3), content, attributes }
}

fn hash(dice: &mut Dice) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[usize::try_from(dice.below(32)).unwrap_or(0)] = u8::try_from(dice.below(4)).unwrap_or(0);
    hash
}

fn map(dice: &mut Dice) -> BTreeMap<String, String> {
    (0..dice.below(4)).map(|_| (word(dice), word(dice))).collect()
}

fn some_inputs(dice: &mut Dice) -> KeyInputs {
    KeyInputs {
        platform: "linux/amd64".into(),
        containerd_store: dice.chance(500),
        engine_line: "20.10".into(),
        dockerfile: NamedText { name: b"Dockerfile".to_vec(), text: word(dice).into_bytes() },
        ignore: dice.chance(500).then(|| NamedText { name: b".dockerignore".to_vec(), text: word(dice).into_bytes() }),
        target: dice.chance(500).then(|| word(dice)),
        args: map(dice),
        labels: map(dice),
        network: dice.chance(500).then(|| word(dice)),
        add_hosts: (0..dice.below(3)).map(|_| word(dice)).collect(),
        shm_size: dice.chance(500).then(|| dice.roll() % 3),
        bases: map(dice),
        context: Arc::new((0..dice.below(12)).map(|_| item(dice)).collect()),
        secrets: (0..dice.below(2)).map(|_| word(dice)).collect(),
        ssh: (0..dice.below(2)).map(|_| word(dice)).collect(),
        epoch: dice.chance(500).then(|| word(dice)),
        age: dice.chance(500).then(|| dice.roll() % 3),
    }
}

fn toggle<T>(value: &mut Option<T>, fresh: T) {
    *value = if value.is_none() { Some(fresh) } else { None };
}

/// Moves the border between two fields that lie beside each other in the encoding.
fn shift(first: &mut String, second: &mut String) {
    match first.pop() {
        Some(last) => second.insert(0, last),
        None => std::mem::swap(first, second),
    }
}

fn mutate(inputs: &mut KeyInputs, dice: &mut Dice) -> String {
    let what = dice.below(22);
    match what {
        0 => inputs.platform.push('x'),
        1 => inputs.containerd_store = !inputs.containerd_store,
        2 => shift(&mut inputs.platform, &mut inputs.engine_line),
        3 => inputs.dockerfile.text.push(b' '),
        4 => inputs.dockerfile.name.push(b'x'),
        5 => toggle(&mut inputs.ignore, NamedText::default()),
        6 => toggle(&mut inputs.target, String::new()),
        7 => drop(inputs.args.insert(word(dice), word(dice))),
        8 => std::mem::swap(&mut inputs.args, &mut inputs.labels),
        9 => toggle(&mut inputs.network, String::new()),
        10 => inputs.add_hosts.push(word(dice)),
        11 => inputs.add_hosts.reverse(),
        12 => toggle(&mut inputs.shm_size, 0),
        13 => drop(inputs.bases.insert(word(dice), word(dice))),
        14 => std::mem::swap(&mut inputs.bases, &mut inputs.labels),
        15 => drop(inputs.secrets.insert(word(dice))),
        16 => std::mem::swap(&mut inputs.secrets, &mut inputs.ssh),
        17 => toggle(&mut inputs.epoch, String::new()),
        18 => toggle(&mut inputs.age, 0),
        _ => mutate_context(Arc::make_mut(&mut inputs.context), dice),
    }
    format!("change of kind {what}")
}

fn mutate_context(context: &mut Vec<ContextItem>, dice: &mut Dice) {
    let fresh = item(dice);
    let place = usize::try_from(dice.below(u32::try_from(context.len()).unwrap_or(0).max(1))).unwrap_or(0);
    let Some(at) = context.get_mut(place) else { return context.push(fresh) };
    match dice.below(7) {
        0 => at.content = fresh.content,
        1 => at.mode ^= 0o111,
        2 => at.path = fresh.path,
        3 => at.attributes = if at.attributes.is_some() { None } else { Some([0; 32]) },
        4 => drop(context.remove(place)),
        5 => context.insert(place, fresh),
        _ => context.reverse(),
    }
}

struct Silent;

impl Listener for Silent {
    fn hear(&self, _: &Telling) {}
}

/// What came of building.
#[derive(Debug, Default)]
pub struct Copied {
    /// Pairs of images that were compared.
    pub pairs: usize,
    /// Pairs with the same key, which therefore had to hold the same.
    pub same: usize,
}

/// Builds images of random trees by random `COPY`s, changes one thing of the tree, builds again: other contents must mean another key.
pub async fn copies(count: usize, seed: u64, docker: &Arc<Docker>) -> Result<Copied, String> {
    let mut dice = Dice::new(seed);
    let mut copied = Copied::default();
    for number in 0..count {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, state) = (folder.path().join("context"), folder.path().join("state"));
        let project = format!("copies-{}-{seed}-{number}", std::process::id());
        grow(&root, &mut dice);
        let from = BuildFrom {
            project: project.clone(),
            dockerfile: root.join("Dockerfile"),
            context: root.clone(),
            state: Some(state),
            ..BuildFrom::default()
        };
        let before = built(&from, docker).await;
        let change = change(&root, &mut dice);
        let after = built(&from, docker).await;
        for image in docker_says(&format!("images -q splitci/{project}")).lines() {
            crate::engine::docker(&format!("rmi -f {image}"));
        }
        // A change may keep an image from being built at all: what is copied is not there any more.
        let (Some((key, held)), Some((other, holds))) = (before, after) else { continue };
        copied.pairs += 1;
        copied.same += usize::from(key == other);
        if key == other && held != holds {
            let text = fs_err::read_to_string(root.join("Dockerfile")).expect("there");
            return Err(format!("seed {seed}, image {number}: {change}\n{text}\n{held:#?}\n{holds:#?}"));
        }
    }
    Ok(copied)
}

async fn built(from: &BuildFrom, docker: &Arc<Docker>) -> Option<(Option<String>, BTreeMap<String, String>)> {
    // Whether it is found says nothing here: an image that is found by a wrong key is what is looked for.
    let image: ReadyImage = ensure_image(&ImageRequest::Build(from.clone()), docker, &Silent).await.ok()?;
    let fresh = BuildFrom { no_cache: true, state: None, ..from.clone() };
    let real = ensure_image(&ImageRequest::Build(fresh), docker, &Silent).await.ok()?;
    Some((image.key, held(&real.identity.config, "out", |_, about| format!("{:o}", about.mode()))))
}

const DIRECTORIES: &[&str] = &["", "a/", "a/b/", "lib/"];
const NAMES: &[&str] = &["one", "two", "three.txt", "four.txt"];
const COPIES: &[&str] = &[
    "COPY a out/",
    "COPY a/b out/b/",
    "COPY lib out/lib/",
    "COPY *.txt out/",
    "COPY a/*.txt out/t/",
    "COPY . out/",
    "ADD a/one out/",
    "COPY one two out/",
];
const IGNORES: &[&str] = &["*.txt", "**/one", "lib", "a/b", "!a/b/one"];

fn grow(root: &Path, dice: &mut Dice) {
    for directory in DIRECTORIES {
        fs_err::create_dir_all(root.join(directory)).expect("made");
        for name in NAMES {
            if name.len() == 3 || dice.chance(700) {
                fs_err::write(root.join(format!("{directory}{name}")), format!("{}", dice.below(3))).expect("written");
            }
        }
    }
    let copies: Vec<&str> = (0..=dice.below(3)).filter_map(|_| dice.of(COPIES)).collect();
    fs_err::write(root.join("Dockerfile"), format!("FROM scratch\nCOPY one out/\n{}\n", copies.join("\n"))).expect("written");
}

fn change(root: &Path, dice: &mut Dice) -> String {
    use std::os::unix::fs::PermissionsExt;
    let place = |dice: &mut Dice| root.join(format!("{}{}", dice.of(DIRECTORIES).unwrap_or(""), dice.of(NAMES).unwrap_or("one")));
    let (file, other) = (place(dice), place(dice));
    let done = match dice.below(6) {
        0 => fs_err::write(&file, format!("{}", dice.below(9))),
        1 => fs_err::set_permissions(&file, std::fs::Permissions::from_mode(dice.of(&[0o600, 0o755, 0o664]).unwrap_or(0o644))),
        2 => fs_err::rename(&file, &other),
        3 => fs_err::remove_file(&file),
        4 => std::os::unix::fs::symlink("one", &file),
        _ => fs_err::write(root.join(".dockerignore"), dice.of(IGNORES).unwrap_or("")),
    };
    format!("{} → {}: {done:?}", file.display(), other.display())
}
