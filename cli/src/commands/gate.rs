//! `splitci verify` and `splitci promote`; and how every command after green asks the gate.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use splitci_coordinator::config::{Delivery, Flags};
use splitci_coordinator::delivery::{
    self, Approved, Asked, Breaking, DeliveryError, Denial, Found, Mode, Outside, PolicySource, Promoted, approve, find, promote,
};
use splitci_coordinator::gate::Told;
use splitci_coordinator::model::Sha256;
use splitci_coordinator::model::trust::Level;
use splitci_coordinator::trust::dsse;
use tokio::runtime::Runtime;

use crate::args::{GateArgs, PromoteArgs, RevokeArgs, VerifyArgs};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::{gate as ui, printer};
use crate::variables::{KEY_PASSPHRASE, POLICY, USER, is_set};
use crate::{Context, project};

/// How long a word to break the glass counts, if the policy does not say less: four hours.
const GLASS_MS: u64 = 4 * 3_600_000;

/// What it takes to ask.
pub(super) struct Desk {
    pub(super) delivery: Delivery,
    pub(super) outside: Outside,
    pub(super) runtime: Runtime,
}

impl Desk {
    /// For the project here.
    pub(super) fn open(context: &Context) -> Result<Self, Failure> {
        let runtime = Runtime::new().map_err(|error| Failure::new(Exit::NO_VERDICT, &error, None))?;
        Ok(Self { delivery: project::delivery(context, Flags::default())?, outside: outside(context), runtime })
    }

    /// Where policies come from: a file that was named, else the protected ref.
    pub(super) fn source(&self, named: Option<&Path>, context: &Context) -> PolicySource {
        let variable = context.env.get(POLICY).filter(|_| is_set(&context.env, POLICY)).map(PathBuf::from);
        match named.map(Path::to_owned).or(variable) {
            Some(file) => PolicySource::File(context.directory.join(file)),
            None => PolicySource::Protected { root: self.delivery.root.clone(), name: self.delivery.protected.clone() },
        }
    }
}

