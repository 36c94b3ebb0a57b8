//! What runs say of the images that they are building, to others that share a store: who, where, and whether that is done. Renewed every few seconds, taken back at the end, and over by
//! itself soon after its writer's death.
//!
//! It lies in the far stores as everything does, signed and in the place of its level, so that a run waits only for those whom it believes. It does not go the way of other
//! records, which wait in a row with large blobs: one that comes late is taken for one of a dead machine. It is a reason to wait and no more: no image is taken for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::content::Store;
use crate::image::elsewhere::Claim;
use crate::image::key::Key;
use crate::model::RunId;
use crate::trust::{Life, Seal};
use crate::vault::{Memory, Vault};

const LAYER: &str = "claim";
/// How often it is said again.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How long it counts at most: clocks may differ by this, and who did not take it back is not asked about for longer.
const KEEP: Duration = Duration::from_mins(2);
/// A name that is shown is no longer.
const LONGEST_NAME: usize = 160;

/// The claims of a run.
#[derive(Debug)]
pub(super) struct Claims {
    vault: Arc<Vault>,
    /// Where the records are that must have arrived before a claim is taken back.
    records: Arc<dyn Store>,
    run: RunId,
    /// How far each is, and who says so.
    said: Mutex<(Vec<watch::Sender<Stage>>, JoinSet<()>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Building,
    Built,
    Through,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Said {
    run: RunId,
    claim: Claim,
}

impl Claims {
    /// Claims in this store, of a run whose other records go to that one.
    pub(super) fn new(store: Arc<dyn Store>, seal: Seal, records: Arc<dyn Store>, run: RunId) -> Self {
        Self { vault: Arc::new(Vault::new(store, seal, &[])), records, run, said: Mutex::default() }
    }

    /// What another run says that builds this, the last one to say it.
    pub(super) async fn of(&self, key: Key) -> Option<Claim> {
        let heard = self.vault.recall_all(LAYER, key.bytes(), now()).await;
        let said = heard.iter().filter_map(|opened| Some((opened.written_at, serde_json::from_slice::<Said>(&opened.payload).ok()?)));
        let (_, last) = said.filter(|(_, said)| said.run != self.run).max_by_key(|(at, _)| *at)?;
        let whom = last.claim.whom.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
        Some(Claim { whom, ..last.claim })
    }

    /// Says it until it is through or taken back.
    pub(super) fn announce(&self, key: Key, claim: Claim) {
        let (stage, seen) = watch::channel(Stage::Building);
        let whom = format!("{} on {}", claim.whom, host());
        let said = Said { run: self.run.clone(), claim: Claim { whom, ..claim } };
        let saying = say(Arc::clone(&self.vault), Arc::clone(&self.records), key, said, seen);
        let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        all.0.push(stage);
        all.1.spawn(saying);
    }

    /// What was built is on its way.
    pub(super) fn built(&self) {
        self.now_at(Stage::Built);
    }

    /// Nothing more comes of it. Taken back in the background: tests need not wait for that.
    pub(super) fn through(&self) {
        self.now_at(Stage::Through);
    }

    fn now_at(&self, stage: Stage) {
        for one in &self.said.lock().unwrap_or_else(PoisonError::into_inner).0 {
            one.send_replace(stage);
        }
    }

    /// Takes back what is still said, and waits until that is done.
    pub(super) async fn close(&self) {
        self.through();
        let said = std::mem::take(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner).1);
        said.join_all().await;
    }
}

async fn say(vault: Arc<Vault>, records: Arc<dyn Store>, key: Key, mut said: Said, mut stage: watch::Receiver<Stage>) {
    loop {
        let now_at = *stage.borrow_and_update();
        if now_at == Stage::Through {
            break;
        }
        said.claim.built = now_at == Stage::Built;
        said.claim.beat += 1;
        let life = Life { written_at: now(), keep: KEEP };
        let Ok(payload) = serde_json::to_vec(&said) else { return };
        // Counted by the store: who does not hear of it builds, too.
        let _counted = vault.remember(LAYER, key.bytes(), Memory { payload: payload.into(), blobs: Vec::new(), life }).await;
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            changed = stage.changed() => if changed.is_err() { return },
        }
    }
    // Where the image is, is known before nobody builds it any more. Both are counted by the store; a claim that stays is over soon.
    let _counted = records.flush().await;
    let _counted = vault.forget(LAYER, key.bytes()).await;
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What this machine calls itself.
fn host() -> String {
    let name = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "another machine".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{MemoryStore, RecordKey};
    use crate::model::trust::{Level, Space};
    use crate::trust::{SecretKey, TrustList};

    const LEVELS: [Level; 3] = [Level::Protected, Level::Pull, Level::Fork];

    /// Who shares a store: one of each level.
    struct Team {
        store: Arc<dyn Store>,
        keys: [SecretKey; 3],
    }

    impl Team {
        fn new() -> Self {
            let keys = LEVELS.map(|_| SecretKey::generate().expect("a key"));
            Self { store: Arc::new(MemoryStore::default()), keys }
        }

        fn seal(&self, level: Level) -> Seal {
            let mut list = TrustList::default();
            for (key, level) in self.keys.iter().zip(LEVELS) {
                list.add(key.public().clone(), Space::of(level)).expect("added");
            }
            let at = LEVELS.iter().position(|one| *one == level).expect("one of them");
            Seal::new(self.keys[at].clone(), list, None)
        }

        fn claims(&self, run: &str, level: Level) -> Claims {
            Claims::new(Arc::clone(&self.store), self.seal(level), Arc::clone(&self.store), RunId(run.into()))
        }
    }

    fn key() -> Key {
        Key::from_bytes([7; 32])
    }

    fn claim(whom: &str) -> Claim {
        Claim { whom: whom.into(), engine: "one".into(), sends: true, ..Claim::default() }
    }

    /// Until it is so, or not after all.
    async fn heard(by: &Claims, wanted: impl Fn(Option<&Claim>) -> bool) -> Option<Claim> {
        for _ in 0..100 {
            let claim = by.of(key()).await;
            if wanted(claim.as_ref()) {
                return claim;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never heard: {:?}", by.of(key()).await)
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_is_renewed_until_it_is_taken_back() {
        let team = Team::new();
        let (one, other) = (team.claims("A", Level::Pull), team.claims("B", Level::Pull));
        assert_eq!(other.of(key()).await, None);
        one.announce(key(), claim("run A\n\u{1b}[2J"));
        let first = heard(&other, |claim| claim.is_some()).await.expect("a claim");
        assert!(first.whom.starts_with("run A[2J on ") && !first.built, "{first:?}");
        assert_eq!(one.of(key()).await, None, "nobody waits for itself");
        heard(&other, |claim| claim.is_some_and(|claim| claim.beat > first.beat)).await;
        one.built();
        heard(&other, |claim| claim.is_some_and(|claim| claim.built)).await;
        one.through();
        heard(&other, |claim| claim.is_none()).await;
        one.announce(key(), claim("run A"));
        heard(&other, |claim| claim.is_some()).await;
        one.close().await;
        assert_eq!(other.of(key()).await, None, "closed is taken back");
    }

    #[tokio::test]
    async fn nobody_waits_for_whom_it_does_not_believe() {
        let team = Team::new();
        let [protected, pull, fork] = LEVELS.map(|level| team.claims(level.word(), level));
        fork.announce(key(), claim("a fork"));
        heard(&team.claims("another", Level::Fork), |claim| claim.is_some()).await;
        assert_eq!((protected.of(key()).await, pull.of(key()).await), (None, None));
        // The same words in the place of protected runs, by whoever can write there.
        let place = |level: Level| RecordKey { layer: LAYER, space: Space::of(level).name(), key: key().bytes() };
        let words = team.store.entry(&place(Level::Fork)).await.expect("readable").expect("a claim");
        team.store.put_entry(&place(Level::Protected), words).await.expect("put");
        assert_eq!((protected.of(key()).await, pull.of(key()).await), (None, None), "signed by a fork, wherever it lies");
        protected.announce(key(), claim("a protected run"));
        let above = heard(&pull, |claim| claim.is_some()).await.expect("a claim");
        assert!(above.whom.starts_with("a protected run on "), "{above:?}");
    }

    #[tokio::test]
    async fn what_the_dead_said_is_over_by_itself() {
        let team = Team::new();
        let vault = Vault::new(Arc::clone(&team.store), team.seal(Level::Pull), &[]);
        let said = |age: Duration| {
            let said = Said { run: RunId("A".into()), claim: claim("run A") };
            let life = Life { written_at: now() - u64::try_from(age.as_millis()).expect("small"), keep: KEEP };
            Memory { payload: serde_json::to_vec(&said).expect("JSON").into(), blobs: Vec::new(), life }
        };
        let other = team.claims("B", Level::Pull);
        vault.remember(LAYER, key().bytes(), said(Duration::ZERO)).await.expect("written");
        assert!(other.of(key()).await.is_some());
        vault.remember(LAYER, key().bytes(), said(KEEP)).await.expect("written");
        assert_eq!(other.of(key()).await, None);
    }
}
