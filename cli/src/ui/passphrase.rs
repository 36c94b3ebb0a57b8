//! Asks a person for a passphrase, without showing what is typed. Nobody is asked where nobody can answer.

use super::error::Failure;
use super::exit::Exit;
use super::raw;

/// Asks twice, so that a slip does not lock a key for ever.
pub(crate) fn ask() -> Result<String, Failure> {
    if !raw::is_there() {
        return Err(Failure::plain(Exit::USAGE, "there is nobody to ask for a passphrase", "set `SPLITCI_KEY_PASSPHRASE`"));
    }
    let first = read("Passphrase: ")?;
    if first.is_empty() {
        return Err(Failure::plain(Exit::USAGE, "an empty passphrase protects nothing", "leave `--passphrase` out for a key without one"));
    }
    if read("The same again: ")? == first {
        Ok(first)
    } else {
        Err(Failure::plain(Exit::USAGE, "the two passphrases differ", "start again"))
    }
}

fn read(prompt: &str) -> Result<String, Failure> {
    let terminal = console::Term::stderr();
    let typed = terminal.write_str(prompt).and_then(|()| terminal.read_secure_line());
    typed.map_err(|error| Failure::new(Exit::NO_VERDICT, &error, None))
}
