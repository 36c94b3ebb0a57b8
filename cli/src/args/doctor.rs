//! `splitci doctor`.

use super::project::ProjectArgs;

/// Check this machine, the Dockerfile and the configuration
///
/// Says what a run would use: engine, base images, size of the build context, room on the disk, framework. Changes nothing.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Project, image, containers.
    #[command(flatten)]
    pub project: ProjectArgs,
}