fn outside(context: &Context) -> Outside {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Outside { env: context.env.clone(), now_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
}

/// An error of this room as people read it: a no with its code, and all that was looked at.
pub(super) fn failure(error: &DeliveryError) -> Failure {
    let mut failure = Failure::new(Exit(error.exit()), error, error.hint());
    if let (DeliveryError::Denied(denial), Some(told)) = (error, failure.told.first_mut()) {
        told.what = format!("{}: {denial}", denial.code());
        told.causes.extend(denial.seen.iter().map(|seen| format!("looked at {seen}")));
    }
    if let (DeliveryError::Rollout(error), Some(told)) = (error, failure.told.first_mut())
        && let Some(code) = error.code()
    {
        told.what = format!("{code}: {error}");
    }
    failure
}

/// A no for machines.
fn denied(denial: &Denial) -> Value {
    let seen: Vec<_> = denial.seen.iter().map(ToString::to_string).collect();
    json!({
        "allowed": false, "code": denial.code(), "why": denial.reason.to_string(), "image": denial.image,
        "environment": denial.environment, "seen": seen, "hint": denial.hint(), "exit": 6,
    })
}

/// Ends with an error; with `--json` it is on standard output as well.
fn ended(error: &DeliveryError, as_json: bool) -> Result<Exit, Failure> {
    match error {
        DeliveryError::Denied(denial) if as_json => {
            printer::answer(&format!("{}\n", denied(denial)))?;
            Ok(Exit(error.exit()))
        }
        error => Err(failure(error)),
    }
}

/// Says whether an image may go somewhere.
pub(crate) fn verify(args: &VerifyArgs, context: &Context) -> Result<Exit, Failure> {
    let desk = Desk::open(context)?;
    let is_file = args.policy.contains('/') || Path::new(&args.policy).extension().is_some_and(|end| end == "toml");
    let environment = match (&args.environment, is_file) {
        (Some(environment), _) => environment,
        (None, false) => &args.policy,
        (None, true) => {
            let hint = "name it too: `--environment production`";
            return Err(Failure::plain(Exit::USAGE, "a file of policies does not say which of them is meant", hint));
        }
    };
    let brought = args.bundle.iter().map(|file| envelope(&context.directory.join(file))).collect::<Result<Vec<_>, _>>()?;
    let source = desk.source(is_file.then_some(Path::new(&args.policy)), context);
    // Whatever is to be deployed was a candidate first; what is asked of it does not depend on that.
    let asked = Asked {
        delivery: &desk.delivery,
        reference: &args.reference,
        environment,
        mode: Mode::Promote,
        source: &source,
        brought: &brought,
    };
    match desk.runtime.block_on(approve(&asked, &desk.outside)) {
        Ok(approved) => {
            let text = if args.json { format!("{}\n", allowed(&approved)) } else { ui::approved(&approved, desk.outside.now_ms) };
            printer::answer(&text)?;
            Ok(Exit::DONE)
        }
        Err(error) => ended(&error, args.json),
    }
}

/// A yes for machines.
fn allowed(approved: &Approved) -> Value {
    let told = approved.account.decisive(&approved.approval);
    let seen: Vec<_> = approved.account.seen.iter().map(ToString::to_string).collect();
    json!({
        "allowed": true, "image": approved.identity.manifest, "config": approved.identity.config, "repository": approved.repository.name().to_string(),
        "environment": approved.approval.environment(), "policy": approved.approval.policy(), "policy_from": approved.policy_from,
        "runs": approved.approval.runs(), "finished": approved.approval.finished().map(|at| at.to_string()),
        "level": told.and_then(|told| told.level).map(Level::word), "commit": told.and_then(Told::commit),
        "glass": approved.approval.glass().map(|broken| json!({ "actor": broken.actor, "reason": broken.reason, "expires": broken.expires.to_string() })),
        "seen": seen, "exit": 0,
    })
}

/// An envelope, or one in a bundle.
fn envelope(file: &Path) -> Result<Found, Failure> {
    let bytes = fs_err::read(file).map_err(|error| Failure::new(Exit::USAGE, &error, None))?;
    let envelope = dsse::unbundle(&bytes).unwrap_or(bytes);
    Ok(Found { envelope, at: file.display().to_string() })
}

/// Signs for an image, if somebody wants past the gate.
pub(super) fn sign_for(desk: &Desk, asked: &Asked<'_>, args: &GateArgs, context: &Context) -> Result<(), Failure> {
    let (Some(reason), Some(key)) = (&args.break_glass, &args.key) else { return Ok(()) };
    let breaking = Breaking {
        environment: asked.environment.to_owned(),
        reason: reason.clone(),
        actor: actor(context),
        key: context.directory.join(key),
        passphrase: context.env.get(KEY_PASSPHRASE).filter(|_| is_set(&context.env, KEY_PASSPHRASE)).cloned(),
        ttl_ms: GLASS_MS,
    };
    let signed = desk.runtime.block_on(async {
        let (repository, identity) = find(asked, &desk.outside).await?;
        delivery::break_glass(&breaking, &identity, &repository, &desk.outside).await
    });
    let artifact = signed.map_err(|error| failure(&error))?;
    printer::tell(&format!("signed for `{}`, and put beside the image as {artifact}: everybody can see it\n", asked.environment));
    Ok(())
}

/// Who is asking, for people.
pub(super) fn actor(context: &Context) -> String {
    let user = context.env.get(USER).cloned().unwrap_or_else(|| "somebody".into());
    let host = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

/// Gives a tested image its name.
pub(crate) fn promote_image(args: &PromoteArgs, context: &Context) -> Result<Exit, Failure> {
    let desk = Desk::open(context)?;
    let source = desk.source(args.gate.policy.as_deref(), context);
    let asked = Asked {
        delivery: &desk.delivery,
        reference: &args.reference,
        environment: &args.environment,
        mode: Mode::Promote,
        source: &source,
        brought: &[],
    };
    let tags = args.tag.iter().map(|tag| tag.parse()).collect::<Result<Vec<_>, _>>();
    let tags = tags.map_err(|error| failure(&DeliveryError::Registry(error)))?;
    sign_for(&desk, &asked, &args.gate, context)?;
    match desk.runtime.block_on(promote(&asked, &tags, &desk.outside)) {
        Ok(promoted) => {
            let text = if args.json { format!("{}\n", promoted_json(&promoted)) } else { ui::promoted(&promoted, desk.outside.now_ms) };
            printer::answer(&text)?;
            Ok(Exit::DONE)
        }
        Err(error) => ended(&error, args.json),
    }
}

/// Prints the entry of a policy that stops something.
pub(crate) fn revoke(args: &RevokeArgs) -> Result<Exit, Failure> {
    let digest = |text: &String| Sha256::parse(text).or_else(|| Sha256::of_hex(text));
    let no_digest = |text: &str| {
        let hint = "name an image by `sha256:` and 64 digits, as `splitci verify` shows it; a tag may mean another one tomorrow";
        Failure::plain(Exit::USAGE, &format!("`{text}` is no digest"), hint)
    };
    let (what, name) = match args {
        RevokeArgs { image: Some(image), .. } => ("image", digest(image).ok_or_else(|| no_digest(image))?.to_string()),
        RevokeArgs { key: Some(key), .. } => ("key", digest(key).ok_or_else(|| no_digest(key))?.hex()),
        RevokeArgs { run: Some(run), .. } => ("run", run.clone()),
        RevokeArgs { commit: Some(commit), .. } => ("commit", commit.clone()),
        _ => return Err(Failure::plain(Exit::USAGE, "nothing is named", "name an image, `--run`, `--commit` or `--key`")),
    };
    let quoted = |text: &str| Value::from(text).to_string();
    printer::answer(&format!("{{ {what} = {}, reason = {} }}\n", quoted(&name), quoted(&args.reason)))?;
    printer::tell("put this into `revoked = [...]` of each `[policy.NAME]`, and have it reach the protected ref\n");
    Ok(Exit::DONE)
}

fn promoted_json(promoted: &Promoted) -> Value {
    let copied = &promoted.copied;
    let tags: Vec<_> = copied.tags.iter().map(ToString::to_string).collect();
    json!({
        "promoted": promoted.promotion.reference(), "environment": promoted.promotion.environment(), "policy": promoted.promotion.policy(),
        "tags": tags, "manifests": copied.manifests, "mounted": copied.mounted, "sent": copied.sent, "bytes": copied.bytes,
        "statements": copied.statements, "writes": copied.writes, "exit": 0,
    })
}
