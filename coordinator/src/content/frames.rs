//! How a blob is kept: zstd frames of 1 MiB each, and a table that says where they begin.
//!
//! It is the seekable format of zstd's own `contrib`: the table is a skippable frame at the end, so `zstdcat` shows the blob, and any frame can be read
//! without those before it. Frames are made, read and hashed by as many threads as there are processors. A reader trusts nothing: the table
//! has to fit the length, each frame its entry, and what comes out the digest.

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

use super::digest::{BLOCK, BlockHash, Digest};

/// zstd's level for what stays on this machine: the disk is faster than any higher one.
pub(super) const NEAR: i32 = 1;

/// zstd's level for what goes over a network.
pub(super) const FAR: i32 = 3;

const SKIPPABLE: u32 = 0x184D_2A5E;
const SEEKABLE: u32 = 0x8F92_EAB1;
/// Magic number and length of the table's frame.
const TABLE_HEAD: usize = 8;
/// Number of frames, a byte of flags, magic number.
const TABLE_FOOT: usize = 9;
/// Compressed and uncompressed length of a frame.
const TABLE_ROW: usize = 8;
/// More than that many do not get faster: memory is the limit then.
const MOST_THREADS: usize = 8;

/// Bytes that several threads read, each at its place.
pub(super) trait ReadAt: Sync {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
}

impl ReadAt for fs_err::File {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        fs_err::os::unix::fs::FileExt::read_exact_at(self, bytes, at)
    }
}

impl ReadAt for &[u8] {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Where several threads write, each at its place.
pub(super) trait WriteAt: Sync {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
}

impl WriteAt for fs_err::File {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        fs_err::os::unix::fs::FileExt::write_all_at(self, bytes, at)
    }
}

/// As long as the blob from the start.
struct Memory(Mutex<Vec<u8>>);

impl WriteAt for Memory {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut whole = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let to = usize::try_from(at).ok().and_then(|at| whole.get_mut(at..)?.get_mut(..bytes.len()));
        to.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(bytes);
        Ok(())
    }
}

/// A kept blob cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is not what was written.
    #[error("the blob is damaged")]
    Damaged,
    /// It is larger than its reader wants.
    #[error("the blob has {bytes} bytes, more than {most}")]
    TooLarge {
        /// What it has.
        bytes: u64,
        /// What was wanted.
        most: u64,
    },
    /// It cannot be read from where it is, or not written to where it should go.
    #[error(transparent)]
    Files(#[from] io::Error),
}

/// Compresses so many bytes of a source into a sink, in order, and says what they were.
pub(super) fn encode(source: &dyn ReadAt, length: u64, level: i32, sink: &mut (dyn Write + Send)) -> io::Result<Digest> {
    let blocks = length.div_ceil(BLOCK as u64);
    let line = Line { turn: Mutex::new(Turn { sink, table: Vec::new(), hashes: Vec::new(), failed: None }), moved: Condvar::new() };
    let next = AtomicU64::new(0);
    in_threads(blocks, || {
        let worked = encode_blocks(source, length, level, (&next, &line));
        if let Err(error) = worked {
            line.turn().failed.get_or_insert(error);
            line.moved.notify_all();
        }
    });
    let turn = line.turn.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = turn.failed {
        return Err(error);
    }
    turn.sink.write_all(&table(&turn.table))?;
    Ok(Digest::of_blocks(&turn.hashes))
}

/// The same in memory.
pub(super) fn encode_bytes(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut encoded = Vec::with_capacity(bytes.len() / 3 + 64);
    encode(&bytes, bytes.len() as u64, level, &mut encoded)?;
    Ok(encoded)
}

/// What so many bytes of a source are, without keeping them.
pub(super) fn digest(source: &dyn ReadAt, length: u64) -> io::Result<Digest> {
    let blocks = length.div_ceil(BLOCK as u64);
    let mut block = vec![0; BLOCK];
    let mut hashes = Vec::new();
    for place in 0..blocks {
        let at = place * BLOCK as u64;
        block.truncate(usize::try_from(length - at).unwrap_or(BLOCK));
        source.read_exact_at(&mut block, at)?;
        hashes.push(BlockHash::of(place, &block));
    }
    Ok(Digest::of_blocks(&hashes))
}

