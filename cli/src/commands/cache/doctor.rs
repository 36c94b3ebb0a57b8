//! `splitci cache doctor`: what keeps the cache from being of use, here and now. Looks at everything even when one thing is wrong.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use splitci_coordinator::config::Caches;
use splitci_coordinator::content::local::{Limit, LocalStore, Sweep};
use splitci_coordinator::image::facts::room_left;
use splitci_coordinator::model::chain;
use splitci_coordinator::model::trust::{KeySource, Level, Space};
use splitci_coordinator::pipeline::{EngineCache, LayersRepository, SharedStore, Takes, examine_cache, examine_layers, examine_stores};
use splitci_coordinator::trust::seal::CLOCK_SLACK;
use splitci_coordinator::trust::{self, machine};

use super::{Access, directory, settings};
use crate::Context;
use crate::args::cache::LookArgs;
use crate::ui::checks::{Check, list};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::{bytes, count};
use crate::variables::KEY_PASSPHRASE;

/// An engine's own build cache above this is worth a word.
const LARGE_BUILD_CACHE: u64 = 10 << 30;
/// A cache whose coldest entry was used within this time throws out what is still wanted.
const SHORT_MEMORY: Duration = Duration::from_hours(48);

/// Does it.
pub(super) fn doctor(args: LookArgs, context: &Context) -> Result<Exit, Failure> {
    let caches = settings(args.place, context)?;
    let dir = directory(&caches)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::NO_VERDICT, &error, None))?;
    let mut checks = place(&dir, &caches);
    checks.extend(runtime.block_on(contents(&dir, &caches)));
    let (level, more) = key(&caches, context);
    checks.extend(more);
    checks.extend(runtime.block_on(stores(&caches, &level, context)));
    match runtime.block_on(examine_layers(&caches.cache, level.level, &used(&caches), &context.env)) {
        Ok(asked) => checks.extend(asked.as_ref().map(|asked| layers(asked, level.level))),
        Err(error) => checks.push(Check::odd("layers", format!("not asked: {}", chain(&error)))),
    }
    match runtime.block_on(examine_cache(&context.env)) {
        Ok(engine) => checks.extend(clock(&engine).into_iter().chain([collection(&engine)])),
        Err(error) => checks.push(Check::odd("engine", format!("not asked: {error}"))),
    }
    if args.json {
        let told = |check: &Check| {
            let state = if check.exit.is_some() {
                "bad"
            } else if check.odd {
                "look"
            } else {
                "ok"
            };
            serde_json::json!({ "what": check.what, "state": state, "text": check.text, "hint": check.hint })
        };
        printer::answer(&format!("{}\n", checks.iter().map(told).collect::<serde_json::Value>()))?;
    } else {
        printer::answer(&list(&checks, context.terminal.out))?;
    }
    Ok(checks.iter().find_map(|check| check.exit).unwrap_or(Exit::DONE))
}

/// Where it is: whether it can be written, on what, and by whose clock.
fn place(dir: &Path, caches: &Caches) -> Vec<Check> {
    let there = dir.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"));
    let name = dir.display();
    let mut checks = vec![match (caches.cache.read_only, probe(there)) {
        (true, _) => Check::good("cache", format!("{name}, only read")),
        (false, Ok(ahead)) if ahead > CLOCK_SLACK => {
            Check::odd("cache", format!("{name}: its disk's clock is {} s off from this machine's", ahead.as_secs()))
                .with("set both clocks by the network's time: entries may be refused, or go too early")
        }
        (false, Ok(_)) => Check::good("cache", name.to_string()),
        (false, Err(error)) => Check::odd("cache", format!("{name} cannot be written: {error}"))
            .with("name another directory with `--cache-dir` (key `cache.dir`); until then nothing is remembered"),
    }];
    checks.push(match file_system(there) {
        Ok((kind, true)) => Check::good("disk", kind),
        Ok((kind, false)) => Check::odd("disk", format!("{kind}: locks and times may not be what they seem there"))
            .with("keep the cache on a local disk, or use it with `--cache-read-only`"),
        Err(error) => Check::odd("disk", format!("cannot tell which file system: {error}")),
    });
    checks
}

