//! The shell around a run: waits on streams, engine and clock, turns what comes into inputs, and carries out effects. It decides nothing.
//!
//! Every task belongs to the `JoinSet` here and ends with it. Writers have queues without a bound, since the run machine must not wait for a slow
//! worker; what can pile up there is bounded by the units leased to one session and one heartbeat in five seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use splitci_worker::protocol::frame::{Decoder, encode};
use splitci_worker::protocol::message::TerminalSize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::machine::Run;
use super::words::{Effect, Input, Obstacle};
use crate::engine::{Engine, Shard, ShardEnd, ShardSpec};
use crate::model::chain;
use crate::model::event::Cancelled;
use crate::model::verdict::Verdict;
use crate::model::{Listener, ShardId, SuiteId};
use crate::proof::Proof;

/// A word from outside to a run that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Stop, and let everything clean up.
    Cancel(Cancelled),
    /// Stop at once.
    CancelNow,
    /// For the framework that has the terminal.
    Typed(Vec<u8>),
    /// The terminal has another size.
    Resized(TerminalSize),
}

/// How a run came out, for the caller's exit.
#[derive(Debug)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// Why no session of a suite came up, if that is the invoker's to mend.
    pub obstacle: Option<(SuiteId, Obstacle)>,
    /// Everything that was told, folded.
    pub proof: Proof,
}

/// Inputs that may wait for the brain; readers wait when it is full, which in the end makes a chatty worker wait.
const INPUTS: usize = 1024;
const READ: usize = 64 << 10;
/// How long a stream may stay open whose shard is gone.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Shards that are being started at a time: an engine does not get faster with more, and one that is flooded stops answering.
const STARTS: usize = 16;

/// Carries a run from its beginning to its end.
pub async fn supervise(
    run: Run,
    engine: Arc<dyn Engine>,
    listener: Arc<dyn Listener>,
    mut control: mpsc::UnboundedReceiver<Control>,
) -> Outcome {
    let (inputs, mut incoming) = mpsc::channel(INPUTS);
    let (writers, tasks, starts) = (BTreeMap::new(), JoinSet::new(), Arc::new(Semaphore::new(STARTS)));
    let mut shell = Shell { run, engine, listener, inputs, writers, tasks, starts, began: Instant::now(), verdict: None };
    shell.handle(Input::Begin);
    while shell.verdict.is_none() {
        let deadline = shell.began + Duration::from_millis(shell.run.next_deadline());
        tokio::select! {
            biased;
            Some(word) = control.recv() => shell.handle(match word {
                Control::Cancel(reason) => Input::Cancel(reason),
                Control::CancelNow => Input::CancelNow,
                Control::Typed(keys) => Input::Typed(keys),
                Control::Resized(size) => Input::Resized(size),
            }),
            Some(news) = incoming.recv() => shell.heard(news),
            () = tokio::time::sleep_until(deadline) => shell.handle(Input::Tick),
        }
        while shell.tasks.try_join_next().is_some() {}
    }
    shell.tasks.shutdown().await;
    shell.engine.close().await;
    let obstacle = shell.run.obstacle().cloned();
    Outcome { verdict: shell.verdict.unwrap_or(Verdict::None), obstacle, proof: shell.run.into_proof() }
}

/// What tasks report.
enum News {
    Input(Input),
    Started(ShardId, Shard),
}

struct Shell {
    run: Run,
    engine: Arc<dyn Engine>,
    listener: Arc<dyn Listener>,
    inputs: mpsc::Sender<News>,
    writers: BTreeMap<ShardId, mpsc::UnboundedSender<Vec<u8>>>,
    tasks: JoinSet<()>,
    starts: Arc<Semaphore>,
    began: Instant,
    verdict: Option<Verdict>,
}

