//! `splitci doctor`: what a run here would use, and what would get in its way. Looks at everything even when one thing is wrong; changes nothing.

use std::path::Path;

use splitci_coordinator::config::{BuildSettings, Flags, ImageSettings, Project, Sought};
use splitci_coordinator::history::History;
use splitci_coordinator::image::facts::{context_facts, room_left};
use splitci_coordinator::model::settings::{EngineKind, SuiteSettings};
use splitci_coordinator::pipeline::{Examined, examine};

use crate::args::DoctorArgs;
use crate::ui::checks::{Check, list};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::{bytes, count};
use crate::{Context, project, worker};

/// A context above this is worth a word: it is read for the key at every run.
const LARGE_CONTEXT: u64 = 100 << 20;
/// Less room than this is worth a word.
const LITTLE_ROOM: u64 = 1 << 30;

/// Does it.
pub(crate) fn doctor(args: DoctorArgs, context: &Context) -> Result<Exit, Failure> {
    let mut flags = Flags::default();
    args.project.into_flags(&mut flags);
    let mut checks = vec![program(context)];
    let found = project::resolve(context, flags);
    match &found {
        Ok(project) => checks.extend(of_project(project, context)),
        Err(_) => checks.push(Check::bad("config", "has errors, told above", Exit::USAGE)),
    }
    if let Err(failure) = &found {
        printer::tell(&(failure.render(context.terminal.err) + "\n"));
    }
    printer::answer(&list(&checks, context.terminal.out))?;
    Ok(checks.iter().find_map(|check| check.exit).unwrap_or(Exit::DONE))
}

fn program(context: &Context) -> Check {
    let version = env!("CARGO_PKG_VERSION");
    match worker::binaries(&context.env) {
        Ok(workers) => Check::good("splitci", format!("{version}, with workers for {}", workers.archs().collect::<Vec<_>>().join(", "))),
        Err(error) => Check::bad("splitci", error.to_string(), Exit::NO_VERDICT).with(error.hint()),
    }
}

fn of_project(project: &Project, context: &Context) -> Vec<Check> {
    let config = project.file.as_ref().map_or_else(|| "no splitci.toml: defaults".into(), |file| file.display().to_string());
    let mut checks = vec![Check::good("config", config), Check::good("project", format!("{} in {}", project.name, project.root.display()))];
    checks.extend(project.notices.iter().map(|notice| Check::odd("config", notice.clone())));
    checks.extend(project.settings.suites.iter().map(|suite| framework(suite, project, context)));
    match project.settings.engine {
        EngineKind::Process => {
            let shards = format!("{} processes on this machine, isolated from nothing", project.settings.shards);
            checks.push(Check::good("engine", shards));
            checks.extend(project.settings.suites.iter().filter_map(|suite| absent(suite, project, context)));
        }
        EngineKind::Docker => checks.extend(containers(project, context)),
    }
    checks.push(writable(&project.records.state).unwrap_or_else(|| room("records", &project.records.state)));
    checks
}

fn framework(suite: &SuiteSettings, project: &Project, context: &Context) -> Check {
    let candidates = project::candidates(&project.root.join(&suite.directory), &context.env, &Sought::Frameworks);
    let evidence = candidates.into_iter().find(|candidate| candidate.name == suite.framework).and_then(|found| found.evidence);
    let why = evidence.map(|evidence| format!(", found by {evidence}")).unwrap_or_default();
    let place = if suite.directory.is_empty() { String::new() } else { format!(" in {}", suite.directory) };
    let name = if suite.name.is_empty() { String::new() } else { format!("{}: ", suite.name) };
    Check::good("suite", format!("{name}{}: `{}`{place}{why}", suite.framework, suite.command.join(" ")))
}

/// A suite whose program is not on this machine.
fn absent(suite: &SuiteSettings, project: &Project, context: &Context) -> Option<Check> {
    let program = suite.command.first().map(String::as_str).unwrap_or_default();
    let path = context.env.get("PATH").map(String::as_str).unwrap_or_default();
    let in_path = || path.split(':').any(|directory| Path::new(directory).join(program).is_file());
    let there = if program.contains('/') { project.root.join(&suite.directory).join(program).is_file() } else { in_path() };
    let bad = || {
        Check::bad("engine", format!("`{program}` is not there"), Exit::USAGE)
            .with("install it, or give another command with the key `suite.command`")
    };
    (!there).then(bad)
}

fn containers(project: &Project, context: &Context) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(ImageSettings::Build(build)) = &project.image {
        checks.push(context_check(build));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Check::bad("engine", error.to_string(), Exit::NO_VERDICT)],
    };
    match runtime.block_on(examine(project, &context.env)) {
        Ok(seen) => checks.extend(engine(&seen, project.settings.shards)),
        Err(error) => {
            let failure = Failure::new(Exit::NO_VERDICT, &error, error.hint().map(str::to_owned));
            checks.push(Check::failed("engine", &failure, Exit::NO_VERDICT));
        }
    }
    checks
}

fn engine(seen: &Examined, shards: u32) -> Vec<Check> {
    let Examined { version, endpoint, storage, cgroup, cpus, .. } = seen;
    let size = format!("{cpus} CPUs, {}", bytes(seen.memory));
    let engine = format!("{}: docker {version} at {endpoint}, {storage}, cgroup v{cgroup}, {size}", count(shards as usize, "container"));
    let mut checks = vec![Check::good("engine", engine)];
    checks.extend(seen.images.iter().map(|(reference, there)| {
        let how = if *there { "is here" } else { "will be pulled" };
        Check::good("image", format!("{reference} {how}"))
    }));
    checks.extend(seen.root.as_ref().map(|root| room("the engine", root)));
    checks
}

fn context_check(build: &BuildSettings) -> Check {
    let facts = match context_facts(&build.context, &build.dockerfile) {
        Ok(facts) => facts,
        Err(error) => return Check::failed("context", &Failure::new(Exit::USAGE, &error, None), Exit::USAGE),
    };
    let text = format!("{}: {} files, {}", build.context.display(), facts.files, bytes(facts.bytes));
    if facts.has_history {
        return Check::odd("context", format!("{text}; `.git` is in it, so that every commit makes another image"))
            .with("add `.git` to .dockerignore");
    }
    if facts.bytes > LARGE_CONTEXT {
        let largest = facts.largest.iter().take(3).map(|(path, size)| format!("`{}` ({})", path.display(), bytes(*size)));
        let hint =
            format!("exclude in .dockerignore what the image does not need, for example of {}", largest.collect::<Vec<_>>().join(", "));
        return Check::odd("context", text).with(hint);
    }
    Check::good("context", text)
}

/// What keeps records from being written, if anything does.
fn writable(state: &Path) -> Option<Check> {
    let error = History::probe(state).err()?;
    let hint = error.hint().unwrap_or_default();
    let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
    Some(Check::bad("records", format!("{error}{cause}"), Exit::NO_VERDICT).with(hint))
}

/// Room where a path is or will be.
fn room(what: &'static str, path: &Path) -> Check {
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    match room_left(there) {
        Ok(left) if left < LITTLE_ROOM => Check::odd("disk", format!("{} left for {what} in {}", bytes(left), path.display())),
        Ok(left) => Check::good("disk", format!("{} left for {what} in {}", bytes(left), path.display())),
        Err(error) => Check::odd("disk", format!("cannot tell how much is left for {what} in {}: {error}", path.display())),
    }
}
