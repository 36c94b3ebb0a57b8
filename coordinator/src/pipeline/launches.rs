//! How sessions are started: what the user wants set, and the framework's command with its driver.

use std::collections::BTreeSet;

use super::ground::Ground;
use super::run::Job;
use super::{PipelineError, World};
use crate::framework::{self, Framework, LaunchRequest};
use crate::model::settings::{RunSettings, SuiteSettings};
use crate::model::{Launch, SessionId, ShardId, SuiteId};
use crate::run::Launcher;

/// A suite's framework.
pub(super) fn framework_of(suite: &SuiteSettings) -> Result<&'static dyn Framework, PipelineError> {
    framework::by_name(&suite.framework).ok_or_else(|| PipelineError::Framework(suite.framework.clone()))
}

/// How each session is started. It owns what it needs, since it goes with the run.
pub(super) fn launcher(job: &Job<'_>, ground: &Ground, world: &World) -> Result<Launcher, PipelineError> {
    let (settings, given) = (job.settings.clone(), variables(job, world));
    let (inherited, entrypoint) = (ground.inherited.clone(), ground.entrypoint.clone());
    let (shards, as_shard) = (job.shards, job.as_shard);
    let place = |suite: &SuiteSettings| Ok((framework_of(suite)?, suite.clone(), ground.cwd_of(suite)));
    let places = settings.suites.iter().map(place).collect::<Result<Vec<_>, PipelineError>>()?;
    Ok(Box::new(move |session, suite| {
        let session = as_shard.unwrap_or(session);
        // Whoever names a suite has it from the same settings.
        let at = usize::try_from(suite.0).unwrap_or(0).min(places.len().saturating_sub(1));
        let (framework, suite, cwd) = &places[at];
        let cwd = cwd.as_deref();
        let request = LaunchRequest { settings: &settings, suite, session, shards, cwd, given: &given, inherited: &inherited };
        let mut launch = framework.launch(&request);
        launch.argv.splice(0..0, entrypoint.iter().cloned());
        launch
    }))
}

/// What the user wants set for tests.
pub(super) fn variables(job: &Job<'_>, world: &World) -> Vec<(String, String)> {
    let settings = &job.settings;
    let mut given = settings.env.clone();
    given.extend(job.project.environment.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    // A reproduction has the names from the record, and the values from wherever its caller has them.
    let known: BTreeSet<String> = given.iter().map(|(name, _)| name.clone()).collect();
    let inherited = settings.env_names.iter().filter(|name| !known.contains(*name));
    given.extend(inherited.filter_map(|name| Some((name.clone(), world.env.get(name)?.clone()))));
    given.extend(job.overrides.iter().cloned());
    given
}

/// How a session of a suite is started, less what is of a shard or of chance: for keys.
pub(super) fn canonical_launch(
    job: &Job<'_>,
    ground: &Ground,
    suite: SuiteId,
    given: &[(String, String)],
) -> Result<Launch, PipelineError> {
    let settings = RunSettings { seed: job.project.cache.seed.unwrap_or(0), ..job.settings.clone() };
    let of = settings.suite(suite).cloned().unwrap_or_default();
    let (session, cwd) = (SessionId { shard: ShardId(1), number: 1 }, ground.cwd_of(&of));
    let (inherited, cwd) = (&ground.inherited, cwd.as_deref());
    let request = LaunchRequest { settings: &settings, suite: &of, session, shards: 1, cwd, given, inherited };
    let mut launch = framework_of(&of)?.launch(&request);
    launch.argv.splice(0..0, ground.entrypoint.iter().cloned());
    Ok(launch)
}