/// Writes a file that is gone when this returns, and says how far its time is from ours.
fn probe(there: &Path) -> std::io::Result<Duration> {
    let probe = there.join(format!(".splitci-probe-{}", std::process::id()));
    let made = fs_err::OpenOptions::new().create_new(true).write(true).open(&probe)?;
    let written = made.metadata().and_then(|about| about.modified());
    fs_err::remove_file(&probe)?;
    Ok(apart(written?, SystemTime::now()))
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

/// The kind of file system, and whether it is one of this machine's own.
fn file_system(there: &Path) -> std::io::Result<(String, bool)> {
    let kind = rustix::fs::statfs(there)?.f_type & 0xffff_ffff;
    let known = [
        (0xef53, "ext4", true),
        (0x5846_5342, "xfs", true),
        (0x9123_683e, "btrfs", true),
        (0x2fc1_2fc1, "zfs", true),
        (0x0102_1994, "tmpfs", true),
        (0x794c_7630, "overlay", true),
        (0x6969, "nfs", false),
        (0xff53_4d42, "cifs", false),
        (0xfe53_4d42, "smb", false),
        (0x0102_1997, "9p", false),
        (0x6573_5546, "fuse", false),
    ];
    let found = known.iter().find(|(number, ..)| *number == kind);
    Ok(found.map_or_else(|| (format!("file system {kind:#x}"), true), |(_, name, local)| ((*name).into(), *local)))
}

/// What is in it, against what may be.
async fn contents(dir: &Path, caches: &Caches) -> Vec<Check> {
    let failed = |error: splitci_coordinator::content::StoreError| {
        let hint = error.hint();
        vec![Check::failed("entries", &Failure::new(Exit::NO_VERDICT, &error, hint), Exit::NO_VERDICT)]
    };
    let limit = match caches.cache.size.map_or_else(|| Limit::for_disk(dir), |bytes| Ok(Limit::of(bytes))) {
        Ok(limit) => limit,
        Err(error) => return failed(error),
    };
    let store = match LocalStore::open(dir, Access::ReadOnly) {
        Ok(store) => store,
        Err(error) => return failed(error),
    };
    let looked = match store.collect(limit, Sweep::DryRun).await {
        Ok(looked) => looked.unwrap_or_default(),
        Err(error) => return failed(error),
    };
    let text = format!("{} in {} of {}", bytes(looked.bytes), count(looked.entries, "file"), bytes(limit.bytes));
    let full = looked.bytes >= limit.bytes / 10 * 8;
    let mut checks = vec![match looked.coldest.filter(|age| full && *age < SHORT_MEMORY) {
        None => Check::good("entries", text),
        Some(age) => Check::odd("entries", format!("{text}, and nothing in it is older than {} h", age.as_secs() / 3600))
            .with("allow it more with the key `cache.size`"),
    }];
    let there = dir.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"));
    if let Ok(left) = room_left(there)
        && left < limit.bytes.saturating_sub(looked.bytes)
    {
        checks.push(Check::odd("room", format!("{} left on the disk, less than the cache may still take", bytes(left))));
    }
    checks
}

/// What is shared with other machines, for a run of this level.
async fn stores(caches: &Caches, space: &Space, context: &Context) -> Vec<Check> {
    let (cache, asked) = (&caches.cache, caches.cache.redis.is_some() || caches.cache.s3.is_some());
    if !asked {
        return Vec::new();
    }
    if !space.level.travels() {
        return vec![
            Check::odd("shared", format!("not used: a run here is of level {}, and shares nothing", space.level))
                .with("give it a key of `[trust]`: `SPLITCI_KEY`, or `--key`"),
        ];
    }
    let scratch = std::env::temp_dir();
    examine_stores(cache, space, &context.env, &scratch).await.iter().map(shared).collect()
}

fn shared(store: &SharedStore) -> Check {
    let name = &store.name;
    let took = match &store.answer {
        Ok(took) => took,
        Err(error) => {
            return Check::odd("shared", format!("{name}: {}", chain(error)))
                .with(error.hint().unwrap_or_else(|| "runs go on without it".to_owned()));
        }
    };
    let policy = store.memory.as_ref().map(|memory| format!(", {} of {}, {}", bytes(memory.used), bytes(memory.most), memory.policy));
    let text = format!("{name}: a record written and read in {took} ms{}", policy.unwrap_or_default());
    if store.meddles {
        let hint = "let each level's user write its own names alone (Redis: an ACL user with `~sc:<level>:*`; a bucket: a policy by prefix): \
                    what is forged is refused either way, what is deleted is gone";
        return Check::odd("shared", format!("{text}; this run could delete what a more trusted one wrote")).with(hint);
    }
    Check::good("shared", text)
}

/// Levels that anybody has a key for, the most trusted first. A list that cannot be read is told where keys are.
fn used(caches: &Caches) -> Vec<Level> {
    let list = trust::trusted(&caches.trust).unwrap_or_default();
    Level::ALL.into_iter().filter(|level| list.has_level(*level)).collect()
}

/// The repository in which layers travel, for a run of this level.
fn layers(asked: &LayersRepository, level: Level) -> Check {
    let LayersRepository { name, user, reads, takes, meddles } = asked;
    let whom = user.as_ref().map_or_else(|| "without credentials".to_owned(), |user| format!("as {}", user.escape_debug()));
    let login = "`docker login` gives this machine credentials; runs go on without layers of others";
    if let Err(error) = reads {
        return Check::odd("layers", format!("{name} cannot be read {whom}: {}", chain(error))).with(login);
    }
    let (can, refused) = match takes {
        None => (format!("read {whom}; runs of level {level} send nothing there, or only read"), None),
        Some(Takes::Yes) => (format!("read and written {whom}"), None),
        Some(Takes::No(why)) => (format!("read {whom}, and not written: {why}"), Some(login)),
        Some(Takes::Unknown(why)) => {
            (format!("read by the engine {whom}; this machine could not ask whether it takes anything: {why}"), None)
        }
    };
    if let Some(above) = meddles {
        let hint = "give each level a repository of its own, with `{level}` in `cache.layers`, and each job the right to push to its own alone: layers \
                    are signed by nobody";
        return Check::odd("layers", format!("{name}: {can}; this run could overwrite what level {above} builds upon")).with(hint);
    }
    match refused {
        Some(hint) => Check::odd("layers", format!("{name}: {can}")).with(hint),
        None => Check::good("layers", format!("{name}: {can}")),
    }
}

/// Who this run would be, and who is trusted.
fn key(caches: &Caches, context: &Context) -> (Space, Vec<Check>) {
    let list = match trust::trusted(&caches.trust) {
        Ok(list) => list,
        Err(error) => {
            let hint = error.hint();
            return (Space::of(Level::Local), vec![Check::failed("trust", &Failure::new(Exit::USAGE, &error, hint), Exit::USAGE)]);
        }
    };
    let trusted = count(list.len(), "key");
    let passphrase = context.env.get(KEY_PASSPHRASE).map(String::as_str);
    let found = match &caches.trust.key {
        Some(source) => trust::secret(source, passphrase).map(Some),
        None => machine::found(&caches.machine),
    };
    let space = found.as_ref().ok().and_then(Option::as_ref).and_then(|key| list.get(&key.id())).map(|(_, space)| space.clone());
    let check = match found {
        Err(error) => {
            let hint = error.hint();
            Check::failed("key", &Failure::new(Exit::USAGE, &error, hint), Exit::USAGE)
        }
        Ok(None) => Check::good("key", format!("one of this machine is made at the first run: level local; {trusted} trusted")),
        Ok(Some(key)) => match (list.get(&key.id()), &caches.trust.key) {
            (Some((_, space)), _) => Check::good("key", format!("{}: level {space}; {trusted} trusted", key.id().short())),
            (None, None) => {
                Check::good("key", format!("{}: this machine's own, level {}; {trusted} trusted", key.id().short(), Level::Local))
            }
            (None, Some(_)) => Check::odd("key", format!("{} is not in `[trust]`: nobody else believes what it signs", key.id().short()))
                .with("put its public half there: `splitci keys show` prints it"),
        },
    };
    (space.unwrap_or_else(|| Space::of(Level::Local)), [Some(check), exposed(caches)].into_iter().flatten().collect())
}

/// A key file that others can read, as secrets mounted into containers often are.
fn exposed(caches: &Caches) -> Option<Check> {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(KeySource::File(path)) = &caches.trust.key else { return None };
    let mode = fs_err::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        Check::odd("key", format!("others can read `{}` (mode {mode:o})", path.display())).with(format!("`chmod 600 {}`", path.display()))
    })
}

