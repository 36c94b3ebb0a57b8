//! The worker's programs, one an architecture. They come in as bytes, because where they are kept is the business of whoever starts us.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Worker programs by architecture, in Docker's words: `amd64`, `arm64`.
#[derive(Clone, Default)]
pub struct WorkerBinaries(BTreeMap<String, Arc<[u8]>>);

impl WorkerBinaries {
    /// From pairs of architecture and program. Kernel spellings (`x86_64`, `aarch64`) mean the same.
    pub fn new(programs: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        Self(programs.into_iter().map(|(arch, program)| (docker_arch(&arch).to_owned(), program.into())).collect())
    }

    /// The program for an architecture.
    pub fn get(&self, arch: &str) -> Option<&Arc<[u8]>> {
        self.0.get(docker_arch(arch))
    }

    /// The architectures there are programs for.
    pub fn archs(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for WorkerBinaries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.archs()).finish()
    }
}

fn docker_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_has_two_spellings() {
        let workers = WorkerBinaries::new([("x86_64".to_owned(), vec![1])]);
        assert!(workers.get("amd64").is_some() && workers.get("x86_64").is_some() && workers.get("arm64").is_none());
    }
}
