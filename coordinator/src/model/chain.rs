//! An error as one line: itself and what caused it. For sentences; whoever draws errors for people has the causes apart.

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
