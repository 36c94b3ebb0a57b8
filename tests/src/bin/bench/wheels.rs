//! Build mounts: a machine that holds the first version of many wheels, and another one that bumps one of them. How many bytes move, and how long it takes to restore
//! them all. There is no rival that moves less than everything: `docker build` moves nothing between machines, and whoever packs a mount moves all of it.

use std::sync::Arc;
use std::time::Instant;

use splitci_coordinator::model::trust::Level;
use splitci_tests::machine::{Machine, Team, near_and_far};

use crate::measure::{Bar, wait_for_idle};
use crate::rivals::Contest;

/// Wheels, and bytes of each: 200 MB.
const WHEELS: usize = 67;
const SIZE: usize = 3_000_000;

/// A step that gets the wheels that the mount has not.
fn getting(bumped: bool) -> String {
    let version = if bumped { 2 } else { 1 };
    format!(
        "FROM debian:bookworm-slim\nRUN --mount=type=cache,target=/wheels for n in $(seq {WHEELS}); do v=1; if [ $n = 7 ]; then v={version}; fi; \\\n\
         if [ -f /wheels/$n-$v.whl ]; then echo have; else echo get; sleep 0.1; head -c {SIZE} /dev/urandom > /wheels/$n-$v.whl; fi; done\n"
    )
}

/// Prints the table; returns its bars.
pub(crate) fn measure(_: &Contest, _: Option<usize>) -> Vec<Bar> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measured())
}

async fn measured() -> Vec<Bar> {
    wait_for_idle();
    let (team, shared) = (Team::default(), tempfile::tempdir().expect("a folder"));
    let name = format!("wheels-{}", std::process::id());
    let (near_a, far_a) = near_and_far(shared.path());
    let a = Machine::new(&name, Level::Protected, &team, near_a, None).await;
    a.write("Dockerfile", getting(false));
    a.build().await;
    let all_up = far_a.stats().bytes_written;

    let (near_b, far_b) = near_and_far(shared.path());
    let b = Machine::new(&name, Level::Protected, &team, Arc::clone(&near_b), None).await;
    b.write("Dockerfile", getting(false));
    let began = Instant::now();
    let built = b.build().await;
    let took = began.elapsed().as_secs_f64();
    assert!(!built.log.contains("get"), "B has what A had: {}", built.notes);
    let all_down = far_b.stats().bytes_read;

    a.write("Dockerfile", getting(true));
    a.build().await;
    let up = far_a.stats().bytes_written - all_up;
    // B's builder has lost its mounts, and its own store holds the first version.
    let again = Machine::new(&name, Level::Protected, &team, near_b, None).await;
    again.write("Dockerfile", getting(true));
    let built = again.build().await;
    assert!(!built.log.contains("get"), "B has what A bumped: {}", built.notes);
    let down = far_b.stats().bytes_read - all_down;

    println!("\n## Build mounts: {WHEELS} wheels, {} MB\n\n| what | bytes |\n|---|---|", WHEELS * SIZE / 1_000_000);
    for (what, bytes) in [("A saves all", all_up), ("B restores all", all_down), ("A bumps one, up", up), ("B after the bump, down", down)]
    {
        println!("| {what} | {bytes} |");
    }
    println!("\nB's whole build, with the restore of all: {took:.1} s");
    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
    let share = |part: u64, whole: u64| part as f64 / whole as f64;
    vec![
        Bar::at_most("one wheel of 200 MB bumped: bytes up, of all", 0.1, share(up, all_up), "x"),
        Bar::at_most("one wheel of 200 MB bumped: bytes down, of all", 0.1, share(down, all_down), "x"),
    ]
}
