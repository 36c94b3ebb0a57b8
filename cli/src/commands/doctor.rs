//! `splitci doctor`: what a run here would use, and what would get in its way. Looks at everything even when one thing is wrong; changes nothing.

use std::path::Path;

use splitci_coordinator::config::{BuildSettings, Flags, ImageSettings, Project};
use splitci_coordinator::docker::{Docker, connect};
use splitci_coordinator::image::dockerfile::Choices;
use splitci_coordinator::image::facts::{base_images, context_facts, room_left};
use splitci_coordinator::model::settings::EngineKind;

use crate::args::DoctorArgs;
use crate::ui::checks::{Check, list};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::printer;
use crate::ui::rows::bytes;
use crate::{Context, project, worker};

/// A context above this is worth a word: it is read for the key at every run.
const LARGE_CONTEXT: u64 = 100 << 20;
/// Less room than this is worth a word.
const LITTLE_ROOM: u64 = 1 << 30;

/// Does it.
pub(crate) fn doctor(args: DoctorArgs, context: &Context) -> Exit {
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
    printer::answer(&list(&checks, context.terminal.out));
    checks.iter().find_map(|check| check.exit).unwrap_or(Exit::DONE)
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
    checks.push(framework(project, context));
    match project.settings.engine {
        EngineKind::Process => checks.push(processes(project, context)),
        EngineKind::Docker => checks.extend(containers(project, context)),
    }
    checks.push(room("records", &project.records.state));
    checks
}

fn framework(project: &Project, context: &Context) -> Check {
    let candidates = project::candidates(&project.root, &context.env);
    let evidence = candidates.into_iter().find(|candidate| candidate.name == project.settings.framework).and_then(|found| found.evidence);
    let why = evidence.map(|evidence| format!(", found by {evidence}")).unwrap_or_default();
    Check::good("suite", format!("{}: `{}`{why}", project.settings.framework, project.settings.command.join(" ")))
}

fn processes(project: &Project, context: &Context) -> Check {
    let shards = format!("{} processes on this machine, isolated from nothing", project.settings.shards);
    let program = project.settings.command.first().map(String::as_str).unwrap_or_default();
    let path = context.env.get("PATH").map(String::as_str).unwrap_or_default();
    let in_path = || path.split(':').any(|directory| Path::new(directory).join(program).is_file());
    let there = if program.contains('/') { project.root.join(program).is_file() } else { in_path() };
    if there {
        return Check::good("engine", shards);
    }
    Check::bad("engine", format!("{shards}; `{program}` is not there"), Exit::USAGE)
        .with("install it, or give another command with the key `suite.command`")
}

fn containers(project: &Project, context: &Context) -> Vec<Check> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Check::bad("engine", error.to_string(), Exit::NO_VERDICT)],
    };
    runtime.block_on(async {
        let docker = match connect(None, &context.env).await {
            Ok(docker) => docker,
            Err(error) => {
                let told = Failure::new(Exit::NO_VERDICT, &error, error.hint().map(str::to_owned));
                return vec![Check::failed("engine", &told, Exit::NO_VERDICT)];
            }
        };
        let mut checks = vec![engine(&docker, project).await];
        match &project.image {
            Some(ImageSettings::Build(build)) => checks.extend(build_checks(&docker, build).await),
            Some(ImageSettings::Given { reference, .. }) => checks.push(given(&docker, reference).await),
            None => {}
        }
        if let (true, Ok(facts)) = (docker.endpoint().is_local(), docker.facts().await) {
            checks.push(room("engine", Path::new(&facts.root)));
        }
        checks
    })
}

async fn engine(docker: &Docker, project: &Project) -> Check {
    match docker.facts().await {
        Ok(facts) => {
            let (version, storage, cgroup) = (&facts.version, &facts.storage_driver, &facts.cgroup_version);
            let size = format!("{} CPUs, {}", facts.cpus, bytes(facts.memory));
            let shards = project.settings.shards;
            Check::good(
                "engine",
                format!("{shards} containers: docker {version} at {}, {storage}, cgroup v{cgroup}, {size}", docker.endpoint()),
            )
        }
        Err(error) => Check::failed("engine", &Failure::new(Exit::NO_VERDICT, &error, error.hint().map(str::to_owned)), Exit::NO_VERDICT),
    }
}

async fn build_checks(docker: &Docker, build: &BuildSettings) -> Vec<Check> {
    let mut checks = vec![context_check(build)];
    let text = match fs_err::read(&build.dockerfile) {
        Ok(text) => text,
        Err(error) => return vec![Check::bad("image", error.to_string(), Exit::USAGE)],
    };
    let platform = match (&build.platform, docker.facts().await) {
        (Some(platform), _) => platform.clone(),
        (None, Ok(facts)) => facts.platform(),
        (None, Err(_)) => String::new(),
    };
    let choices = Choices { target: build.target.as_deref(), args: build.args.clone(), platform: &platform };
    match base_images(docker, &text, &choices).await {
        Ok(bases) => checks.extend(bases.iter().map(|(base, there)| {
            let how = if *there { "is here" } else { "will be pulled" };
            Check::good("base", format!("{} {how}", base.reference))
        })),
        Err(error) => checks.push(Check::failed("base", &Failure::new(Exit::NO_VERDICT, &error, None), Exit::NO_VERDICT)),
    }
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

async fn given(docker: &Docker, reference: &str) -> Check {
    match docker.image(reference).await {
        Ok(Some(image)) => Check::good("image", format!("{reference} is here: {}", image.identity.config)),
        Ok(None) => Check::good("image", format!("{reference} will be pulled")),
        Err(error) => Check::failed("image", &Failure::new(Exit::NO_VERDICT, &error, None), Exit::NO_VERDICT),
    }
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
