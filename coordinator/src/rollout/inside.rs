//! Questions asked from inside an environment's network, where slots publish no port: by a container of ours on each engine, over one stream. So it is all the same whether the
//! engine is this machine's, whether its networks can be reached from here, and how many slots there are.
//!
//! A container that cannot be made, or whose stream breaks, is made again. Until then nothing is known of its slots: no answer is neither a good one nor a bad one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use splitci_worker::protocol::ask::{Answer, Found, Question};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Site;
use super::probe::Probes;
use crate::docker::Docker;
use crate::docker::container::Attached;
use crate::engine::WorkerBinaries;
use crate::fleet::{Place, asker};
use crate::model::environment::DeployId;
use crate::model::{Fence, chain};

/// Whoever has not answered by then does not: longer than an app may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long after it broke it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks slots of one engine.
#[derive(Debug, Clone)]
pub(super) struct Asker(mpsc::UnboundedSender<Asked>);

/// A question, and who waits for its answer.
#[derive(Debug)]
struct Asked {
    address: String,
    path: String,
    answer: oneshot::Sender<Found>,
}

impl Asker {
    /// What is found at an address, seen from inside; nothing if nobody can say so.
    pub(super) async fn ask(&self, address: &str, path: &str) -> Option<Found> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked { address: address.to_owned(), path: path.to_owned(), answer }).ok()?;
        tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
    }
}

/// What it takes to have a container in the network.
struct Ground {
    engine: String,
    docker: Arc<Docker>,
    place: Place,
    network: String,
    deploy: DeployId,
    fence: Fence,
    workers: WorkerBinaries,
}

/// One on each engine, by its name, for as long as the set lives; none where slots are reached from here.
pub(super) fn start(site: &Site, probes: &Probes, (deploy, fence): (&DeployId, Fence), tasks: &mut JoinSet<()>) -> BTreeMap<String, Asker> {
    let Some(network) = &site.environment.network else { return BTreeMap::new() };
    let mut askers = BTreeMap::new();
    for (engine, docker) in site.fleet.engines() {
        let ground = Ground {
            engine: engine.to_owned(),
            docker: Arc::clone(docker),
            place: site.place.clone(),
            network: network.clone(),
            deploy: deploy.clone(),
            fence,
            workers: site.workers.clone(),
        };
        let (questions, asked) = mpsc::unbounded_channel();
        let probes = probes.clone();
        tasks.spawn(async move { ground.serve(asked, &probes).await });
        askers.insert(engine.to_owned(), Asker(questions));
    }
    askers
}

impl Ground {
    /// Until nobody can ask any more.
    async fn serve(&self, mut asked: mpsc::UnboundedReceiver<Asked>, probes: &Probes) {
        let (engine, who) = ((self.engine.as_str(), &self.docker), (self.deploy.0.as_str(), self.fence.0));
        loop {
            let why = match asker::open(engine, &self.place, &self.network, who, &self.workers).await {
                Ok(attached) => {
                    probes.trouble(&self.engine, None);
                    match converse(attached, &mut asked).await {
                        Some(why) => why,
                        None => return,
                    }
                }
                Err(error) => chain(&error),
            };
            probes
                .trouble(&self.engine, Some(format!("cannot ask the slots of engine `{}` from inside their network: {why}", self.engine)));
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Hands on questions and answers until the stream breaks, and why it did; nothing if nobody can ask any more.
async fn converse(attached: Attached, asked: &mut mpsc::UnboundedReceiver<Asked>) -> Option<String> {
    let Attached { mut stdin, stdout, stderr } = attached;
    let mut lines = BufReader::new(stdout).lines();
    let mut waiting = BTreeMap::new();
    let mut id = 0;
    loop {
        tokio::select! {
            question = asked.recv() => {
                let Asked { address, path, answer } = question?;
                // Who asked while there was no stream has given up.
                if answer.is_closed() {
                    continue;
                }
                id += 1;
                // Those whose time was over before an answer came.
                waiting.retain(|_, answer: &mut oneshot::Sender<Found>| !answer.is_closed());
                waiting.insert(id, answer);
                let mut line = serde_json::to_vec(&Question { id, address, path }).unwrap_or_default();
                line.push(b'\n');
                if let Err(error) = stdin.write_all(&line).await {
                    return Some(chain(&error));
                }
            }
            line = lines.next_line() => match line.map(|line| line.map(|line| serde_json::from_str::<Answer>(&line))) {
                Ok(Some(Ok(Answer { id, found }))) => {
                    if let Some(answer) = waiting.remove(&id) {
                        // Nobody may wait for it any more.
                        answer.send(found).ok();
                    }
                }
                Ok(Some(Err(error))) => return Some(chain(&error)),
                Ok(None) => return Some(format!("its container ended: {}", stderr.text())),
                Err(error) => return Some(chain(&error)),
            },
        }
    }
}
