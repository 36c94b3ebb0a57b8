//! What need not be run again: files that were proven before, on the same image, with the same command and environment.
//!
//! | file | is |
//! |---|---|
//! | [`key`] | everything that must be the same, as one hash |
//! | [`inputs`] | the same in words, to explain a miss |
//! | [`pack`] | what is kept of all files of one key, and how it is made safe against chance and against others |
//! | [`standing`] | which files may not be reused: those that were flaky, or contradicted what was kept |
//! | [`listing`] | the list of a suite, for runs in which nothing is left to run |
//! | [`offer`] | what of it a run may reuse, and what it runs all the same, as a canary |
//! | [`lessons`] | what a finished run teaches |
//!
//! All of it is pure: bytes and a proof come in, bytes and decisions go out; where they are kept is the pipeline's business. Whatever cannot be read is not
//! there. Only what ran is kept, never what was reused itself, so that evidence is always of one run that shows it. Neighbours are in no key: a file that
//! passes only beside some others is found by its canaries.

pub mod inputs;
pub mod key;
pub mod lessons;
pub mod listing;
pub mod offer;
pub mod pack;
pub mod standing;

#[cfg(test)]
mod tests;
