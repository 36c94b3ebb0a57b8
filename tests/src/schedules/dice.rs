//! Chance from a seed: `SplitMix64`, as in the planner, so that a schedule that broke something can be had again by its number.

/// A seeded source of chance.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from((u128::from(self.roll()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// One of a list.
    pub fn of<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        let place = self.below(u32::try_from(list.len()).ok()?);
        list.get(usize::try_from(place).ok()?).copied()
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, in_thousand: u32) -> bool {
        self.below(1_000) < in_thousand
    }

    /// A float in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.below(u32::MAX)) / f64::from(u32::MAX)
    }
}
