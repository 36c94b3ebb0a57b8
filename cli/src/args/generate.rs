//! `splitci completions` and `splitci man`: made from the same definitions as the command line itself.

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

const COMPLETIONS: &str = "\
Examples:
  splitci completions bash > ~/.local/share/bash-completion/completions/splitci
  splitci completions zsh > \"${fpath[1]}/_splitci\"
  splitci completions fish > ~/.config/fish/completions/splitci.fish";

const MAN: &str = "\
Examples:
  splitci man ~/.local/share/man/man1";

/// Print what makes a shell complete splitci's options
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = COMPLETIONS)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Write man pages, one for each command
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = MAN)]
pub(crate) struct ManArgs {
    /// The directory to write them to
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// The completions of a shell.
pub(crate) fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "splitci", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes the man pages into a directory.
pub(crate) fn man(directory: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(Cli::command(), directory)
}
