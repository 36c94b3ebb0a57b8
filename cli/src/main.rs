//! `splitci`, the program: arguments in, one call into the coordinator, drawing and an exit status out.
//!
//! `args` is what can be said, `commands` what is done (a file per subcommand in both), `ui` what is shown. The environment is read here, once, and
//! handed on as a map; what decides anything lives in the coordinator.

mod args;
mod commands;
#[cfg(debug_assertions)]
mod fault;
mod project;
mod signals;
mod tls;
mod ui;
mod variables;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Everywhere};
use ui::error::Failure;
use ui::exit::Exit;
use ui::terminal::Terminal;
use ui::{panic, printer};
use variables::{Env, TMPDIR};

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// The caller's environment.
    pub env: Env,
    /// What the streams can show.
    pub terminal: Terminal,
    /// The directory that the command runs in, `-C` applied, absolute.
    pub directory: PathBuf,
    /// `--state` as given.
    pub state: Option<String>,
    /// `--quiet`.
    pub quiet: bool,
}

impl Context {
    fn new(everywhere: Everywhere, env: Env) -> std::io::Result<Self> {
        let here = std::env::current_dir()?;
        let terminal = Terminal::detect(everywhere.color, &env);
        let directory = here.join(everywhere.directory.as_deref().unwrap_or(Path::new("")));
        Ok(Self { env, terminal, directory, state: everywhere.state, quiet: everywhere.quiet })
    }
}

fn main() -> ExitCode {
    tls::choose();
    // A value that is not text is none that we or a framework's driver could pass on.
    let env: Env = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    panic::hook(env.get(TMPDIR).map_or_else(|| "/tmp".into(), PathBuf::from), std::env::args().collect());
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    // The hook has told of a panic; here its exit status is made sure of, wherever it happened.
    let ended = std::panic::catch_unwind(|| start(cli, env)).unwrap_or(Exit::BUG);
    if panic::happened() { Exit::BUG.into() } else { ended.into() }
}

fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when the terminal is gone.
    let _unseen = error.print();
    u8::try_from(error.exit_code()).map_or(Exit::USAGE, Exit).into()
}

fn start(cli: Cli, env: Env) -> Exit {
    let context = match Context::new(cli.everywhere, env) {
        Ok(context) => context,
        Err(error) => {
            printer::tell(&format!("error: cannot tell the current directory: {error}\n"));
            return Exit::USAGE;
        }
    };
    let paint = context.terminal.err;
    commands::dispatch(cli.command, &context).unwrap_or_else(|failure: Failure| {
        printer::tell(&failure.render(paint));
        failure.exit
    })
}
