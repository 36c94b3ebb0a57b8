//! How much room the engine's own build cache takes, and whether the engine makes room by itself.

use std::path::Path;

use serde::Deserialize;

use super::raw::Method;
use super::{Docker, DockerError, SHORT};

/// What an engine keeps of builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildCache {
    /// Records.
    pub records: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Docker {
    /// What the engine keeps of builds. An old engine measures all that it has to tell, which may take minutes: not for the critical path.
    pub async fn build_cache(&self) -> Result<BuildCache, DockerError> {
        let body = self.raw(Method::Get, "/system/df?type=build-cache", SHORT).await?;
        Ok(read(&body))
    }
}

/// In the words of old engines (`BuildCache`) or of new ones (`BuildCacheUsage`); what says neither keeps nothing.
fn read(body: &[u8]) -> BuildCache {
    let usage: Usage = serde_json::from_slice(body).unwrap_or_default();
    let records = usage.build_cache.or(usage.build_cache_usage.and_then(|usage| usage.items)).unwrap_or_default();
    BuildCache { records: records.len(), bytes: records.iter().map(|record| record.size).sum() }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Usage {
    build_cache: Option<Vec<Kept>>,
    build_cache_usage: Option<Items>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Items {
    items: Option<Vec<Kept>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Kept {
    size: u64,
}

/// What an engine's configuration says about making room in the build cache: nothing if the file is not there, or does not say.
pub fn configured_collection(file: &Path) -> Option<bool> {
    let config: serde_json::Value = serde_json::from_slice(&fs_err::read(file).ok()?).ok()?;
    config.pointer("/builder/gc/enabled")?.as_bool()
}

/// Whether engines of a version make room by themselves where nothing is configured; nothing for versions that we have not looked at.
pub fn collects_by_default(version: &str) -> Option<bool> {
    let major: u32 = version.split('.').next()?.parse().ok()?;
    match major {
        ..=20 => Some(false),
        28.. => Some(true),
        21..28 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_engines_are_understood() {
        let found = BuildCache { records: 2, bytes: 30 };
        assert_eq!(read(br#"{"BuildCache":[{"ID":"a","Size":10},{"Size":20,"InUse":true}]}"#), found);
        assert_eq!(read(br#"{"BuildCacheUsage":{"Items":[{"Size":10},{"Size":20}]}}"#), found);
        assert_eq!(read(b"{}"), BuildCache { records: 0, bytes: 0 });
    }

    #[test]
    fn whether_an_engine_makes_room_is_known_where_it_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("daemon.json");
        assert_eq!(configured_collection(&file), None);
        for (text, found) in [("{}", None), ("{", None), (r#"{"builder":{"gc":{"enabled":true}}}"#, Some(true))] {
            fs_err::write(&file, text).expect("written");
            assert_eq!(configured_collection(&file), found, "{text}");
        }
        assert_eq!(["20.10.24+dfsg1", "28.5.2", "25.0.1", ""].map(collects_by_default), [Some(false), Some(true), None, None]);
    }
}