fn clock(engine: &EngineCache) -> Option<Check> {
    let theirs = UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(engine.clock?).ok()?)?;
    let off = apart(theirs, SystemTime::now());
    Some(if off > CLOCK_SLACK {
        Check::odd("clock", format!("the engine's is {} s off from this machine's", off.as_secs()))
            .with("set both by the network's time: entries from another machine may be refused")
    } else {
        Check::good("clock", "the engine's agrees with this machine's")
    })
}

fn collection(engine: &EngineCache) -> Check {
    let who = format!("docker {} at {}", engine.version, engine.endpoint);
    let kept = match &engine.kept {
        Ok(kept) => kept,
        Err(why) => return Check::odd("engine", format!("{who} does not say what it keeps of builds: {why}")),
    };
    let text = format!("{who} keeps {} of builds", bytes(kept.bytes));
    match engine.collects {
        Some(true) => Check::good("engine", format!("{text}, and makes room by itself")),
        Some(false) if kept.bytes > LARGE_BUILD_CACHE => Check::odd("engine", format!("{text}, and never makes room by itself"))
            .with("set `\"builder\": {\"gc\": {\"enabled\": true}}` in its daemon.json, or run `docker builder prune` now and then"),
        Some(false) => Check::good("engine", format!("{text}; it never makes room by itself (builder.gc in daemon.json)")),
        None => Check::good("engine", text),
    }
}
