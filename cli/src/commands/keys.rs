//! `splitci keys`: makes a key pair, or shows what a run here would sign with. A private key is printed only where `--out -` asks for it.

use std::path::{Path, PathBuf};

use splitci_coordinator::config::{Caches, Flags};
use splitci_coordinator::model::trust::{KeySource, Level, Partition};
use splitci_coordinator::trust::{self, KeyError, PublicKey, SecretKey, Signer, machine};
use tokio::runtime::Runtime;

use crate::args::{KeysArgs, KeysCommand, NewKeyArgs, ShowKeyArgs};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::{passphrase, printer};
use crate::variables::{KEY_PASSPHRASE, is_set};
use crate::{Context, project};

/// Does it.
pub(crate) fn keys(args: KeysArgs, context: &Context) -> Result<Exit, Failure> {
    match args.command {
        KeysCommand::New(args) => new(&args, context),
        KeysCommand::Show(args) => show(args, context),
    }
}

fn unusable(error: &KeyError) -> Failure {
    Failure::new(Exit::USAGE, error, error.hint())
}

fn new(args: &NewKeyArgs, context: &Context) -> Result<Exit, Failure> {
    let passphrase = if args.passphrase { Some(wanted_passphrase(context)?) } else { None };
    let key = SecretKey::generate().map_err(|error| unusable(&error))?;
    let pem = key.to_pem(passphrase.as_deref()).map_err(|error| unusable(&error))?;
    if args.out.as_deref() == Some(Path::new("-")) {
        printer::answer(&pem)?;
        printer::tell(&format!("its public half:\n{}", public(&key)?));
        return Ok(Exit::DONE);
    }
    let file = match &args.out {
        Some(file) => context.directory.join(file),
        None => place(&key, context)?,
    };
    machine::write_new(&file, &pem).map_err(|error| unwritten(&file, &error))?;
    if args.json {
        let told = serde_json::json!({ "id": key.id().to_string(), "file": file, "public": public(&key)? });
        printer::answer(&format!("{told}\n"))?;
    } else {
        printer::answer(&public(&key)?)?;
        let (id, file) = (key.id().short(), file.display());
        printer::tell(&format!(
            "key {id} is in {file}: give its content to jobs as the secret `SPLITCI_KEY`, and keep the file out of the repository\n\
             its public half, above, goes into the list of its level in `[trust]` of splitci.toml (`splitci init --reference` explains it)\n"
        ));
    }
    Ok(Exit::DONE)
}

fn public(key: &SecretKey) -> Result<String, Failure> {
    text(key.public())
}

fn text(key: &PublicKey) -> Result<String, Failure> {
    key.to_pem().map_err(|error| unusable(&error))
}

fn wanted_passphrase(context: &Context) -> Result<String, Failure> {
    match context.env.get(KEY_PASSPHRASE).filter(|_| is_set(&context.env, KEY_PASSPHRASE)) {
        Some(given) => Ok(given.clone()),
        None => passphrase::ask(),
    }
}

fn unwritten(file: &Path, error: &KeyError) -> Failure {
    let hint = if file.exists() {
        Some(format!("`{}` is there already, and a key is never overwritten: choose another name with `--out FILE`", file.display()))
    } else {
        error.hint()
    };
    Failure::new(Exit::USAGE, error, hint)
}

/// A file beside the state of all projects: in a project it would end in its repository, and in its image.
fn place(key: &SecretKey, context: &Context) -> Result<PathBuf, Failure> {
    let directory = project::caches(context, Flags::default())?.machine.join("keys");
    fs_err::create_dir_all(&directory)
        .map_err(|error| Failure::new(Exit::USAGE, &error, Some("choose a place with `--out FILE`".into())))?;
    Ok(directory.join(format!("{}.pem", key.id().short())))
}

fn show(args: ShowKeyArgs, context: &Context) -> Result<Exit, Failure> {
    let mut flags = Flags::default();
    args.place.into_flags(&mut flags);
    let caches = project::caches(context, flags)?;
    let found = if args.signer { signer(&caches, context).map(Some) } else { key(&caches, context) };
    let Some((key, from)) = found? else {
        printer::tell(
            "this machine has no key yet: the first run that writes to a cache makes one; `splitci keys new` makes one for others\n",
        );
        return Ok(Exit::DONE);
    };
    let list = trust::trusted(&caches.trust).map_err(|error| Failure::new(Exit::USAGE, &error, error.hint()))?;
    let listed = list.get(&key.id()).map(|(_, space)| space.clone());
    let level = listed.as_ref().map_or(Level::Local, |space| space.level);
    let partition = listed.as_ref().and_then(|space| space.partition.clone()).or(caches.trust.partition);
    let partition = partition.as_ref().map(Partition::name);
    if args.json {
        let told = serde_json::json!({
            "id": key.id().to_string(), "level": level.word(), "partition": partition, "listed": listed.is_some(), "from": from, "public": text(&key)?
        });
        printer::answer(&format!("{told}\n"))?;
        return Ok(Exit::DONE);
    }
    let because = match &listed {
        Some(_) => "by `[trust]`",
        None if args.signer || caches.trust.key.is_some() => "it is not in `[trust]`: nobody else believes what it signs",
        None => "this machine's own: nobody else believes what it signs",
    };
    let partition = partition.map(|name| format!(", partition {}", name.escape_debug())).unwrap_or_default();
    printer::answer(&format!("key    {}\nfrom   {from}\nlevel  {level}{partition} ({because})\n{}", key.id(), text(&key)?))?;
    Ok(Exit::DONE)
}

/// The key that a run here would sign with, and where it is from; nothing is made.
fn key(caches: &Caches, context: &Context) -> Result<Option<(PublicKey, String)>, Failure> {
    let Some(source) = &caches.trust.key else {
        let found = machine::found(&caches.machine).map_err(|error| unusable(&error))?;
        return Ok(found.map(|key| (key.public().clone(), machine::place(&caches.machine).display().to_string())));
    };
    let from = match source {
        KeySource::Text(_) => "SPLITCI_KEY".into(),
        KeySource::File(path) => path.display().to_string(),
    };
    let passphrase = context.env.get(KEY_PASSPHRASE).map(String::as_str);
    trust::secret(source, passphrase).map(|key| Some((key.public().clone(), from))).map_err(|error| unusable(&error))
}

/// The key that a program has for us.
fn signer(caches: &Caches, context: &Context) -> Result<(PublicKey, String), Failure> {
    let Some(settings) = &caches.trust.signer else {
        return Err(Failure::plain(
            Exit::USAGE,
            "no program signs here",
            "name one with the key `trust.signer`; without it, `splitci keys show`",
        ));
    };
    let runtime = Runtime::new().map_err(|error| Failure::new(Exit::NO_VERDICT, &error, None))?;
    let asked = runtime.block_on(Signer::new(settings, &context.env).public());
    let key = asked.map_err(|error| Failure::new(Exit::USAGE, &error, Some(error.hint())))?;
    Ok((key, settings.words.join(" ")))
}
