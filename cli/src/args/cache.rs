//! Options about the cache, which several commands take.

use splitci_coordinator::config::Flags;

use super::project::one;

/// Where the cache is, and who writes to it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CachePlace {
    /// Keep the cache in DIR [default: the cache directory of the user]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<String>,
    /// Only read the cache
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub cache_read_only: Option<String>,
    /// Sign what is written with the private key in FILE [default: that in `SPLITCI_KEY`, else one of this machine]
    // A key itself begins with hyphens: refused by its own rules, which do not show it.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub key: Option<String>,
}

impl CachePlace {
    /// Puts what was given under its keys.
    pub(crate) fn into_flags(self, flags: &mut Flags) {
        let rows = [
            ("cache.dir", "--cache-dir", self.cache_dir),
            ("cache.read_only", "--cache-read-only", self.cache_read_only),
            ("trust.key", "--key", self.key),
        ];
        one(flags, rows);
    }
}
