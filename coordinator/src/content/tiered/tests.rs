//! The chain: the contract, and tiers that are slow, dead, broken, or lie.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::*;
use crate::content::contract::{self, Change, Vandal, key, noise};
use crate::content::{Access, LocalStore, MemoryStore};

/// A chain of stores in memory, with its vandal.
struct Chain {
    near: Arc<MemoryStore>,
    far: Arc<MemoryStore>,
    tiered: Tiered,
    scratch: tempfile::TempDir,
}

impl Chain {
    fn new() -> Self {
        let (near, far, scratch) = (Arc::<MemoryStore>::default(), Arc::<MemoryStore>::default(), tempfile::tempdir().unwrap());
        let (for_near, for_far): (Arc<dyn Store>, Arc<dyn Store>) = (near.clone(), far.clone());
        let tiered = Tiered::new(for_near, vec![for_far], scratch.path().to_owned(), Patience::default());
        Self { near, far, tiered, scratch }
    }
}

#[tokio::test]
async fn a_chain_keeps_the_part_of_the_contract_that_needs_no_vandal() {
    contract::check_answers(&Chain::new().tiered).await;
}

#[tokio::test]
async fn what_one_machine_put_another_finds() {
    let Chain { near: _, far, tiered, scratch } = Chain::new();
    let (small, large) = (noise(1, 1000), noise(2, 70 << 20));
    let (small_name, large_name) = (Digest::of(&small), Digest::of(&large));
    tiered.put(small_name, small.clone()).await.unwrap();
    // More than may wait in memory: it goes through a file.
    tiered.put(large_name, large.clone()).await.unwrap();
    let record = Record { payload: Bytes::from_static(b"record"), blobs: vec![small_name, large_name] };
    tiered.put_entry(&key("local", 1), record.clone()).await.unwrap();
    tiered.flush().await.unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "a file that passed was left");

    let near = Arc::<MemoryStore>::default();
    let for_near: Arc<dyn Store> = near.clone();
    let other = Tiered::new(for_near, vec![far.clone()], scratch.path().to_owned(), Patience::default());
    assert_eq!(other.record(&key("local", 1)).await.unwrap(), Some(record.payload));
    assert!(other.get(small_name).await.unwrap() == Some(small));
    let file = scratch.path().join("file");
    assert!(other.get_to(large_name, &file, 70 << 20).await.unwrap() && fs::read(&file).unwrap() == large);
    // Now it is near.
    assert_eq!(near.has(&[small_name, large_name]).await.unwrap(), [true; 2]);
    assert!(near.entry(&key("local", 1)).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_damaged_near_is_fetched_again() {
    let Chain { near, far, tiered, scratch: _scratch } = Chain::new();
    let bytes = noise(1, 1000);
    let digest = Digest::of(&bytes);
    tiered.put(digest, bytes.clone()).await.unwrap();
    tiered.put_record(&key("local", 1), bytes.clone()).await.unwrap();
    tiered.flush().await.unwrap();
    let shorten: Change<'_> = &|kept| Some(kept[1..].to_vec());
    near.change_blob(digest, shorten).await;
    near.change_record(&key("local", 1), shorten).await;
    assert!(tiered.get(digest).await.unwrap() == Some(bytes.clone()));
    assert!(tiered.record(&key("local", 1)).await.unwrap() == Some(bytes.clone()));
    assert!(near.get(digest).await.unwrap() == Some(bytes.clone()), "it was not healed");
    for store in [&near, &far] {
        store.change_blob(digest, shorten).await;
        store.change_record(&key("local", 1), shorten).await;
    }
    assert_eq!(tiered.get(digest).await.unwrap(), None);
    assert_eq!(tiered.record(&key("local", 1)).await.unwrap(), None);
}

/// A store in memory in front of which something goes wrong.
#[derive(Debug, Default)]
struct Bad {
    inner: MemoryStore,
    trouble: std::sync::Mutex<Trouble>,
    calls: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
enum Trouble {
    #[default]
    None,
    /// It never answers.
    Silent,
    /// It says that it cannot.
    Broken,
    /// It has to look for each blob, and takes that long.
    OneByOne(Duration),
    /// It takes that long for a blob, and says all the while that bytes come.
    Trickling(Duration),
}

impl Bad {
    fn with(trouble: Trouble) -> Arc<Self> {
        Arc::new(Self { trouble: std::sync::Mutex::new(trouble), ..Self::default() })
    }

    async fn pass(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Trouble::None | Trouble::OneByOne(_) => Ok(()),
            Trouble::Silent => std::future::pending().await,
            Trouble::Broken => {
                let error = StoreError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
                self.inner.counters().failed(&error);
                Err(error)
            }
            Trouble::Trickling(time) => {
                for _ in 0..10 {
                    tokio::time::sleep(time / 10).await;
                    self.inner.counters().arrived(1);
                }
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Store for Bad {
    fn name(&self) -> &'static str {
        "bad"
    }

    async fn has(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError> {
        self.pass().await?;
        let trouble = *self.trouble.lock().unwrap();
        if let Trouble::OneByOne(time) = trouble {
            tokio::time::sleep(time * u32::try_from(digests.len()).unwrap()).await;
        }
        self.inner.has(digests).await
    }

    async fn get(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.pass().await?;
        self.inner.get(digest).await
    }

    async fn get_to(&self, digest: Digest, file: &Path, most: u64) -> Result<bool, StoreError> {
        self.pass().await?;
        self.inner.get_to(digest, file, most).await
    }

    async fn put(&self, digest: Digest, bytes: Bytes) -> Result<(), StoreError> {
        self.pass().await?;
        self.inner.put(digest, bytes).await
    }

    async fn put_file(&self, file: &Path) -> Result<Digest, StoreError> {
        self.pass().await?;
        self.inner.put_file(file).await
    }

    async fn entry(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        self.pass().await?;
        self.inner.entry(key).await
    }

    async fn put_entry(&self, key: &RecordKey, record: Record) -> Result<(), StoreError> {
        self.pass().await?;
        self.inner.put_entry(key, record).await
    }

    async fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        self.pass().await?;
        self.inner.remove(digest).await
    }

    async fn remove_record(&self, key: &RecordKey) -> Result<(), StoreError> {
        self.pass().await?;
        self.inner.remove_record(key).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.pass().await
    }

    fn counters(&self) -> &Counters {
        self.inner.counters()
    }
}

fn chain(near: Arc<dyn Store>, far: Vec<Arc<dyn Store>>) -> (Tiered, tempfile::TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    (Tiered::new(near, far, scratch.path().to_owned(), Patience::default()), scratch)
}

/// What a run does, which is to be as right as without the tier. Says how long it took.
async fn day(tiered: &Tiered) -> Duration {
    let started = Instant::now();
    for number in 0..20 {
        let bytes = noise(number.into(), 3000);
        let digest = Digest::of(&bytes);
        assert_eq!(tiered.has(&[digest]).await.unwrap(), [false]);
        assert_eq!(tiered.get(digest).await.unwrap(), None);
        assert_eq!(tiered.record(&key("local", number)).await.unwrap(), None);
        tiered.put(digest, bytes.clone()).await.unwrap();
        tiered.put_record(&key("local", number), bytes.clone()).await.unwrap();
        assert!(tiered.get(digest).await.unwrap() == Some(bytes.clone()));
        assert!(tiered.record(&key("local", number)).await.unwrap() == Some(bytes));
    }
    tiered.flush().await.unwrap();
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_record_of_many_blobs_is_found_where_each_takes_a_while() {
    let bad = Bad::with(Trouble::OneByOne(Duration::from_millis(2)));
    let mut blobs = Vec::new();
    for number in 0..1000 {
        let bytes = noise(number, 10);
        blobs.push(Digest::of(&bytes));
        bad.inner.put(Digest::of(&bytes), bytes).await.unwrap();
    }
    let record = Record { payload: Bytes::from_static(b"record"), blobs };
    bad.inner.put_entry(&key("local", 1), record.clone()).await.unwrap();
    let (tiered, _scratch) = chain(Arc::<MemoryStore>::default(), vec![bad.clone()]);
    assert_eq!(tiered.record(&key("local", 1)).await.unwrap(), Some(record.payload));
    assert_eq!(tiered.tiers()[1].stats.errors, 0);
    // One that went away meanwhile is not asked for all of them.
    *bad.trouble.lock().unwrap() = Trouble::Silent;
    let asked = bad.calls.load(Ordering::Relaxed);
    assert_eq!(tiered.has(&record.blobs).await.unwrap(), [false; 1000]);
    assert_eq!(bad.calls.load(Ordering::Relaxed) - asked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_tier_costs_seconds_and_nothing_else() {
    for trouble in [Trouble::Silent, Trouble::Broken] {
        let bad = Bad::with(trouble);
        let (tiered, _scratch) = chain(Arc::<MemoryStore>::default(), vec![bad.clone()]);
        let took = day(&tiered).await;
        assert!(took < Duration::from_secs(8), "{trouble:?}: {took:?}");
        assert_eq!(bad.calls.load(Ordering::Relaxed), 3, "{trouble:?}");
        let report = tiered.tiers().pop().unwrap();
        assert!(report.given_up && report.stats.errors == 3 && report.stats.skipped > 50, "{report:?}");
        assert!(report.stats.first_error.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_dies_in_the_middle_is_given_up_and_the_next_one_is_asked() {
    let (bad, good) = (Bad::with(Trouble::None), Arc::<MemoryStore>::default());
    let (tiered, _scratch) = chain(Arc::<MemoryStore>::default(), vec![bad.clone(), good.clone()]);
    let bytes = noise(1, 100);
    let digest = Digest::of(&bytes);
    good.put(digest, bytes.clone()).await.unwrap();
    *bad.trouble.lock().unwrap() = Trouble::Silent;
    assert!(tiered.get(digest).await.unwrap() == Some(bytes));
    assert!(day(&tiered).await < Duration::from_secs(8));
    assert_eq!(tiered.tiers().into_iter().map(|tier| tier.given_up).collect::<Vec<_>>(), [false, true, false]);
    assert!(good.stats().written >= 40, "what the dead one missed the living one has");
}

#[tokio::test(start_paused = true)]
async fn failures_that_are_not_in_a_row_do_not_count() {
    let bad = Bad::with(Trouble::None);
    let (tiered, _scratch) = chain(Arc::<MemoryStore>::default(), vec![bad.clone()]);
    for number in 0..20 {
        *bad.trouble.lock().unwrap() = if number % 3 == 0 { Trouble::None } else { Trouble::Broken };
        assert_eq!(tiered.record(&key("local", number)).await.unwrap(), None);
    }
    assert_eq!(bad.calls.load(Ordering::Relaxed), 20);
    assert!(!tiered.tiers()[1].given_up);
}

#[tokio::test(start_paused = true)]
async fn a_slow_download_is_waited_for_as_long_as_bytes_come() {
    let bad = Bad::with(Trouble::None);
    let bytes = noise(1, 100);
    bad.put(Digest::of(&bytes), bytes.clone()).await.unwrap();
    *bad.trouble.lock().unwrap() = Trouble::Trickling(Duration::from_secs(15));
    let (tiered, _scratch) = chain(Arc::<MemoryStore>::default(), vec![bad.clone()]);
    assert!(tiered.get(Digest::of(&bytes)).await.unwrap() == Some(bytes));
    // A record is not: it is not worth it.
    assert_eq!(tiered.record(&key("local", 1)).await.unwrap(), None);
    assert_eq!(bad.stats().errors, 1);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_get_out_in_time_is_left() {
    let bad = Bad::with(Trouble::None);
    let patience = Patience { blob: Duration::from_hours(1), ..Patience::default() };
    let scratch = tempfile::tempdir().unwrap();
    let near: Arc<dyn Store> = Arc::<MemoryStore>::default();
    let tiered = Tiered::new(near, vec![bad.clone()], scratch.path().to_owned(), patience);
    *bad.trouble.lock().unwrap() = Trouble::Silent;
    let started = Instant::now();
    for number in 0..10_000_u64 {
        let bytes = noise(number, 10_000);
        tiered.put(Digest::of(&bytes), bytes).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_millis(10), "somebody waited for a far tier");
    assert!(bad.stats().skipped >= 10_000 - 4096 - 9, "{:?}", bad.stats());
    tiered.flush().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(11), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_near_tier_in_trouble_is_no_error_either() {
    let bad = Bad::with(Trouble::Broken);
    let far = Arc::<MemoryStore>::default();
    let (tiered, scratch) = chain(bad.clone(), vec![far.clone()]);
    let bytes = noise(1, 5000);
    let digest = Digest::of(&bytes);
    tiered.put(digest, bytes.clone()).await.unwrap();
    tiered.put_record(&key("local", 1), bytes.clone()).await.unwrap();
    tiered.flush().await.unwrap();
    assert!(tiered.get(digest).await.unwrap() == Some(bytes.clone()));
    assert!(tiered.record(&key("local", 1)).await.unwrap() == Some(bytes.clone()));
    let file = scratch.path().join("file");
    fs::write(&file, &bytes).unwrap();
    assert_eq!(tiered.put_file(&file).await.unwrap(), digest);
    // What the caller did wrong he is told.
    assert!(matches!(tiered.put_file(&scratch.path().join("missing")).await, Err(StoreError::Files(_))));
}

#[tokio::test]
async fn a_chain_over_a_directory_that_may_only_be_read_writes_to_the_far_tier() {
    let directory = tempfile::tempdir().unwrap();
    let near = Arc::new(LocalStore::open(directory.path(), Access::ReadOnly).unwrap());
    let far = Arc::<MemoryStore>::default();
    let (tiered, _scratch) = chain(near, vec![far.clone()]);
    let bytes = noise(1, 5000);
    tiered.put(Digest::of(&bytes), bytes.clone()).await.unwrap();
    tiered.flush().await.unwrap();
    assert!(tiered.get(Digest::of(&bytes)).await.unwrap() == Some(bytes));
}