impl Shell {
    fn heard(&mut self, news: News) {
        match news {
            News::Input(input) => self.handle(input),
            News::Started(id, shard) => {
                let name = shard.handle.name.clone();
                self.attach(id, shard);
                self.handle(Input::ShardStarted { shard: id, name });
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        for effect in self.run.handle(now, input) {
            match effect {
                Effect::StartShard(spec) => self.start(spec),
                Effect::Send { shard, message, blob } => {
                    let mut frame = Vec::new();
                    encode(&message, &blob, &mut frame);
                    if let Some(writer) = self.writers.get(&shard) {
                        // A writer that is gone has met the stream's end, which its reader reports.
                        writer.send(frame).ok();
                    }
                }
                Effect::EndShard(shard) => drop(self.writers.remove(&shard)),
                Effect::Tell(telling) => self.listener.hear(&telling),
                Effect::Finished(verdict) => self.verdict = Some(verdict),
            }
        }
    }

    fn start(&mut self, spec: ShardSpec) {
        let (engine, inputs, starts) = (Arc::clone(&self.engine), self.inputs.clone(), Arc::clone(&self.starts));
        self.tasks.spawn(async move {
            // The semaphore is never closed; without it a start would only be less polite.
            let _turn = starts.acquire().await.ok();
            let news = match engine.start(&spec).await {
                Ok(shard) => News::Started(spec.shard, shard),
                Err(error) => News::Input(Input::ShardNotStarted { shard: spec.shard, detail: chain(&error), refused: error.refused }),
            };
            inputs.send(news).await.ok();
        });
    }

    /// One task writes to the shard and ends it when its queue is closed or the stream breaks; one reads until the stream ends.
    fn attach(&mut self, id: ShardId, shard: Shard) {
        let (writer, frames) = mpsc::unbounded_channel();
        self.writers.insert(id, writer);
        let (engine, inputs) = (Arc::clone(&self.engine), self.inputs.clone());
        self.tasks.spawn(async move { converse(id, shard, frames, engine, inputs).await });
    }
}

/// A shard's stream, from its start to its end: exactly one `ShardGone` comes of it.
async fn converse(
    id: ShardId,
    shard: Shard,
    frames: mpsc::UnboundedReceiver<Vec<u8>>,
    engine: Arc<dyn Engine>,
    inputs: mpsc::Sender<News>,
) {
    let Shard { input, output, handle } = shard;
    let reading = read_all(id, output, &inputs);
    tokio::pin!(reading);
    let (end, garbled) = tokio::select! {
        garbled = &mut reading => (engine.end(&handle).await, garbled),
        // Told to go, or not to be reached: it is seen to its end even if it does not read any more. What it still says is read meanwhile.
        () = write_all(input, frames) => see_to_its_end(engine.end(&handle), reading).await,
    };
    inputs.send(News::Input(Input::ShardGone { shard: id, end, garbled })).await.ok();
}

/// A shard's end, and what it said until then. An engine may keep the stream open of a shard that is gone: that is not waited for.
async fn see_to_its_end(
    ending: impl Future<Output = ShardEnd>,
    reading: impl Future<Output = Option<String>>,
) -> (ShardEnd, Option<String>) {
    tokio::pin!(ending, reading);
    tokio::select! {
        garbled = &mut reading => (ending.await, garbled),
        end = &mut ending => {
            let garbled = tokio::time::timeout(LAST_WORDS, reading).await;
            (end, garbled.ok().flatten())
        }
    }
}

async fn write_all(mut input: Box<dyn AsyncWrite + Send + Unpin>, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        let written = async {
            input.write_all(&frame).await?;
            input.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
    // Best effort: the stream's end says the same.
    input.shutdown().await.ok();
}

/// Reads frames until the stream ends; says what was wrong if it did not carry frames.
async fn read_all(id: ShardId, mut output: Box<dyn AsyncRead + Send + Unpin>, inputs: &mpsc::Sender<News>) -> Option<String> {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; READ];
    loop {
        let n = match output.read(&mut buffer).await {
            Ok(0) => return None,
            Ok(n) => n,
            Err(error) => return Some(error.to_string()),
        };
        decoder.push(&buffer[..n]);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => {
                    let input = Input::Frame { shard: id, message: frame.message, blob: frame.blob };
                    if inputs.send(News::Input(input)).await.is_err() {
                        return None;
                    }
                }
                Ok(None) => break,
                Err(error) => return Some(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_outlives_its_shard_is_not_waited_for() {
        let end = ShardEnd { status: Some(0), ..ShardEnd::default() };
        let seen = see_to_its_end(std::future::ready(end.clone()), std::future::pending()).await;
        assert_eq!(seen, (end.clone(), None));
        // What is still on its way is read.
        let late = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some("garbage".to_owned())
        };
        assert_eq!(see_to_its_end(std::future::ready(end.clone()), late).await, (end, Some("garbage".to_owned())));
    }
}
