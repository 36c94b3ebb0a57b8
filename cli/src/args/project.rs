//! Options about the project: the image, the suite, the shards. Shared by the commands that resolve a project.

use splitci_coordinator::config::Flags;

/// What is tested, and in what.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ProjectArgs {
    /// Files, directories or test ids to run, relative to where you are [default: all tests]
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,
    /// Arguments for the framework, after `--`
    #[arg(last = true, value_name = "FRAMEWORK ARGS")]
    pub framework_args: Vec<String>,

    /// How many shards [default: one for each CPU]
    #[arg(short = 'n', long, value_name = "N")]
    pub shards: Option<String>,
    /// Where shards run: auto, docker or process [default: auto]
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    /// The test framework [default: what is found]
    #[arg(long, value_name = "NAME")]
    pub framework: Option<String>,
    /// Run this suite of several, by its name; repeatable [default: all]
    #[arg(long, value_name = "NAME")]
    pub suite: Vec<String>,
    /// Hand out files in this order: scheduled, defined or random [default: scheduled]
    #[arg(long, value_name = "ORDER")]
    pub order: Option<String>,
    /// Seed for the random order and for frameworks that take one [default: a new one]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<String>,
    /// Load the whole suite in each shard
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub whole: Option<String>,

    /// Set a variable for the tests: NAME=VALUE, or NAME to hand yours on; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read variables for the tests from a file; repeatable
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<String>,

    /// The image.
    #[command(flatten)]
    pub image: ImageArgs,
    /// The containers.
    #[command(flatten)]
    pub shard: ShardArgs,
}

/// The image that is tested.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Image")]
pub(crate) struct ImageArgs {
    /// The Dockerfile [default: the one here, or the nearest above]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,
    /// The build context [default: the project, or the Dockerfile's directory]
    #[arg(long, value_name = "DIR")]
    pub context: Option<String>,
    /// The stage to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Set a build argument: NAME=VALUE, or NAME to hand yours on; repeatable
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// The platform to build for
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Give the build a secret: id=ID,src=FILE or id=ID,env=NAME; repeatable
    #[arg(long, value_name = "SECRET")]
    pub secret: Vec<String>,
    /// Let the build talk to your SSH agent: default, or ID=SOCKET for another one; repeatable
    #[arg(long, value_name = "ID[=SOCKET]")]
    pub ssh: Vec<String>,
    /// Test this image instead of building one
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// Ask the registries what the names of base images mean now
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub pull: Option<String>,
    /// Build every step anew, and look for no image of the same inputs
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub no_cache: Option<String>,
}

/// What a container is given.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Containers")]
pub(crate) struct ShardArgs {
    /// Memory limit of each, such as 512m or 2g
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// CPU limit of each, such as 1.5
    #[arg(long, value_name = "N")]
    pub cpus: Option<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// Mount a volume, as docker writes it; repeatable
    #[arg(short, long, value_name = "SRC:DST[:OPT]")]
    pub volume: Vec<String>,
    /// Add a line to /etc/hosts; repeatable
    #[arg(long, value_name = "NAME:IP")]
    pub add_host: Vec<String>,
    /// Network: bridge, none, or the name of one
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Replace the image's entrypoint; empty for none
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Who is process 1: auto, image or worker [default: auto]
    #[arg(long, value_name = "WHO")]
    pub init: Option<String>,
    /// Working directory [default: the image's]
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User [default: the image's]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Mount the root file system read-only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub read_only: Option<String>,
    /// Add a capability; repeatable
    #[arg(long, value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// Set a security option, as docker writes it; repeatable
    #[arg(long, value_name = "OPT")]
    pub security_opt: Vec<String>,
    /// Most processes in each, -1 for no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub pids_limit: Option<String>,
}

impl ProjectArgs {
    /// Puts what was given under its keys.
    pub(crate) fn into_flags(self, flags: &mut Flags) {
        many(flags, "suite.paths", "PATH", &self.paths);
        many(flags, "suite.args", "--", &self.framework_args);
        many(flags, "run.suites", "--suite", &self.suite);
        many(flags, "run.env", "--env", &self.env);
        many(flags, "run.env_file", "--env-file", &self.env_file);
        let rows = [
            ("run.shards", "--shards", self.shards),
            ("run.engine", "--engine", self.engine),
            ("suite.framework", "--framework", self.framework),
            ("run.order", "--order", self.order),
            ("run.seed", "--seed", self.seed),
            ("pytest.whole", "--whole", self.whole.clone()),
            ("unittest.whole", "--whole", self.whole.clone()),
            ("ruby.whole", "--whole", self.whole),
        ];
        one(flags, rows);
        self.image.into_flags(flags);
        self.shard.into_flags(flags);
    }
}

impl ImageArgs {
    fn into_flags(self, flags: &mut Flags) {
        many(flags, "image.args", "--build-arg", &self.build_arg);
        many(flags, "image.secrets", "--secret", &self.secret);
        many(flags, "image.ssh", "--ssh", &self.ssh);
        let rows = [
            ("image.dockerfile", "--file", self.file),
            ("image.context", "--context", self.context),
            ("image.target", "--target", self.target),
            ("image.platform", "--platform", self.platform),
            ("image.ref", "--image", self.image),
            ("image.pull", "--pull", self.pull),
            ("image.no_cache", "--no-cache", self.no_cache),
        ];
        one(flags, rows);
    }
}

impl ShardArgs {
    fn into_flags(self, flags: &mut Flags) {
        many(flags, "shard.volumes", "--volume", &self.volume);
        many(flags, "shard.add_host", "--add-host", &self.add_host);
        many(flags, "shard.cap_add", "--cap-add", &self.cap_add);
        many(flags, "shard.security_opt", "--security-opt", &self.security_opt);
        let rows = [
            ("shard.memory", "--memory", self.memory),
            ("shard.cpus", "--cpus", self.cpus),
            ("shard.shm_size", "--shm-size", self.shm_size),
            ("shard.network", "--network", self.network),
            ("shard.entrypoint", "--entrypoint", self.entrypoint),
            ("shard.init", "--init", self.init),
            ("shard.workdir", "--workdir", self.workdir),
            ("shard.user", "--user", self.user),
            ("shard.read_only", "--read-only", self.read_only),
            ("shard.pids_limit", "--pids-limit", self.pids_limit),
        ];
        one(flags, rows);
    }
}

/// Options that are given once: key, option, value.
pub(super) fn one<const N: usize>(flags: &mut Flags, rows: [(&str, &str, Option<String>); N]) {
    for (key, option, value) in rows {
        if let Some(value) = value {
            flags.set(key, option, &value);
        }
    }
}

fn many(flags: &mut Flags, key: &str, option: &str, values: &[String]) {
    for value in values {
        flags.set(key, option, value);
    }
}
