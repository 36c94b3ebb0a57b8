//! Every key there is, once: its section, name, kind and meaning. `splitci.example.toml` shows the same keys to people; a test compares the two.
//!
//! A `Layer` is what one source says: defaults, the file, the environment, the command line. Layers lie over each other key by key; nothing is
//! interpreted here, that is `resolve`'s.

use super::assignment::{Arguments, Variables};
use super::fault::{FaultKind, Place};
use super::hooks::{Program, StatusChoice};
use super::permits::{AuthSource, Digests, Revocations};
use super::repository::Repository;
use super::setting::{
    ByteSize, Count, Cpus, EngineChoice, Init, Items, Paths, Percent, Pids, Platform, ProjectName, Raw, ResultsKind, Seed, Setting, Shards,
    Span, SuiteName, Words,
};
use super::slots::{Freezes, Pause, Permille, Port, ShareChoice, Slots, StrategyName, UrlPath};
use super::trust::{Bucket, KeyText, PublicKeys, RedisUrl};
use crate::model::environment::MigrationClass;
use crate::model::policy::ReusedRule;
use crate::model::settings::{Flaky, Order};
use crate::model::trust::{Level, Partition};

/// A value and where it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// A key, as data.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `section.name`.
    pub path: &'static str,
    /// What it takes.
    pub expected: &'static str,
}

impl Key {
    /// Whether it is said of something that has a name: an environment, a policy. Such a key has no variable, which would not say of which.
    pub fn is_of_a_name(&self) -> bool {
        let section = self.path.split('.').next().unwrap_or_default();
        NAMED.contains(&section)
    }

    /// Its environment variable: `SPLITCI_` and the key. Those of the state directory and of the private key are shorter, since they are set most often.
    pub fn variable(&self) -> String {
        match self.path {
            "record.state" => "SPLITCI_STATE".into(),
            "trust.key" => "SPLITCI_KEY".into(),
            path => format!("SPLITCI_{}", path.replace('.', "_").to_ascii_uppercase()),
        }
    }
}

fn read<T: Setting>(raw: Raw<'_>, place: Place) -> Result<Given<T>, FaultKind> {
    let value = T::parse(raw, &place).ok_or_else(|| FaultKind::Value { expected: T::EXPECTED, found: raw.shown(), choices: T::CHOICES })?;
    Ok(Given { value, place })
}

fn lay<T: Setting>(stronger: Option<Given<T>>, weaker: Option<Given<T>>, over: fn(T, T) -> T) -> Option<Given<T>> {
    match (stronger, weaker) {
        (Some(stronger), Some(weaker)) => Some(Given { value: over(stronger.value, weaker.value), place: stronger.place }),
        (stronger, weaker) => stronger.or(weaker),
    }
}

/// One of several suites.
#[derive(Debug, Clone, PartialEq)]
pub struct SuiteTable {
    /// What is said of it.
    pub section: SuiteSection,
    /// Where it begins.
    pub place: Place,
}

/// Sections of which there may be any number, each by a name: `[environment.production]`.
pub(super) const NAMED: &[&str] = &["environment", "policy"];

/// What is said of one thing that has a name: sections of a layer of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTable {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// What is said of it.
    pub layer: Box<Layer>,
}

