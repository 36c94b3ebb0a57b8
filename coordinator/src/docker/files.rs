//! Small files in containers, put and read whole, whether they run or not; and images made of files alone.

use std::collections::BTreeMap;
use std::io::Read as _;

use bollard::query_parameters as query;
use futures_util::StreamExt as _;

use super::container::short;
use super::{Docker, DockerError, LONG, SHORT, answers};

/// A file for an image or a container.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Path, without a slash before it.
    pub path: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
    /// Its mode.
    pub mode: u32,
}

impl Docker {
    /// Puts files into a folder of a container that exists. Each appears whole or not at all: it is written under a passing name, `passing` and its own, which
    /// nobody else uses, and then linked to its own. A file of that name that is there already is replaced.
    pub async fn put_files(&self, id: &str, folder: &str, files: &[File<'_>], passing: &str) -> Result<(), DockerError> {
        let options = query::UploadToContainerOptionsBuilder::new().path(folder).build();
        let request = self.client.upload_to_container(id, Some(options), bollard::body_full(linked(files, passing).into()));
        let named = || files.first().map_or("nothing", |file| file.path);
        self.call(|| format!("put `{}` into the container `{}`", named(), short(id)), LONG, request).await
    }

    /// The regular files of a folder in a container, by name, without those further down. An error where they are more than `most` bytes, or where the folder
    /// does not exist.
    pub async fn files_in(&self, id: &str, folder: &str, most: usize) -> Result<BTreeMap<String, Vec<u8>>, DockerError> {
        let options = query::DownloadFromContainerOptionsBuilder::new().path(folder).build();
        let mut stream = self.client.download_from_container(id, Some(options));
        let attempt = || format!("read `{folder}` in the container `{}`", short(id));
        let read = async {
            let mut tar = Vec::new();
            while let Some(piece) = stream.next().await {
                tar.extend_from_slice(&piece?);
                if tar.len() > most {
                    return Ok(None);
                }
            }
            Ok(Some(tar))
        };
        let refused = |message: String| DockerError::Refused { attempt: attempt(), status: 200, message };
        let tar = self.call(attempt, LONG, read).await?.ok_or_else(|| refused(format!("it holds more than {most} bytes")))?;
        unpacked(&tar).map_err(|error| refused(error.to_string()))
    }

    /// Makes an image that holds these files alone and starts `command`, gives it a name (`name:tag`), and returns its id. The same files and the same command are
    /// another image each time, since an engine dates it.
    pub async fn make_image(&self, name: &str, files: &[File<'_>], command: &[&str]) -> Result<String, DockerError> {
        let (repo, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let command = serde_json::to_string(command).unwrap_or_default();
        let options = query::CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(repo.to_owned()),
            tag: Some(tag.to_owned()),
            changes: vec![format!("ENTRYPOINT {command}")],
            ..query::CreateImageOptions::default()
        };
        let attempt = || format!("make the image `{name}`");
        let tar = bollard::body_full(packed(files).into());
        let mut stream = self.client.create_image(Some(options), Some(tar), None);
        let read = async {
            while let Some(piece) = answers::next(&mut stream).await {
                piece?;
            }
            Ok(())
        };
        self.call(attempt, LONG, read).await?;
        let made = self.call(attempt, SHORT, self.client.inspect_image(name)).await?;
        Ok(made.id.unwrap_or_default())
    }
}

fn header(size: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

/// Files under passing names, and a link to each.
fn linked(files: &[File<'_>], passing: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let there = format!("{passing}{}", file.path);
        let mut link = header(0, file.mode);
        link.set_entry_type(tar::EntryType::Link);
        // Writing to memory does not fail, and the names are short.
        let _infallible = tar.append_data(&mut header(file.bytes.len(), file.mode), &there, file.bytes);
        let _infallible = tar.append_link(&mut link, file.path, &there);
    }
    tar.into_inner().unwrap_or_default()
}

fn packed(files: &[File<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = header(file.bytes.len(), file.mode);
        if file.path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        let _infallible = tar.append_data(&mut header, file.path, file.bytes);
    }
    tar.into_inner().unwrap_or_default()
}

fn unpacked(tar: &[u8]) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        // A file with two names comes once as itself and once as a link; the engine's order decides which.
        let path = entry.path()?.into_owned();
        let mut parts = path.components().skip(1);
        let (Some(name), None) = (parts.next(), parts.next()) else { continue };
        let name = name.as_os_str().to_string_lossy().into_owned();
        match entry.header().entry_type() {
            tar::EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                files.insert(name, bytes);
            }
            tar::EntryType::Link => {
                let target = entry.link_name()?.and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()));
                let same = target.and_then(|target| files.get(&target).cloned());
                files.extend(same.map(|bytes| (name, bytes)));
            }
            _ => {}
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_file_appears_under_its_name_only_when_it_is_whole() {
        let bytes = linked(&[File { path: "worker", bytes: b"program", mode: 0o555 }], ".1-");
        let mut tar = tar::Archive::new(bytes.as_slice());
        let entries: Vec<_> = tar
            .entries()
            .expect("a tar")
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let mut content = String::new();
                entry.read_to_string(&mut content).expect("readable");
                let link = entry.link_name().expect("a link").map(|path| path.display().to_string());
                (entry.path().expect("a path").display().to_string(), link, content)
            })
            .collect();
        let expected =
            [(".1-worker".to_owned(), None, "program".to_owned()), ("worker".to_owned(), Some(".1-worker".to_owned()), String::new())];
        assert_eq!(entries, expected);
    }

    #[test]
    fn a_file_with_two_names_is_read_under_both_and_a_folder_is_no_file() {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in [("rows/", b"".as_slice()), ("rows/.1", b"one"), ("rows/deep/2", b"two")] {
            let mut head = header(bytes.len(), 0o644);
            if path.ends_with('/') {
                head.set_entry_type(tar::EntryType::Directory);
            }
            tar.append_data(&mut head, path, bytes).expect("written");
        }
        let mut link = header(0, 0o644);
        link.set_entry_type(tar::EntryType::Link);
        tar.append_link(&mut link, "rows/1", "rows/.1").expect("written");
        let files = unpacked(&tar.into_inner().expect("a tar")).expect("a folder");
        assert_eq!(files, BTreeMap::from([(".1".to_owned(), b"one".to_vec()), ("1".to_owned(), b"one".to_vec())]));
    }
}
