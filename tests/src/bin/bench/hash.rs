//! Hashing a tree of a gigabyte of which nothing is remembered, beside `b3sum --num-threads 2` over the same files. Ours walks, hashes, and writes down
//! what it found.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use splitci_coordinator::image::context::Context;

use crate::measure::{Bar, median, wait_for_idle};
use crate::rivals::Contest;

const ROUNDS: usize = 9;
/// Sizes of files, and how many of each: about a third of the bytes each.
const FILES: [(usize, usize); 3] = [(16 << 10, 22_000), (2 << 20, 170), (64 << 20, 5)];

fn grow(root: &Path) -> u64 {
    let mut bytes = 0;
    for (size, count) in FILES {
        let content: Vec<u8> = (0..size).map(|at| u8::try_from(at * 31 % 251).unwrap_or(0)).collect();
        for file in 0..count {
            let directory = root.join(format!("{size}/{}", file / 50));
            fs_err::create_dir_all(&directory).expect("made");
            fs_err::write(directory.join(format!("{file}")), [file.to_le_bytes().as_slice(), &content].concat()).expect("written");
            bytes += (size + 8) as u64;
        }
    }
    fs_err::write(root.join("Dockerfile"), "FROM scratch\n").expect("written");
    bytes
}

fn ours(root: &Path) -> f64 {
    let state = tempfile::tempdir().expect("a folder");
    let started = Instant::now();
    let reading = Context::read(root, &root.join("Dockerfile"), Some(state.path())).expect("readable");
    let took = started.elapsed().as_secs_f64();
    assert!(reading.items.len() > 22_000 && reading.notes.is_empty(), "{:?}", reading.notes);
    took
}

fn theirs(root: &Path) -> f64 {
    let script = "find . -type f -print0 | xargs -0 -n 30000 b3sum --num-threads 2";
    let started = Instant::now();
    let status = Command::new("sh").args(["-c", script]).current_dir(root).stdout(Stdio::null()).status().expect("start a shell");
    assert!(status.success(), "b3sum, of `cargo install b3sum` or Debian's package, must be in the path");
    started.elapsed().as_secs_f64()
}

/// Prints the table; returns its bars.
pub(crate) fn measure(_contest: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    let rounds = rounds.unwrap_or(ROUNDS);
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = grow(folder.path());
    let (mut our, mut their) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        wait_for_idle();
        let took = ours(folder.path());
        wait_for_idle();
        let rival = theirs(folder.path());
        // The first round warms the page cache.
        if round > 0 {
            our.push(took);
            their.push(rival);
        }
    }
    let (our, their) = (median(our), median(their));
    println!("\n## Hashing {bytes} bytes in 22,175 files, {rounds} rounds\n\n| what | s |\n|---|---|");
    println!("| splitci, nothing remembered | {our} |\n| `b3sum --num-threads 2` | {their} |");
    vec![Bar::at_most("hashing a gigabyte over `b3sum --num-threads 2`", 1.1, our.value / their.value, "x")]
}