macro_rules! schema {
    ($($(#[$about:meta])* $section:ident: $Section:ident = $path:literal { $($(#[$doc:meta])* $key:ident: $kind:ty = $name:literal,)* })*) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone, Default, PartialEq)]
            pub struct $Section { $($(#[$doc])* pub $key: Option<Given<$kind>>,)* }
        )*

        /// What one source says.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Layer {
            $($(#[$about])* pub $section: $Section,)*
            /// The suites, where they are a list.
            pub suites: Vec<SuiteTable>,
            /// Environments and policies, by the section that they are of.
            pub named: Vec<(&'static str, NamedTable)>,
        }

        /// The sections, in the order of the example.
        pub const SECTIONS: &[&str] = &[$($path),*];

        /// The keys, in the order of the example.
        pub const KEYS: &[Key] = &[$($(Key { path: concat!($path, ".", $name), expected: <$kind as Setting>::EXPECTED },)*)*];

        impl Layer {
            /// Reads a value into its key. An option may be given again: lists grow, the rest is replaced.
            pub fn set(&mut self, path: &str, raw: Raw<'_>, place: Place) -> Result<(), FaultKind> {
                match path {
                    $($(concat!($path, ".", $name) => self.$section.$key = lay(Some(read(raw, place)?), self.$section.$key.take(), Setting::again),)*)*
                    _ => return Err(FaultKind::UnknownKey { key: path.to_owned() }),
                }
                Ok(())
            }

            /// This layer over a weaker one.
            #[must_use]
            pub fn over(self, weaker: Self) -> Self {
                Self {
                    $($section: $Section { $($key: lay(self.$section.$key, weaker.$section.$key, Setting::over),)* },)*
                    suites: if self.suites.is_empty() { weaker.suites } else { self.suites },
                    named: if self.named.is_empty() { weaker.named } else { self.named },
                }
            }
        }
    };
}

schema! {
    /// The project as a whole.
    project: ProjectSection = "project" {
        /// Its name, part of its images' tags. Default: the directory's.
        name: ProjectName = "name",
    }
    /// The image that is tested.
    image: ImageSection = "image" {
        /// The Dockerfile. Default: `Dockerfile` in the project's directory or the nearest one above it.
        dockerfile: String = "dockerfile",
        /// The build context. Default: the project if the Dockerfile is in it, else the Dockerfile's directory.
        context: String = "context",
        /// The stage to build.
        target: String = "target",
        /// Build arguments.
        args: Arguments = "args",
        /// The platform to build for.
        platform: Platform = "platform",
        /// Secrets that steps of the build may ask for.
        secrets: Items = "secrets",
        /// SSH agents that they may talk to.
        ssh: Items = "ssh",
        /// An existing image, instead of a build.
        reference: String = "ref",
        /// Ask registries what the names of bases mean now.
        pull: bool = "pull",
        /// Build every step anew.
        no_cache: bool = "no_cache",
        /// Copy what was edited lately in a step of its own.
        split_copies: bool = "split_copies",
    }
    /// What is run in it.
    suite: SuiteSection = "suite" {
        /// Its name, where there are several.
        name: SuiteName = "name",
        /// Where it is. Default: the project's directory.
        directory: String = "directory",
        /// The test framework. Default: what is found.
        framework: String = "framework",
        /// Its command. Default: the framework's.
        command: Words = "command",
        /// The files and directories with tests.
        paths: Paths = "paths",
        /// More arguments of the framework.
        args: Items = "args",
        /// What is run once before, for a tool without a driver of ours.
        prepare: Words = "prepare",
        /// Patterns of test files, for a tool without a driver of ours.
        files: Items = "files",
        /// The command that lists its units instead.
        list: Words = "list",
        /// How its results are read.
        results: ResultsKind = "results",
        /// Where it writes its report.
        report: String = "report",
        /// How many units go into one command.
        batch: Count = "batch",
    }
    /// pytest's own.
    pytest: PytestSection = "pytest" {
        /// Load the whole suite in each shard.
        whole: bool = "whole",
    }
    /// unittest's and Django's own.
    unittest: UnittestSection = "unittest" {
        /// Load the whole suite in each shard.
        whole: bool = "whole",
    }
    /// RSpec's and Minitest's own.
    ruby: RubySection = "ruby" {
        /// Load the whole suite in each shard.
        whole: bool = "whole",
    }
    /// How it is run.
    run: RunSection = "run" {
        /// Which suites, by name. Default: all.
        suites: Items = "suites",
        /// Where shards run.
        engine: EngineChoice = "engine",
        /// How many. Default: one a CPU.
        shards: Shards = "shards",
        /// In which order units are dispatched.
        order: Order = "order",
        /// The seed. Default: a new one each run.
        seed: Seed = "seed",
        /// How often a failed test is tried again.
        retries: u32 = "retries",
        /// What a test is worth that passes only then.
        flaky: Flaky = "flaky",
        /// Stop at the first final failure.
        fail_fast: bool = "fail_fast",
        /// Nothing ran counts as passed.
        allow_empty: bool = "allow_empty",
        /// Variables of the tests.
        env: Variables = "env",
        /// Files with variables of the tests.
        env_file: Items = "env_file",
    }
    /// Deadlines.
    timeout: TimeoutSection = "run.timeout" {
        /// One test.
        test: Span = "test",
        /// The framework's start.
        boot: Span = "boot",
        /// The whole run, without the build.
        run: Span = "run",
        /// From TERM to KILL.
        grace: Span = "grace",
    }
    /// One container.
    shard: ShardSection = "shard" {
        /// Memory limit.
        memory: ByteSize = "memory",
        /// CPU limit.
        cpus: Cpus = "cpus",
        /// Size of `/dev/shm`.
        shm_size: ByteSize = "shm_size",
        /// Extra hosts.
        add_host: Items = "add_host",
        /// Mounts.
        volumes: Items = "volumes",
        /// Network.
        network: String = "network",
        /// Entrypoint instead of the image's.
        entrypoint: Words = "entrypoint",
        /// Who is PID 1.
        init: Init = "init",
        /// Working directory instead of the image's.
        workdir: String = "workdir",
        /// Read-only root file system.
        read_only: bool = "read_only",
        /// User instead of the image's.
        user: String = "user",
        /// Capabilities added.
        cap_add: Items = "cap_add",
        /// Security options.
        security_opt: Items = "security_opt",
        /// Limit of processes.
        pids_limit: Pids = "pids_limit",
    }
    /// What is not done twice.
    cache: CacheSection = "cache" {
        /// Files that were proven before are not run again.
        results: bool = "results",
        /// How many of a hundred of them are run all the same.
        canaries: Percent = "canaries",
        /// Another text wants everything anew: images and results.
        epoch: String = "epoch",
        /// Older images are built anew.
        max_age: Span = "max_age",
        /// How many images stay in the engine.
        images: Count = "images",
        /// Where it is.
        dir: String = "dir",
        /// Whether it is only read.
        read_only: bool = "read_only",
        /// A Redis that is shared with other machines.
        redis: RedisUrl = "redis",
        /// A bucket that is shared with other machines.
        s3: Bucket = "s3",
        /// How much room it may take.
        size: ByteSize = "size",
        /// Where layers of images travel from one machine to another.
        layers: Repository = "layers",
    }
    /// What is kept of runs.
    record: RecordSection = "record" {
        /// How many records.
        keep: Count = "keep",
        /// How many bytes of records.
        keep_size: ByteSize = "keep_size",
        /// Where they are.
        state: String = "state",
    }
    /// Whose word counts.
    trust: TrustSection = "trust" {
        /// The private key that this run writes with.
        key: KeyText = "key",
        /// The program that signs statements about images instead of it.
        signer: Program = "signer",
        /// The partition of its level that it writes to.
        partition: Partition = "partition",
        /// Public keys of what makes releases.
        release: PublicKeys = "release",
        /// Those of the default branch and the merge queue.
        protected: PublicKeys = "protected",
        /// Those of branches.
        branch: PublicKeys = "branch",
        /// Those of pull requests.
        pull: PublicKeys = "pull",
        /// Those of pull requests from elsewhere.
        fork: PublicKeys = "fork",
    }
    /// Where images go that are to be tested.
    candidate: CandidateSection = "registry.candidate" {
        /// The repository.
        repository: Repository = "repository",
        /// The login.
        auth: AuthSource = "auth",
    }
    /// Where images are that passed.
    release: ReleaseSection = "registry.release" {
        /// The repository.
        repository: Repository = "repository",
        /// The login.
        auth: AuthSource = "auth",
    }
    /// Where policies come from.
    gate: GateSection = "gate" {
        /// The ref in git.
        protected: String = "protected",
    }
    /// What an environment asks of an image.
    policy: PolicySection = "policy" {
        /// Whose statements count.
        keys: PublicKeys = "keys",
        /// The lowest level whose statements count.
        level: Level = "level",
        /// The repository that a statement must name its image by.
        repository: Repository = "repository",
        /// How old the evidence may be.
        max_age: Span = "max_age",
        /// How many tests the run itself must have run.
        min_tests: u64 = "min_tests",
        /// How many tests may have passed only when they were tried again.
        max_warned: u64 = "max_warned",
        /// What results of earlier runs are worth.
        reused: ReusedRule = "reused",
        /// The lowest level of whoever built the image.
        image_level: Level = "image_level",
        /// Digests of the configurations that count.
        configs: Digests = "configs",
        /// Whether a run of a tree with uncommitted changes counts.
        dirty: bool = "dirty",
        /// Further statements that must be there.
        require: Items = "require",
        /// What does not count any more.
        revoked: Revocations = "revoked",
    }
    /// Who gets past the gate.
    break_glass: BreakGlassSection = "policy.break_glass" {
        /// Keys of those who may.
        keys: PublicKeys = "keys",
        /// For how long.
        ttl: Span = "ttl",
        /// The shortest reason, in characters.
        min_reason: u32 = "min_reason",
    }
    /// Where the app runs.
    environment: EnvironmentSection = "environment" {
        /// Its slots.
        slots: Slots = "slots",
        /// The network in which they have addresses.
        network: String = "network",
        /// Its balancers' sockets.
        balancers: Items = "lb",
        /// The backend in them.
        backend: String = "backend",
        /// The port that the app listens at, in its container.
        port: Port = "port",
        /// The app's own variables.
        env_file: String = "env_file",
        /// The order of things.
        strategy: StrategyName = "strategy",
        /// How many go at a time.
        batch: ShareChoice = "batch",
        /// How many go first.
        canary: ShareChoice = "canary",
        /// How many serve at any time.
        floor: ShareChoice = "floor",
        /// How long requests on their way are waited for.
        drain: Pause = "drain",
        /// From TERM to KILL.
        grace: Pause = "grace",
        /// How long what was let in is watched.
        soak: Pause = "soak",
        /// How many slots may fail once the first were watched.
        max_failed: u32 = "max_failed",
        /// When nobody deploys.
        freeze: Freezes = "freeze",
    }
    /// When a container is well.
    health: HealthSection = "environment.health" {
        /// What is asked for.
        path: UrlPath = "path",
        /// Good answers in a row.
        successes: Count = "successes",
        /// Time from one question to the next.
        interval: Span = "interval",
        /// By when it has to be well.
        boot: Span = "boot",
        /// How long it has to have been well.
        min_healthy: Pause = "min_healthy",
    }
    /// What is run once.
    migration: MigrationSection = "environment.migration" {
        /// Its command.
        command: Words = "command",
        /// What it does to those that serve.
        class: MigrationClass = "class",
        /// How long it may run.
        timeout: Span = "timeout",
    }
    /// How workers run.
    worker: WorkerSection = "environment.worker" {
        /// Their command.
        command: Words = "command",
        /// From TERM to KILL.
        grace: Pause = "grace",
    }
    /// A playbook that does it.
    ansible: AnsibleSection = "environment.ansible" {
        /// What is played.
        playbook: String = "playbook",
        /// Where its hosts are.
        inventory: String = "inventory",
    }
    /// How many requests may fail.
    errors: ErrorsSection = "environment.errors" {
        /// With fewer requests nothing is known.
        min_requests: u64 = "min_requests",
        /// What the new release may have beyond the old one.
        tolerance: Permille = "tolerance",
    }
    /// Who is asked or told while a release is deployed.
    hooks: HooksSection = "environment.hooks" {
        /// Asked before anything is changed.
        before_deploy: Program = "before_deploy",
        /// Asked before the new release is let in.
        before_switch: Program = "before_switch",
        /// Told of the beginning and of the end.
        status: StatusChoice = "status",
        /// How long a program is waited for.
        timeout: Span = "timeout",
    }
    /// Until when things have to be done.
    deadlines: DeadlinesSection = "environment.deadlines" {
        /// An engine or a balancer that does not answer.
        step: Span = "step",
        /// One half or batch.
        batch: Span = "batch",
        /// The way there, and once more the way back.
        total: Span = "total",
        /// How long requests may meet both releases.
        mix: Span = "mix",
    }
}
