//! What people see. stdout has the answer, stderr the telling; everything that is printed is printed here.
//!
//! `board` folds the events of a run into what stands now; `teller` turns events into lines that stay; `rows` draws the board; `progress` puts
//! both on a terminal, or calm lines into a log. `error` and `exit` are the two tables of how things end.

pub(crate) mod board;
pub(crate) mod caches;
pub(crate) mod checks;
pub(crate) mod ci;
pub(crate) mod deployment;
pub(crate) mod error;
pub(crate) mod exit;
pub(crate) mod failure;
pub(crate) mod gate;
pub(crate) mod json;
pub(crate) mod lanes;
pub(crate) mod panic;
pub(crate) mod passphrase;
pub(crate) mod printer;
pub(crate) mod progress;
pub(crate) mod raw;
pub(crate) mod rows;
pub(crate) mod screen;
pub(crate) mod summary;
pub(crate) mod teller;
pub(crate) mod terminal;

#[cfg(test)]
mod tests;
