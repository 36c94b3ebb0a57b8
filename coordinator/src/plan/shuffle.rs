//! A random order from a seed, the same on every machine and in every version: a run must be repeatable years later.
//!
//! So the generator is our own and fixed: `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014), with the constants
//! of Vigna's public-domain `splitmix64.c`, and the Fisher-Yates shuffle.

/// Puts the items into the seed's order.
pub(super) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        // The high half of a 128-bit product maps a random u64 to 0..=last; its bias is below one in 2^32 for any suite.
        let place = (u128::from(next(&mut state)) * (last as u128 + 1)) >> 64;
        items.swap(last, usize::try_from(place).unwrap_or(last));
    }
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        let mut state = 1_234_567;
        assert_eq!([next(&mut state), next(&mut state)], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn a_seed_always_means_the_same_order() {
        let mut items: Vec<u32> = (0..10).collect();
        shuffle(&mut items, 42);
        let mut again: Vec<u32> = (0..10).collect();
        shuffle(&mut again, 42);
        assert_eq!(items, again);
        items.sort_unstable();
        assert_eq!(items, (0..10).collect::<Vec<_>>());
    }
}