/// The blocks' order: threads work on any, and each waits for its turn to write.
struct Line<'a> {
    turn: Mutex<Turn<'a>>,
    moved: Condvar,
}

struct Turn<'a> {
    sink: &'a mut (dyn Write + Send),
    table: Vec<(u32, u32)>,
    /// As many as blocks were written.
    hashes: Vec<BlockHash>,
    failed: Option<io::Error>,
}

impl<'a> Line<'a> {
    fn turn(&self) -> MutexGuard<'_, Turn<'a>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode_blocks(source: &dyn ReadAt, length: u64, level: i32, (next, line): (&AtomicU64, &Line<'_>)) -> io::Result<()> {
    let mut compressor = Compressor::new(level)?;
    let mut block = vec![0; BLOCK.min(usize::try_from(length).unwrap_or(BLOCK))];
    let mut frame = Vec::with_capacity(compress_bound(block.len()));
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let at = place * BLOCK as u64;
        if at >= length {
            return Ok(());
        }
        block.truncate(usize::try_from(length - at).unwrap_or(BLOCK));
        source.read_exact_at(&mut block, at)?;
        let hash = BlockHash::of(place, &block);
        frame.clear();
        compressor.compress_to_buffer(&block, &mut frame)?;
        let mut turn = line.turn();
        while (turn.hashes.len() as u64) < place && turn.failed.is_none() {
            turn = line.moved.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        if turn.failed.is_some() {
            return Ok(());
        }
        turn.sink.write_all(&frame)?;
        turn.table.push((length_of(&frame), length_of(&block)));
        turn.hashes.push(hash);
        drop(turn);
        line.moved.notify_all();
    }
}

fn length_of(bytes: &[u8]) -> u32 {
    // A frame has little more than 1 MiB.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn table(rows: &[(u32, u32)]) -> Vec<u8> {
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let mut table = Vec::with_capacity(rows.len() * 8 + 17);
    table.extend(SKIPPABLE.to_le_bytes());
    table.extend((count.saturating_mul(8).saturating_add(9)).to_le_bytes());
    for (compressed, uncompressed) in rows {
        table.extend(compressed.to_le_bytes());
        table.extend(uncompressed.to_le_bytes());
    }
    table.extend(count.to_le_bytes());
    table.push(0);
    table.extend(SEEKABLE.to_le_bytes());
    table
}

/// Where a frame is, and what it holds.
#[derive(Debug, Clone, Copy)]
struct Frame {
    at: u64,
    compressed: usize,
    uncompressed: usize,
}

/// Uncompresses a kept blob of so many bytes into a sink, and says what came out: compare it.
pub(super) fn decode(source: &dyn ReadAt, length: u64, most: u64, sink: &dyn WriteAt) -> Result<Digest, Unreadable> {
    let frames = frames(source, length)?;
    let whole = frames.iter().map(|frame| frame.uncompressed as u64).sum();
    if whole > most {
        return Err(Unreadable::TooLarge { bytes: whole, most });
    }
    decode_frames(source, &frames, sink)
}

/// The same in memory.
pub(super) fn decode_bytes(source: &dyn ReadAt, length: u64, most: usize) -> Result<(Digest, Vec<u8>), Unreadable> {
    let frames = frames(source, length)?;
    let whole: usize = frames.iter().map(|frame| frame.uncompressed).sum();
    if whole > most {
        return Err(Unreadable::TooLarge { bytes: whole as u64, most: most as u64 });
    }
    let memory = Memory(Mutex::new(vec![0; whole]));
    let digest = decode_frames(source, &frames, &memory)?;
    Ok((digest, memory.0.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// The same without keeping anything.
pub(super) fn check(source: &dyn ReadAt, length: u64) -> Result<Digest, Unreadable> {
    decode_frames(source, &frames(source, length)?, &Nowhere)
}

/// How many bytes a kept blob says it comes to: what its reader would get, if it is whole.
pub(super) fn unpacked(source: &dyn ReadAt, length: u64) -> Result<u64, Unreadable> {
    Ok(frames(source, length)?.iter().map(|frame| frame.uncompressed as u64).sum())
}

/// Where nothing is kept.
struct Nowhere;

impl WriteAt for Nowhere {
    fn write_all_at(&self, _bytes: &[u8], _at: u64) -> io::Result<()> {
        Ok(())
    }
}

fn decode_frames(source: &dyn ReadAt, frames: &[Frame], sink: &dyn WriteAt) -> Result<Digest, Unreadable> {
    let next = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let hashes: Vec<Mutex<Option<BlockHash>>> = frames.iter().map(|_| Mutex::default()).collect();
    let failed = Mutex::new(None);
    in_threads(frames.len() as u64, || {
        let decode = || -> Result<(), Unreadable> {
            let mut reader = FrameReader::new()?;
            while !over.load(Ordering::Relaxed) {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some((frame, hash)) = usize::try_from(place).ok().and_then(|at| Some((frames.get(at)?, hashes.get(at)?))) else {
                    break;
                };
                let block = reader.read(source, *frame)?;
                *hash.lock().unwrap_or_else(PoisonError::into_inner) = Some(BlockHash::of(place, block));
                sink.write_all_at(block, place * BLOCK as u64)?;
            }
            Ok(())
        };
        if let Err(error) = decode() {
            over.store(true, Ordering::Relaxed);
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let hashes = hashes.into_iter().map(|hash| hash.into_inner().unwrap_or_else(PoisonError::into_inner));
    let hashes: Option<Vec<BlockHash>> = hashes.collect();
    Ok(Digest::of_blocks(&hashes.ok_or(Unreadable::Damaged)?))
}

/// One thread's buffers.
struct FrameReader {
    decompressor: Decompressor<'static>,
    compressed: Vec<u8>,
    block: Vec<u8>,
}

impl FrameReader {
    fn new() -> io::Result<Self> {
        Ok(Self { decompressor: Decompressor::new()?, compressed: Vec::new(), block: Vec::with_capacity(BLOCK) })
    }

    fn read(&mut self, source: &dyn ReadAt, frame: Frame) -> Result<&[u8], Unreadable> {
        self.compressed.resize(frame.compressed, 0);
        read(source, &mut self.compressed, frame.at)?;
        self.block.clear();
        let length = self.decompressor.decompress_to_buffer(&self.compressed, &mut self.block);
        match length {
            Ok(length) if length == frame.uncompressed => Ok(&self.block),
            _ => Err(Unreadable::Damaged),
        }
    }
}

/// Reads and believes the table, if all of it adds up.
fn frames(source: &dyn ReadAt, length: u64) -> Result<Vec<Frame>, Unreadable> {
    let mut foot = [0; TABLE_FOOT];
    let foot_at = length.checked_sub(TABLE_FOOT as u64).ok_or(Unreadable::Damaged)?;
    read(source, &mut foot, foot_at)?;
    let count = word(&foot, 0) as usize;
    let rows = count.checked_mul(TABLE_ROW).ok_or(Unreadable::Damaged)?;
    let head_at = foot_at.checked_sub((rows + TABLE_HEAD) as u64).ok_or(Unreadable::Damaged)?;
    // The table is as long as the file at most, so that nobody makes us allocate what is not there.
    let mut table = vec![0; rows + TABLE_HEAD];
    read(source, &mut table, head_at)?;
    let sound = foot[4] == 0 && word(&foot, 5) == SEEKABLE && word(&table, 0) == SKIPPABLE && word(&table, 4) as usize == rows + TABLE_FOOT;
    if !sound {
        return Err(Unreadable::Damaged);
    }
    let mut at = 0;
    let mut frames = Vec::with_capacity(count);
    for row in table[TABLE_HEAD..].chunks_exact(TABLE_ROW) {
        let frame = Frame { at, compressed: word(row, 0) as usize, uncompressed: word(row, 4) as usize };
        let last = frames.len() + 1 == count;
        let fits = if last { (1..=BLOCK).contains(&frame.uncompressed) } else { frame.uncompressed == BLOCK };
        if !fits || frame.compressed > compress_bound(BLOCK) {
            return Err(Unreadable::Damaged);
        }
        at += frame.compressed as u64;
        frames.push(frame);
    }
    if at == head_at { Ok(frames) } else { Err(Unreadable::Damaged) }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// A source that ends too early is damaged; one that cannot be read is something else.
fn read(source: &dyn ReadAt, bytes: &mut [u8], at: u64) -> Result<(), Unreadable> {
    source.read_exact_at(bytes, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Unreadable::Damaged,
        _ => Unreadable::Files(error),
    })
}

/// Does the work in as many threads as there are processors, but not in more than there are blocks. One of them is the caller's.
fn in_threads(blocks: u64, work: impl Fn() + Sync) {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    let others = usize::try_from(blocks).unwrap_or(processors).min(processors).saturating_sub(1);
    std::thread::scope(|scope| {
        for _ in 0..others {
            // Where no thread can be had, the others do its share.
            let _unstarted = std::thread::Builder::new().name("content".to_owned()).spawn_scoped(scope, &work);
        }
        work();
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(bytes: &[u8]) -> Vec<u8> {
        encode_bytes(bytes, NEAR).unwrap()
    }

    fn read_back(kept: &[u8]) -> Result<(Digest, Vec<u8>), Unreadable> {
        decode_bytes(&kept, kept.len() as u64, 64 << 20)
    }

    /// Bytes that compress a little, with nothing that repeats.
    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes.iter_mut().step_by(3).for_each(|byte| *byte = b'a');
        bytes
    }

    #[test]
    fn what_comes_out_is_what_went_in_whatever_the_length() {
        for length in [0, 1, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 12345] {
            let bytes = noise(1, length);
            let (digest, read) = read_back(&kept(&bytes)).unwrap();
            assert!(read == bytes, "{length} bytes");
            assert_eq!(digest, Digest::of(&bytes), "{length} bytes");
        }
    }

    #[test]
    fn zstd_itself_reads_it() {
        let bytes = noise(2, 2 * BLOCK + 99);
        assert!(zstd::decode_all(&*kept(&bytes)).unwrap() == bytes);
    }

    #[test]
    fn a_truncated_blob_is_damaged_wherever_it_ends() {
        let whole = kept(&noise(3, 2 * BLOCK + 5));
        for length in (0..whole.len()).step_by(4096).chain(whole.len() - 40..whole.len()) {
            assert!(matches!(read_back(&whole[..length]), Err(Unreadable::Damaged)), "the first {length} bytes");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeros = kept(&vec![0; 8 * BLOCK]);
        assert!(zeros.len() < 4096, "{} bytes", zeros.len());
        assert!(matches!(decode_bytes(&&*zeros, zeros.len() as u64, 8 * BLOCK - 1), Err(Unreadable::TooLarge { .. })));
    }

    #[test]
    fn a_table_that_promises_too_much_is_damaged() {
        // Many rows for the same few bytes, rows for bytes before the first, and a frame that holds more than its row says.
        let frame = zstd::bulk::compress(&[7; 100], 1).unwrap();
        let with = |rows: &[(u32, u32)]| [&*frame, &*table(rows)].concat();
        let length = length_of(&frame);
        assert!(read_back(&with(&[(length, 100)])).is_ok());
        for rows in [&[(length, 1 << 20); 1000][..], &[(length, 99)], &[(length, 101)], &[(length, 0)], &[(length - 1, 100)], &[]] {
            assert!(matches!(read_back(&with(rows)), Err(Unreadable::Damaged)), "{} rows", rows.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_flipped_bit_never_goes_unseen(length in 0..3000_usize, at: prop::sample::Index, bit in 0..8_u8) {
            let bytes = noise(4, length);
            let mut kept = kept(&bytes);
            let at = at.index(kept.len());
            kept[at] ^= 1 << bit;
            // Some bits of a frame say nothing of its content: then it is still whole.
            let same = matches!(read_back(&kept), Ok((digest, read)) if digest == Digest::of(&bytes) && read == bytes);
            let refused = match read_back(&kept) {
                Err(Unreadable::Damaged) => true,
                Ok((digest, _)) => digest != Digest::of(&bytes),
                Err(_) => false,
            };
            prop_assert!(same || refused);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            drop(read_back(&bytes));
        }
    }
}
