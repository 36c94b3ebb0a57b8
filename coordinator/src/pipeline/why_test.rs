//! `splitci cache why FILE`: what a run that reuses results would do with test files, and why. The image must be there; nothing is built or started.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cache::{Cache, Opening, milliseconds};
use super::ground::prepare;
use super::plans::given;
use super::repository::identity;
use super::results::{FileFate, Known, Reuse};
use super::run::{Job, new_run};
use super::{Fate, PipelineError, World, why};
use crate::config::{ImageSettings, Project};
use crate::model::settings::EngineKind;
use crate::model::{Listener, Manifest};

/// Test files, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesExplained {
    /// Each, what a run would do with it, and how what counts differs from the last run's.
    pub files: Vec<(String, FileFate, Vec<String>)>,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// Explains these files of a project, named as runs name them. Nothing where the image is not there: then its absence is what is to be explained.
pub async fn why_files(
    project: &Project,
    files: &[String],
    world: &World,
    listener: Arc<dyn Listener>,
) -> Result<Option<FilesExplained>, PipelineError> {
    if project.settings.engine != EngineKind::Docker {
        return Err(PipelineError::NothingBuilt);
    }
    if matches!(project.image, Some(ImageSettings::Build(_))) {
        let image = why(project, world, listener.as_ref()).await?;
        if image.fate != Fate::Reused {
            return Ok(None);
        }
    }
    let run = new_run();
    let now_ms = milliseconds(&run);
    let Opening { cache, level, notices: mut notes } = Cache::open(project, &run, world).await?;
    let mut settings = project.settings.clone();
    settings.reuse = true;
    let mut job = Job {
        project,
        project_id: identity(project),
        run,
        cache,
        level,
        settings,
        planner: given(Manifest { units: Vec::new() }),
        recalled: Vec::new(),
        durations: BTreeMap::new(),
        reuse: Reuse::Use,
        of: None,
        list_only: true,
        as_shard: None,
        shards: project.settings.shards,
        image: None,
        keep: false,
        notices: Vec::new(),
        overrides: Vec::new(),
        terminal: None,
        filters: Vec::new(),
        reused_level: None,
        provenance: None,
    };
    let ground = Box::pin(prepare(&job, world, listener.as_ref())).await?;
    let known = Known::of(&mut job, &ground, world)?;
    notes.append(&mut job.notices);
    let mut explained = Vec::new();
    for file in files {
        let suite = job.settings.suites().find(|(_, suite)| suite.owned(file).is_some()).map(|(id, _)| id).unwrap_or_default();
        let (fate, differences) = match &known {
            Some(known) => known.explain(suite, file, now_ms).await,
            None => (FileFate::Unkeyed, Vec::new()),
        };
        explained.push((file.clone(), fate, differences));
    }
    Ok(Some(FilesExplained { files: explained, notes }))
}
