//! What is put in order beside a run: what earlier runs left, and images that are too many.
//!
//! Nobody waits for it, and no verdict depends on it. What could not be done, or was not done in time, is left to a later run.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::tellers::Tellers;
use crate::docker::Docker;
use crate::engine::Engine;
use crate::image::tidying::Tidying;
use crate::model::{Progress, Telling, chain};

/// How long a run that is over waits for this.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be done.
pub(super) struct Tidy {
    pub(super) engine: Arc<dyn Engine>,
    /// What a build made room for.
    pub(super) images: Option<(Tidying, Arc<Docker>)>,
    pub(super) told: Arc<Tellers>,
}

impl Tidy {
    /// Carries a run out, and does it meanwhile.
    pub(super) async fn beside<O>(&self, run: impl Future<Output = O>) -> O {
        let over = CancellationToken::new();
        let mut tidying = Box::pin(async { tokio::join!(self.sweep(), self.images(&over)) });
        let mut run = std::pin::pin!(run);
        tokio::select! {
            outcome = &mut run => {
                over.cancel();
                let _left = tokio::time::timeout(PATIENCE, &mut tidying).await;
                outcome
            }
            _ = &mut tidying => run.await,
        }
    }

    /// Removes what earlier runs left.
    async fn sweep(&self) {
        match self.engine.sweep().await {
            Ok(swept) => {
                for (what, all) in
                    [("removed what an earlier run left", swept.removed), ("an earlier run left what cannot be removed", swept.stuck)]
                {
                    let Some((first, rest)) = all.split_first() else { continue };
                    let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
                    self.say(format!("{what}: {first}{more}"));
                }
            }
            Err(error) => self.say(format!("what an earlier run may have left is still there: {error}: {}", error.cause)),
        }
    }

    /// Lets go of images: once tests have started, for it keeps an engine busy, or when there are none.
    async fn images(&self, over: &CancellationToken) {
        let Some((tidying, docker)) = &self.images else { return };
        tokio::select! {
            () = self.told.tests_started() => {}
            () = over.cancelled() => {}
        }
        if let Err(error) = tidying.tidy(docker).await {
            self.say(format!("older images are left in the engine: {}", chain(&error)));
        }
    }

    fn say(&self, text: String) {
        self.told.user.hear(&Telling::Progress(Progress::Doing(text)));
    }
}
