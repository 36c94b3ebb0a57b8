//! A store that others write into, too, honestly or not: what is recalled was written by somebody who may.

use std::time::Duration;

use super::*;
use crate::content::MemoryStore;
use crate::model::trust::Level;
use crate::trust::{SecretKey, TrustList};

const NOW: u64 = 1_800_000_000_000;
const KEY: [u8; 32] = [5; 32];

struct Team {
    store: Arc<dyn Store>,
    protected: SecretKey,
    pull: SecretKey,
}

impl Team {
    fn new() -> Self {
        let key = || SecretKey::generate().expect("a key");
        Self { store: Arc::new(MemoryStore::default()), protected: key(), pull: key() }
    }

    fn list(&self) -> TrustList {
        let mut list = TrustList::default();
        list.add(self.protected.public().clone(), Space::of(Level::Protected)).expect("added");
        list.add(self.pull.public().clone(), Space::of(Level::Pull)).expect("added");
        list
    }

    fn vault(&self, key: &SecretKey, partition: Option<&str>) -> Vault {
        Vault::new(Arc::clone(&self.store), Seal::new(key.clone(), self.list(), partition.and_then(Partition::new)), &[])
    }
}

fn memory(payload: &'static str) -> Memory {
    let life = Life { written_at: NOW, keep: Duration::from_hours(1) };
    Memory { payload: payload.into(), blobs: Vec::new(), life }
}

async fn recalled(vault: &Vault) -> Result<(String, String), Vec<String>> {
    match vault.recall("results", KEY, NOW).await {
        Recall::Found(opened) => Ok((String::from_utf8_lossy(&opened.payload).into_owned(), opened.space.to_string())),
        Recall::Missed(missed) => Err(missed.iter().map(|(space, refusal)| format!("{space}: {}", refusal.reason())).collect()),
    }
}

#[tokio::test]
async fn a_run_recalls_its_own_level_and_above_and_nothing_below() {
    let team = Team::new();
    let (protected, pull, other) =
        (team.vault(&team.protected, None), team.vault(&team.pull, Some("17")), team.vault(&team.pull, Some("18")));
    pull.remember("results", KEY, memory("by 17")).await.expect("written");
    assert_eq!(recalled(&pull).await, Ok(("by 17".into(), "pull (17)".into())));
    assert_eq!(recalled(&other).await, Err(vec![]), "another pull request's");
    assert_eq!(recalled(&protected).await, Err(vec![]));
    protected.remember("results", KEY, memory("by main")).await.expect("written");
    assert_eq!(recalled(&other).await, Ok(("by main".into(), "protected".into())));
    assert_eq!(recalled(&pull).await, Ok(("by 17".into(), "pull (17)".into())), "its own place first");
    pull.forget("results", KEY).await.expect("forgotten");
    assert_eq!(recalled(&pull).await, Ok(("by main".into(), "protected".into())));
}

#[tokio::test]
async fn poison_in_the_right_place_is_refused_counted_and_looked_past() {
    let team = Team::new();
    let (protected, pull) = (team.vault(&team.protected, None), team.vault(&team.pull, Some("17")));
    protected.remember("results", KEY, memory("by main")).await.expect("written");
    let place = |space: &str| RecordKey { layer: "results", space: space.into(), key: KEY };
    let stranger = Seal::new(SecretKey::generate().expect("a key"), TrustList::default(), None);
    let poison = stranger.seal("results", KEY, memory("").life, b"green");
    team.store.put_record(&place("pull/17"), poison.clone()).await.expect("put");
    assert_eq!(recalled(&pull).await, Ok(("by main".into(), "protected".into())), "what is above still counts");
    // Everything that whoever can write there could put there.
    let honest = team.store.record(&place("protected")).await.expect("read").expect("there");
    pull.remember("results", KEY, memory("by 17")).await.expect("written");
    let lower = team.store.record(&place("pull/17")).await.expect("read").expect("there");
    for (bytes, reason) in
        [(poison, "stranger"), (lower, "misplaced"), ("green".into(), "unsigned"), (honest.slice(..honest.len() - 1), "truncated")]
    {
        team.store.put_record(&place("protected"), bytes).await.expect("put");
        assert_eq!(recalled(&protected).await, Err(vec![format!("protected: {reason}")]));
    }
    let refused = protected.refused();
    assert_eq!(refused.values().sum::<u64>(), 4, "{refused:?}");
    assert_eq!(refused.keys().collect::<Vec<_>>(), ["misplaced", "stranger", "truncated", "unsigned"]);
}

#[tokio::test]
async fn an_entry_without_its_blobs_is_a_miss() {
    let team = Team::new();
    let vault = team.vault(&team.protected, None);
    let lost = Memory { blobs: vec![Digest::of(b"never put")], ..memory("by main") };
    vault.remember("results", KEY, lost).await.expect("written");
    assert_eq!(recalled(&vault).await, Err(vec![]));
    vault.store().put(Digest::of(b"never put"), "never put".into()).await.expect("put");
    assert_eq!(recalled(&vault).await, Ok(("by main".into(), "protected".into())));
}
